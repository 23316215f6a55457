package connic

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// An peer is what a server sees of requests that it answers as it pleases: the
// body is still to be read.
type peer struct {
	net.Conn
	body io.Reader
	size int64 // of the body, as announced
}

func (e *peer) says(text string) { _, _ = io.WriteString(e, text) }

// reads reads the body, and reports whether it came whole.
func (e *peer) reads() bool {
	n, err := io.Copy(io.Discard, e.body)
	return err == nil && n == e.size
}

// exchangeServer serves one request per connection, and counts them.
func exchangeServer(t *testing.T, serve func(*peer)) (url string, requests *atomic.Int32) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	requests = new(atomic.Int32)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
				r, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				requests.Add(1)
				serve(&peer{conn, r.Body, r.ContentLength})
			}()
		}
	}()
	return "http://" + listener.Addr().String(), requests
}

const (
	begun = `{"run_id": "r1", "entry_id": "e1", "job_id": "j1", "status": "completed", "output": "x"}`
	// Without the end of the connection, net/http would log what follows the answer.
	header = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n"
)

// A request that asks before it sends its body is sent once, whatever the answer,
// and its error says whether it may have been executed.
func TestExpectContinue(t *testing.T) {
	t.Parallel()
	const goOn = "HTTP/1.1 100 Continue\r\n\r\n"
	for name, it := range map[string]struct {
		serve   func(*peer)
		status  int // of the error; 0 for none, -1 for one without a status
		unknown bool
	}{
		"granted": {serve: func(e *peer) {
			e.says(goOn)
			if e.reads() {
				e.says(header + "\r\n" + begun)
			}
		}},
		"granted late": {serve: func(e *peer) { // net/http waits for a second
			time.Sleep(1500 * time.Millisecond)
			e.says(goOn)
			if e.reads() {
				e.says(header + "\r\n" + begun)
			}
		}},
		"granted twice": {serve: func(e *peer) {
			e.says(goOn + goOn)
			if e.reads() {
				e.says(goOn + header + "\r\n" + begun)
			}
		}},
		"granted without end": {status: -1, unknown: true, serve: func(e *peer) {
			for {
				if _, err := io.WriteString(e, goOn); err != nil {
					return
				}
			}
		}},
		"never answered": {serve: func(e *peer) {
			if e.reads() {
				e.says(header + "\r\n" + begun)
			}
		}},
		"not granted": {status: 417, serve: func(e *peer) {
			e.says("HTTP/1.1 417 Expectation Failed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		}},
		"refused":              {status: 413, serve: func(e *peer) { e.says("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n") }},
		"failed":               {status: 500, unknown: true, serve: func(e *peer) { e.says("HTTP/1.1 500 Oh\r\nConnection: close\r\nContent-Length: 0\r\n\r\n") }},
		"answered without it":  {serve: func(e *peer) { e.says(header + "\r\n" + begun) }},
		"cut after the header": {status: -1, unknown: true, serve: func(*peer) {}},
		"cut after the grant":  {status: -1, unknown: true, serve: func(e *peer) { e.says(goOn) }},
		"cut after the body": {status: -1, unknown: true, serve: func(e *peer) {
			e.says(goOn)
			e.reads()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, requests := exchangeServer(t, it.serve)
			for what, call := range map[string]func(*Client) error{
				"trigger": func(c *Client) error {
					_, err := c.Agents.Trigger(t.Context(), "a", TriggerRequest{Message: "m"}, WithHeader("Expect", "100-continue"))
					return err
				},
				"upload": func(c *Client) error {
					large := strings.NewReader(strings.Repeat("x", 4<<20))
					_, err := c.Knowledge.UploadFile(t.Context(), FileUpload{File: ReaderAtFile("a.txt", large, large.Size())}, WithHeader("Expect", "100-continue"))
					return err
				},
			} {
				requests.Store(0)
				c, err := New("p", testKey, WithBaseURL(url), WithEnvironment("e"), WithTimeout(10*time.Second))
				if err != nil {
					t.Fatal(err)
				}
				err = call(c)
				var answer *Error
				status := 0
				if errors.As(err, &answer) {
					status = answer.StatusCode
				} else if err != nil {
					status = -1
				}
				if status != it.status || errors.Is(err, ErrOutcomeUnknown) != it.unknown || requests.Load() != 1 || c.RateLimit().InFlight != 0 {
					t.Errorf("%s: %v, %d requests", what, err, requests.Load())
				}
				_ = c.Close()
			}
		})
	}
}

// Answers of other ages and in other clothes are what they say, or an error: never
// a success without a body that says so, and never a second run.
func TestOddAnswers(t *testing.T) {
	t.Parallel()
	zip := func(text string, times int) string {
		for range times {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			_, _ = io.WriteString(z, text)
			_ = z.Close()
			text = b.String()
		}
		return text
	}
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Request-Id\r\n\r\n58\r\n" + begun + "\r\n0\r\n"
	if len(begun) != 0x58 {
		t.Fatalf("the chunk has %x bytes", len(begun))
	}
	for name, it := range map[string]struct {
		answer string
		ok     bool
	}{
		"HTTP/1.0":                      {"HTTP/1.0 200 OK\r\n\r\n" + begun, true},
		"HTTP/1.0, kept":                {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n" + begun, true},
		"HTTP/1.0, cut":                 {"HTTP/1.0 200 OK\r\n\r\n" + begun[:len(begun)-1], false},
		"HTTP/1.0, empty":               {"HTTP/1.0 200 OK\r\n\r\n", false},
		"HTTP/1.0, chunked":             {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n58\r\n" + begun + "\r\n0\r\n\r\n", false},
		"HTTP/0.9":                      {begun, false},
		"HTTP/3.0":                      {"HTTP/3.0 200 OK\r\n\r\n" + begun, true},
		"a tail":                        {header + "\r\n" + begun + begun, false},
		"nothing but a tail":            {header + "Content-Length: 0\r\n\r\n" + begun, false},
		"two lengths":                   {header + "Content-Length: 88\r\nContent-Length: 87\r\n\r\n" + begun, false},
		"a length and chunks":           {header + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n58\r\n" + begun + "\r\n0\r\n\r\n", true},
		"a trailer":                     {chunked + "X-Request-Id: late\r\n\r\n", true},
		"a trailer without end":         {chunked + "X-Request-Id: late\r\n", false},
		"a trailer that nobody named":   {chunked + "Authorization: x\r\nContent-Length: 7\r\n\r\n", true},
		"no content, with one":          {"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n" + begun, false},
		"reset content":                 {"HTTP/1.1 205 Reset Content\r\n\r\n", false},
		"partial content":               {"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/88\r\nContent-Length: 10\r\n\r\n" + begun[:10], false},
		"not modified":                  {"HTTP/1.1 304 Not Modified\r\n\r\n", false},
		"encoded as it is":              {header + "Content-Encoding: identity\r\n\r\n" + begun, true},
		"gzip":                          {header + "Content-Encoding: gzip\r\n\r\n" + zip(begun, 1), true},
		"gzip, in capital letters":      {header + "Content-Encoding: GZIP\r\n\r\n" + zip(begun, 1), true},
		"gzip, cut":                     {header + "Content-Encoding: gzip\r\n\r\n" + zip(begun, 1)[:60], false},
		"gzip, without the checksum":    {header + "Content-Encoding: gzip\r\n\r\n" + strings.TrimSuffix(zip(begun, 1), zip(begun, 1)[len(zip(begun, 1))-8:]), false},
		"gzip that is none":             {header + "Content-Encoding: gzip\r\n\r\n" + begun, false},
		"gzip that nobody names":        {header + "\r\n" + zip(begun, 1), false},
		"gzip of two parts":             {header + "Content-Encoding: gzip\r\n\r\n" + zip(begun[:40], 1) + zip(begun[40:], 1), true},
		"gzip of gzip":                  {header + "Content-Encoding: gzip, gzip\r\n\r\n" + zip(begun, 2), false},
		"gzip of gzip, in two headers":  {header + "Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n\r\n" + zip(begun, 2), false},
		"an encoding that nobody knows": {header + "Content-Encoding: br\r\n\r\n" + "\x0b\x2b\x80" + begun, false},
		"another charset":               {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json; charset=utf-16\r\n\r\n\xfe\xff\x00{\x00}", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, requests := exchangeServer(t, func(e *peer) {
				e.reads()
				e.says(it.answer)
			})
			c, err := New("p", testKey, WithBaseURL(url), WithTimeout(10*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			result, err := c.Agents.Trigger(t.Context(), "a", TriggerRequest{Message: "m"})
			if ok := err == nil && result.RunID == "r1"; ok != it.ok || requests.Load() != 1 {
				t.Errorf("%+v, %v, %d requests", result, err, requests.Load())
			}
			var answer *Error
			if err != nil && !errors.Is(err, ErrOutcomeUnknown) && !errors.As(err, &answer) {
				t.Errorf("it may have been executed, and the error is %v", err)
			}
		})
	}
}

// An answer that comes before the body was read ends the request, and does not
// hang on the rest of it.
func TestAnswersBeforeTheBodyWasRead(t *testing.T) {
	t.Parallel()
	for name, it := range map[string]struct {
		answer string
		stay   bool // leave the connection open, and read nothing
		status int
	}{
		"accepted":               {header + "Content-Length: 88\r\n\r\n" + begun, true, 0},
		"refused":                {"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n", true, 413},
		"refused, and the end":   {"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", true, 413},
		"refused at once, a cut": {"HTTP/1.1 401 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", false, 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			done := make(chan struct{})
			url, requests := exchangeServer(t, func(e *peer) {
				e.says(it.answer)
				if it.stay {
					<-done
				}
			})
			c, err := New("p", testKey, WithBaseURL(url), WithEnvironment("e"), WithTimeout(10*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			defer close(done)
			large := strings.NewReader(strings.Repeat("x", 32<<20))
			start := time.Now()
			_, err = c.Knowledge.UploadFile(t.Context(), FileUpload{File: ReaderAtFile("a.txt", large, large.Size())})
			var answer *Error
			switch {
			case it.status == 0 && err != nil, it.status != 0 && err == nil, requests.Load() != 1, time.Since(start) > 9*time.Second:
				t.Errorf("%v, %d requests, %v", err, requests.Load(), time.Since(start))
			case errors.As(err, &answer) && answer.StatusCode != it.status, err != nil && answer == nil && !errors.Is(err, ErrOutcomeUnknown):
				// Of a connection that is cut in the middle of a body the answer may be lost.
				t.Errorf("%v", err)
			}
			if s := c.RateLimit(); s.InFlight != 0 {
				t.Errorf("%d permits are leaked", s.InFlight)
			}
		})
	}
}
