package connector_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
)

// stuck is a file that gives nothing after its first bytes: it blocks, or
// returns at once.
type stuck struct {
	first io.Reader
	ended chan struct{} // nil: it does not block
}

func (s stuck) Read(p []byte) (int, error) {
	if n, err := s.first.Read(p); n > 0 || err == nil {
		return n, nil
	}
	if s.ended != nil {
		<-s.ended
	}
	return 0, nil
}

// TestFilesThatHang end with the context of the call, when their size is
// determined and when they are sent, and nothing is executed.
func TestFilesThatHang(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]func(t *testing.T) io.Reader{
		"blocks": func(t *testing.T) io.Reader {
			t.Helper()
			s := stuck{strings.NewReader("some"), make(chan struct{})}
			t.Cleanup(func() { close(s.ended) })
			return s
		},
		"returns nothing": func(*testing.T) io.Reader { return stuck{strings.NewReader("some"), nil} },
	} {
		for _, measured := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				p := &pipes{t: t, good: syncAnswer}
				opened := 0
				in := connector.Input{Files: []connector.File{{Name: "a.txt", MIMEType: "text/plain", Open: func() (io.Reader, error) {
					if opened++; opened == 1 && measured {
						return strings.NewReader("some content"), nil
					}
					return file(t), nil
				}}}}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				start := time.Now()
				_, err := p.client().Send(ctx, in)
				if took := time.Since(start); err == nil || took > 10*time.Second+50*time.Millisecond {
					t.Errorf("%s, measured %v: %v after %v", name, measured, err, took)
				}
				if blocks := name != "returns nothing"; errors.Is(err, context.DeadlineExceeded) != blocks {
					t.Errorf("%s, measured %v: %v", name, measured, err)
				}
				if unknown := errors.Is(err, connic.ErrOutcomeUnknown); unknown != measured || p.executed > 0 {
					t.Errorf("%s, measured %v: unknown %v, executed %d: %v", name, measured, unknown, p.executed, err)
				}
			})
		}
	}
}

// TestFilesThatDoNotReturn panic or exit in the goroutine that determines their
// size: the caller gets the panic, and no slot is lost.
func TestFilesThatDoNotReturn(t *testing.T) {
	t.Parallel()
	c := must(connector.New(hookURL, canary, connector.WithMaxInFlight(1), connector.WithHTTPClient(&http.Client{Transport: roundTripper(
		func(*http.Request) (*http.Response, error) { return nil, errors.New("nothing is sent") })})))(t)
	send := func(open func() (io.Reader, error)) (panicked any, err error) {
		defer func() { panicked = recover() }()
		_, err = c.Send(t.Context(), connector.Input{Files: []connector.File{{Name: "a.txt", MIMEType: "text/plain", Open: open}}})
		return nil, err
	}
	for range 2 {
		if panicked, _ := send(func() (io.Reader, error) { panic("a file") }); panicked != "a file" {
			t.Errorf("panicked with %v", panicked)
		}
		var argument *connic.ArgumentError
		if _, err := send(func() (io.Reader, error) { runtime.Goexit(); return nil, nil }); !errors.As(err, &argument) {
			t.Errorf("%v", err)
		}
	}
}
