package connic

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
)

// answer consumes the body of a successful response.
type answer interface {
	// accept decodes a complete body.
	accept(d *lenient.Decoder) error
	// salvage extracts what it can from a truncated body.
	salvage(body []byte)
}

// read reads the response to its end and decodes it.
func (k *call) read(end *deadline, resp *http.Response) {
	defer resp.Body.Close()
	c := k.client
	limit := c.maxBody
	if k.result != succeeded {
		limit = c.maxErrorBody
	}
	buf := bodies.get(sizeHint(resp.ContentLength, c.sizes[k.op.Op].Load(), limit))
	defer bodies.put(buf)
	err := buf.readFrom(resp.Body, limit)
	if err != nil && end.expired() {
		err = errAttemptTimeout
	}
	body := bytes.TrimPrefix(buf.b, []byte("\ufeff"))

	switch {
	case k.result != succeeded:
		// Any part of an error body is sufficient.
		k.failure = parseError(k.op, k.op.Method, k.url.Path, resp, body, c.mask())
		k.failure.item = c.mask().Line(k.item, maxID)
		k.failure.Location, k.redirect = k.location(resp)
		if k.redirect {
			k.result = failed
		}
	case errors.Is(err, ErrTooLarge):
		k.result, k.err = unreadable, k.decodeError(body, err)
	case err != nil:
		k.result, k.err, k.foreign = broken, fmt.Errorf("the response was truncated: %w", err), true
		k.answer.salvage(body)
	default:
		c.sizes[k.op.Op].Store(int64(len(body)))
		d := &buf.decoder
		d.Reset(body)
		d.Context, d.KeepRaw = end, k.options.raw
		err := k.answer.accept(d)
		switch {
		case err == nil:
		case end.Err() != nil: // it ended during decoding
			k.result, k.err = broken, end.Err()
			if end.expired() {
				k.err = errAttemptTimeout
			}
			k.answer.salvage(body)
		default:
			k.err = k.decodeError(body, err)
			k.result = unreadable
			if errors.Is(err, lenient.ErrIncomplete) {
				k.result = broken
			}
			k.answer.salvage(body)
		}
	}
	if r := k.options.capture; r != nil {
		*r = Response{StatusCode: resp.StatusCode, Header: c.mask().Header(resp.Header), RequestID: k.requestID(), Body: bytes.Clone(body)}
		if k.failure != nil {
			r.Body = k.failure.Body
		}
	}
}

func (k *call) decodeError(body []byte, err error) *DecodeError {
	e := &DecodeError{
		Op: k.op.Name, StatusCode: k.status(), RequestID: k.requestID(), item: k.client.mask().Line(k.item, maxID), Err: k.client.mask().Error(err),
		Body: k.client.mask().Head(body, 512),
	}
	var field *lenient.FieldError
	if errors.As(err, &field) {
		e.Field = k.client.mask().Line(field.Field, maxID)
	}
	return e
}

// location returns the redacted target of a redirect, and whether it is the
// path of the call with a trailing slash added or removed. Only a safe call is
// repeated there, once, and at the base URL: the host of the target is never
// contacted.
func (k *call) location(resp *http.Response) (string, bool) {
	target := resp.Header.Get("Location")
	if target == "" || resp.StatusCode < 300 || resp.StatusCode > 399 {
		return "", false
	}
	u, err := url.Parse(target)
	if err != nil {
		return "(an invalid URL)", false
	}
	u = k.url.ResolveReference(u)
	own, there := k.url.EscapedPath(), u.EscapedPath()
	if k.class == api.Safe && !k.turned && own != there && strings.TrimSuffix(own, "/") == strings.TrimSuffix(there, "/") {
		k.turned = true
		k.toggleSlash()
		return "", true
	}
	u.User, u.RawQuery, u.Fragment, u.RawFragment = nil, "", "", ""
	return k.client.mask().Line(u.String(), maxID), false
}

// toggleSlash adds or removes the trailing slash of the path.
func (k *call) toggleSlash() {
	k.toggled = !k.toggled
	toggle := func(path string) string {
		if trimmed, ok := strings.CutSuffix(path, "/"); ok {
			return trimmed
		}
		return path + "/"
	}
	k.url.Path = toggle(k.url.Path)
	if k.url.RawPath != "" {
		k.url.RawPath = toggle(k.url.RawPath)
	}
}
