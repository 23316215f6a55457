package exchange

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/problem"
)

// read reads the answer to its end and decodes it.
func (x *Exchange) read(end *deadline, resp *http.Response) {
	x.open = false
	defer resp.Body.Close()
	x.engine.kept.learn(resp, end.collected().connection())
	limit := x.engine.MaxBody
	if x.result != Succeeded {
		limit = x.engine.MaxErrorBody
	}
	var learned int64
	if x.Memory != nil {
		learned = x.Memory.Size.Load()
	}
	buf := bodies.get(sizeHint(resp.ContentLength, learned, limit))
	defer bodies.put(buf)
	err := buf.readFrom(resp.Body, limit)
	if err != nil {
		switch panicked, ran := end.ranAway(); {
		case panicked != nil:
			panic(panicked) //nolint:forbidigo // where the caller can recover from it
		case ran:
			err = errRunaway
		case end.expired():
			err = ErrAttemptTimeout
		}
	}
	body := bytes.TrimPrefix(buf.b, []byte("\ufeff"))

	switch {
	case x.result != Succeeded:
		// Any part of an error body is sufficient.
		x.refuse(resp, body)
		body = x.failure.Body
	case int64(len(buf.b)) > limit:
		x.result = Unreadable
		x.fail(CauseDecode, x.undecodable(body, err))
		x.Salvage(body)
	case err != nil:
		x.result = Broken
		x.fail(CauseTransport, fmt.Errorf("the response was truncated: %w", err))
		x.Salvage(body)
	default:
		if x.Memory != nil {
			x.Memory.Size.Store(int64(len(body)))
		}
		d := &buf.decoder
		d.Reset(body)
		d.Context, d.KeepRaw = end, x.KeepRaw
		err := x.Decode(d)
		switch {
		case err == nil:
		case end.Err() != nil: // it ended during decoding
			x.result = Broken
			x.fail(CauseTransport, end.Err())
			if end.expired() {
				x.err = ErrAttemptTimeout
			}
			x.Salvage(body)
		default:
			x.fail(CauseDecode, x.undecodable(body, err))
			x.result = Unreadable
			if errors.Is(err, lenient.ErrIncomplete) {
				x.result = Broken
			}
			x.Salvage(body)
		}
	}
	if x.result != Succeeded && x.failure == nil {
		body = x.mask().Head(body, MaxErrorBody)
	}
	x.Received(resp, body)
}

func (x *Exchange) undecodable(body []byte, err error) *Undecodable {
	m := x.mask()
	u := &Undecodable{Body: m.Head(body, 512), Err: m.Error(err)}
	var field *lenient.FieldError
	if errors.As(err, &field) {
		u.Field = m.Line(field.Field, MaxID)
	}
	return u
}

// refuse records an error answer. body is not retained.
func (x *Exchange) refuse(resp *http.Response, body []byte) {
	m := x.mask()
	f := &Response{Status: resp.StatusCode, RequestID: x.RequestID(), RetryAfter: RetryAfter(resp.Header, time.Now()), Deprecation: x.deprecation()}
	x.failure = f
	if len(body) > 0 {
		f.Body = m.Head(body, MaxErrorBody)
		f.Detail, f.Fields = problem.Parse(f.Body)
	}
	if f.Location, x.redirect = x.location(resp); x.redirect {
		x.result = Failed
	}
}

// location returns the redacted target of a redirect, and whether it is the path
// of the request with a trailing slash added or removed. Only a safe one is
// repeated there, once, and at the base URL: the host of the target is never
// contacted.
func (x *Exchange) location(resp *http.Response) (string, bool) {
	target := resp.Header.Get("Location")
	if target == "" || resp.StatusCode < 300 || resp.StatusCode > 399 {
		return "", false
	}
	u, err := url.Parse(target)
	if err != nil {
		return "(an invalid URL)", false
	}
	u = x.loop.URL.ResolveReference(u)
	own, there := x.loop.URL.EscapedPath(), u.EscapedPath()
	if x.Class == api.Safe && !x.turned && own != there && strings.TrimSuffix(own, "/") == strings.TrimSuffix(there, "/") {
		x.turned = true
		return "", true
	}
	u.User, u.RawQuery, u.Fragment, u.RawFragment = nil, "", "", ""
	return x.mask().Line(u.String(), MaxID), false
}

// toggleSlash returns the URL with the trailing slash of its path added or
// removed.
func (x *Exchange) toggleSlash() *url.URL {
	x.toggled = !x.toggled
	u := *x.loop.URL
	toggle := func(path string) string {
		if trimmed, ok := strings.CutSuffix(path, "/"); ok {
			return trimmed
		}
		return path + "/"
	}
	u.Path = toggle(u.Path)
	if u.RawPath != "" {
		u.RawPath = toggle(u.RawPath)
	}
	return &u
}
