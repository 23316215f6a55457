package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// The floor is what a careful person writes by hand: a request with three headers
// on a pooled transport, a status check, a Decoder into a plain struct, the body
// drained and closed.
type floor struct {
	http *http.Client
	base string
}

func (f *floor) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, f.base+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	} else {
		req.Header.Set("User-Agent", "floor/1.0")
	}
	resp, err := f.http.Do(req)
	if err != nil {
		return err
	}
	defer func() {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}()
	if resp.StatusCode >= http.StatusMultipleChoices {
		var problem struct {
			Detail string `json:"detail"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&problem); err != nil {
			return err
		}
		return &floorError{resp.StatusCode, problem.Detail}
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

type floorError struct {
	status int
	detail string
}

func (e *floorError) Error() string { return fmt.Sprintf("%d: %s", e.status, e.detail) }

// memory is a transport that answers at once.
type memory struct {
	status int
	body   []byte
}

type memoryBody struct{ bytes.Reader }

func (*memoryBody) Close() error { return nil }

var jsonHeader = http.Header{"Content-Type": {"application/json"}}

func (m *memory) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return nil, err
		}
		_ = r.Body.Close()
	}
	body := new(memoryBody)
	body.Reset(m.body)
	return &http.Response{
		StatusCode: m.status, Header: jsonHeader, Body: body, ContentLength: int64(len(m.body)), Request: r,
	}, nil
}

// pooled is the transport of the floor on loopback: as many idle connections as
// there are callers.
func pooled() *http.Transport {
	return &http.Transport{
		DialContext:  (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		MaxIdleConns: 64, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute,
	}
}
