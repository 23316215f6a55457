package exchange

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// No text leaves without the key masked, and no error that prints the URL.
func TestNoTextShowsTheKey(t *testing.T) {
	t.Parallel()
	escaped := strings.Replace(testKey, "c", `\u0063`, 1)
	fail := errors.New("proxy said " + testKey)
	type test struct {
		transport transportFunc
		prepare   func(e *Engine, f *fake)
	}
	says := func(status int, body string, header ...string) test {
		return test{transport: func(*http.Request) (*http.Response, error) { return answer(status, body, header...), nil }}
	}
	tests := map[string]test{
		"detail":         says(400, `{"detail": "`+testKey+`"}`),
		"escaped detail": says(400, `{"detail": "`+escaped+`"}`),
		"fields":         says(422, `{"detail": [{"loc": ["body", "`+testKey+`"], "msg": "`+testKey+`", "type": "`+testKey+`"}]}`),
		"escaped fields": says(422, `{"detail": [{"loc": ["body", "`+escaped+`"], "msg": "`+escaped+`", "type": "`+escaped+`"}]}`),
		"text":           says(500, testKey),
		"request id":     says(404, "", "X-Request-Id", testKey),
		"location":       says(302, "", "Location", "https://"+testKey+".test/"+testKey+"?"+testKey),
		"undecodable":    says(200, "no "+testKey),
		"transport":      {transport: func(*http.Request) (*http.Response, error) { return nil, fail }},
		"wrapped":        {transport: func(*http.Request) (*http.Response, error) { return nil, fmt.Errorf("x: %w", fail) }},
		"key": {prepare: func(e *Engine, _ *fake) {
			e.Key.Slow, e.Key.Value = true, func(context.Context) ([]string, error) { return nil, fail }
		}},
		"gate": {prepare: func(_ *Engine, f *fake) { f.admit = func(bool) error { return &NotAdmitted{fail} } }},
		"body": {prepare: func(_ *Engine, f *fake) { f.x.Body = streamed(func() (io.Reader, error) { return nil, fail }) }},
		"cause of the call": {prepare: func(_ *Engine, f *fake) {
			ctx, cancel := context.WithCancelCause(context.Background())
			cancel(fail)
			f.Context = ctx
		}},
	}
	for name, test := range tests {
		transport := test.transport
		if transport == nil {
			transport = func(*http.Request) (*http.Response, error) { return answer(200, "{}"), nil }
		}
		e := newEngine(transport)
		e.Mask()
		f := newCall(t.Context(), "https://api.test/secret-path?q="+testKey, http.MethodPost, api.Safe, jsonBody("{}"))
		f.x.Observed = true
		if test.prepare != nil {
			test.prepare(e, f)
		}
		out := e.Run(&f.x, f)
		if out.Cause == CauseNone {
			t.Errorf("%s: no error", name)
		}
		outcomes := []Outcome{out}
		for _, event := range f.events {
			outcomes = append(outcomes, event.Outcome)
		}
		for _, o := range outcomes {
			text := fmt.Sprintf("%+v %#v %s %+v %+v", o, o, o.RequestID, o.Response, o.Last)
			for err := o.Err; err != nil; err = errors.Unwrap(err) {
				text += fmt.Sprintf(" %v %#v", err, err)
			}
			for _, r := range []*Response{o.Response, o.Last} {
				if r != nil {
					text += " " + string(r.Body)
				}
			}
			var u *Undecodable
			if errors.As(o.Err, &u) {
				text += string(u.Body)
			}
			for _, secret := range []string{testKey, escaped, base64.StdEncoding.EncodeToString([]byte(testKey)), "secret-path"} {
				if strings.Contains(text, secret) {
					t.Errorf("%s: %q shows in %s", name, secret, text)
				}
			}
		}
	}
}

// Headers, informational responses and bodies are bounded.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		begin, chunk, end string
		chunks            int
		want              Cause
	}{
		"headers":       {"HTTP/1.1 200 OK\r\nX-A: ", strings.Repeat("a", 64<<10), "\r\nContent-Length: 2\r\n\r\n{}", 9 << 4, CauseTransport},
		"informational": {"", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", okAnswer, maxInforms + 1, CauseTransport},
		"body":          {"HTTP/1.1 200 OK\r\n\r\n", strings.Repeat(" ", 64<<10), "", 100 << 4, CauseDecode},
		"error body":    {"HTTP/1.1 500 X\r\n\r\n", strings.Repeat("x", 64<<10), "", 100 << 4, CauseResponse},
	} {
		taken := make(chan int, 1)
		base, _ := rawServer(t, func(c net.Conn, _, _ int) bool {
			n, _ := io.WriteString(c, test.begin)
			for range test.chunks {
				written, err := io.WriteString(c, test.chunk)
				if n += written; err != nil {
					break
				}
			}
			_, _ = io.WriteString(c, test.end)
			taken <- n
			return false
		})
		transport := NewTransport(5*time.Second, 0)
		f := newCall(t.Context(), base, http.MethodPost, api.Unsafe, jsonBody("{}"))
		out := newEngine(transport).Run(&f.x, f)
		transport.CloseIdleConnections()
		if out.Cause != test.want || !out.Unknown || out.Attempts != 1 {
			t.Errorf("%s: %+v", name, out)
		}
		if n := <-taken; n > 40<<20 { // 1 MiB at most, and what the system buffers
			t.Errorf("%s: %d MiB are taken", name, n>>20)
		}
	}
}
