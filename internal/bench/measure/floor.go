package measure

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// A Floor is what a careful programmer writes by hand: a request with three
// headers on a pooled transport, a status check, a Decoder into a plain struct,
// the body drained and closed.
type Floor struct {
	HTTP *http.Client
	Base string // of the URLs, without a trailing slash
	// Authorization is the complete value of the header.
	Authorization string
	// Problem reads the message of an error response: Detail or Message.
	Problem func(*json.Decoder) (string, error)
}

// Detail reads {"detail": "…"}.
func Detail(d *json.Decoder) (string, error) {
	var problem struct {
		Detail string `json:"detail"`
	}
	err := d.Decode(&problem)
	return problem.Detail, err
}

// Message reads {"message": "…"}.
func Message(d *json.Decoder) (string, error) {
	var problem struct {
		Message string `json:"message"`
	}
	err := d.Decode(&problem)
	return problem.Message, err
}

// Do makes one request. out points to a struct with exactly the fields of the
// payload.
func (f *Floor) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, f.Base+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", f.Authorization)
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	} else {
		req.Header.Set("User-Agent", "floor/1.0")
	}
	resp, err := f.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer func() {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}()
	if resp.StatusCode >= http.StatusMultipleChoices {
		message, err := f.Problem(json.NewDecoder(resp.Body))
		if err != nil {
			return err
		}
		return &StatusError{resp.StatusCode, message}
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// StatusError is the floor's error for an error status.
type StatusError struct {
	Status  int
	Message string
}

func (e *StatusError) Error() string { return fmt.Sprintf("%d: %s", e.Status, e.Message) }

// Memory is a transport that responds immediately, with the same body each
// time.
type Memory struct {
	Status int
	Body   []byte
}

type memoryBody struct{ bytes.Reader }

func (*memoryBody) Close() error { return nil }

var jsonHeader = http.Header{"Content-Type": {"application/json"}}

// RoundTrip implements [http.RoundTripper].
func (m *Memory) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		err := drain(r.Body)
		_ = r.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	body := new(memoryBody)
	body.Reset(m.Body)
	return &http.Response{
		StatusCode: m.Status, Header: jsonHeader, Body: body, ContentLength: int64(len(m.Body)), Request: r,
	}, nil
}

// blocks have the size in which net/http sends a body.
var blocks = sync.Pool{New: func() any { return new([32 << 10]byte) }}

func drain(r io.Reader) error {
	block, _ := blocks.Get().(*[32 << 10]byte)
	defer blocks.Put(block)
	for {
		if _, err := r.Read(block[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// Pooled is the transport of the floor on loopback. It keeps as many idle
// connections as there are callers.
func Pooled() *http.Transport {
	return &http.Transport{
		DialContext:  (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		MaxIdleConns: 64, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute,
	}
}
