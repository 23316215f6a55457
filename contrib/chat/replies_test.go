package chat_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/contrib/chat"
)

// streams answers each message with chunks that name it.
func streams(chunks int, pause time.Duration) script {
	return func(ctx context.Context, c *websocket.Conn) {
		for {
			id := hear(ctx, c)
			if id == "" {
				return
			}
			for range chunks {
				say(ctx, c, `{"type":"stream_chunk","content":"`+id+` "}`)
				time.Sleep(pause)
			}
			say(ctx, c, `{"type":"stream_end"}`)
		}
	}
}

// TestAReplyThatIsLeft leaves no chunk to the next one, whatever way it is left.
func TestAReplyThatIsLeft(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*testing.T, *chat.Session){
		"break": func(t *testing.T, s *chat.Session) {
			t.Helper()
			r, err := s.Send(t.Context(), chat.Message{Text: "m"})
			if err != nil {
				t.Fatal(err)
			}
			for range r.Chunks() {
				break
			}
			if _, err := r.Wait(); !errors.Is(err, chat.ErrAbandoned) {
				t.Errorf("%v", err)
			}
			if _, err := collect(r); !errors.Is(err, chat.ErrConsumed) {
				t.Errorf("%v", err)
			}
		},
		"context": func(t *testing.T, s *chat.Session) {
			t.Helper()
			reason := errors.New("the visitor has left")
			ctx, cancel := context.WithCancelCause(t.Context())
			r, err := s.Send(ctx, chat.Message{Text: "m"})
			if err != nil {
				t.Fatal(err)
			}
			cancel(reason)
			if _, err := collect(r); !errors.Is(err, context.Canceled) || !errors.Is(err, reason) || !errors.Is(err, connic.ErrOutcomeUnknown) {
				t.Errorf("%v", err)
			}
		},
		"context before": func(t *testing.T, s *chat.Session) {
			t.Helper()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := s.Send(ctx, chat.Message{Text: "m"}); !errors.Is(err, context.Canceled) || errors.Is(err, connic.ErrOutcomeUnknown) {
				t.Errorf("%v", err)
			}
		},
		"panic": func(t *testing.T, s *chat.Session) {
			t.Helper()
			r, err := s.Send(t.Context(), chat.Message{Text: "m"})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = recover() }()
			for range r.Chunks() {
				panic("a page that cannot be written")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := dial(t, scripted(t, streams(20, time.Millisecond)))
			leave(t, s)
			r, err := s.Send(t.Context(), chat.Message{Text: "m"})
			if err != nil {
				t.Fatal(err)
			}
			answer, err := r.Wait()
			if err != nil || len(strings.Fields(answer.Text)) != 20 || strings.Count(answer.Text, strings.Fields(answer.Text)[0]+" ") != 20 {
				t.Errorf("%q, %v", answer.Text, err)
			}
		})
	}
}

func TestOneReplyAtATime(t *testing.T) {
	t.Parallel()
	s := dial(t, scripted(t, streams(5, 20*time.Millisecond)))
	var sent, busy atomic.Int32
	var callers sync.WaitGroup
	replies := make(chan *chat.Reply, 50)
	for range 50 {
		callers.Go(func() {
			r, err := s.Send(t.Context(), chat.Message{Text: "m"})
			switch {
			case err == nil:
				sent.Add(1)
				replies <- r
			case errors.Is(err, chat.ErrBusy):
				busy.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	callers.Wait()
	if sent.Load() != 1 || busy.Load() != 49 {
		t.Errorf("%d sent, %d busy", sent.Load(), busy.Load())
	}
	if _, err := (<-replies).Wait(); err != nil {
		t.Error(err)
	}
}

func TestMessagesAreRefused(t *testing.T) {
	t.Parallel()
	s := dial(t, scripted(t, func(ctx context.Context, c *websocket.Conn) {
		if id := hear(ctx, c); id != "" {
			t.Error("something was sent")
		}
	}))
	for name, m := range map[string]chat.Message{
		"empty":   {},
		"context": {Text: "m", Context: make(chan int)},
		"type":    {Files: []chat.File{{Name: "a", MIMEType: "application/zip"}}},
		"no name": {Files: []chat.File{{MIMEType: "text/plain"}}},
		"large":   {Files: []chat.File{{Name: "a", MIMEType: "text/plain", Data: make([]byte, connector.MaxFileBytes+1)}}},
	} {
		var argument *connic.ArgumentError
		if _, err := s.Send(t.Context(), m); !errors.As(err, &argument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Send(nil, chat.Message{Text: "m"}); err == nil { //nolint:staticcheck // nil is what is tested
		t.Error("a nil context is accepted")
	}
	var zero chat.Reply
	if _, err := collect(&zero); err == nil {
		t.Error("the chunks of nothing")
	}
	if answer, err := zero.Wait(); err == nil || answer == nil {
		t.Error("the answer of nothing")
	}
}

// TestTenThousandChunks leave no trace in the heap, also with a reader that sleeps while
// they come.
func TestTenThousandChunks(t *testing.T) { //nolint:paralleltest // it measures the heap
	var heap [2]runtime.MemStats
	chunk := strings.Repeat("0123456789", 3)
	half := make(chan struct{})
	s := dial(t, scripted(t, func(ctx context.Context, c *websocket.Conn) {
		hear(ctx, c)
		for i := range 10_000 {
			if i == 5_000 {
				<-half
			}
			say(ctx, c, `{"type":"stream_chunk","content":"`+chunk+`"}`)
		}
		say(ctx, c, `{"type":"stream_end"}`)
		hear(ctx, c)
	}))
	r, err := s.Send(t.Context(), chat.Message{Text: "m"})
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for piece, err := range r.Chunks() {
		if err != nil {
			t.Fatal(err)
		}
		got += len(piece)
		switch {
		case heap[0].HeapAlloc == 0:
			runtime.GC()
			runtime.ReadMemStats(&heap[0])
		case got == 5_000*len(chunk):
			close(half)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&heap[1])
	if got != 10_000*len(chunk) {
		t.Errorf("%d bytes", got)
	}
	// The text of the answer is 300,000 bytes, in a slice that has doubled.
	if grown := int64(heap[1].HeapAlloc) - int64(heap[0].HeapAlloc); grown > 1<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	} else {
		t.Logf("the heap has grown by %d bytes", grown)
	}
}

// TestNothingIsLeft of sessions that were closed, and of those that the service has ended.
func TestNothingIsLeft(t *testing.T) { //nolint:paralleltest // it counts goroutines
	url := scripted(t, func(ctx context.Context, c *websocket.Conn) {
		if hear(ctx, c) != "" {
			say(ctx, c, `{"type":"response","response":"x"}`)
		}
		_ = c.Close(websocket.StatusNormalClosure, "")
	})
	before := runtime.NumGoroutine()
	for i := range 50 {
		s, err := chat.Dial(t.Context(), url, canary)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Ask(t.Context(), chat.Message{Text: "m"}); err != nil {
			t.Error(err)
		}
		if i%2 == 0 {
			_ = s.Close()
		} else {
			<-s.Done()
		}
	}
	deadline := time.After(10 * time.Second)
	for runtime.NumGoroutine() > before+4 { // the listener's connections end a little later
		select {
		case <-deadline:
			var stacks bytes.Buffer
			stacks.Grow(1 << 20)
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, and %d before\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func FuzzFrames(f *testing.F) {
	for _, seed := range []string{`{"type":"stream_chunk","content":"a"}`, `{"type":"stream_end","full_response":{}}`, `{"type":"error","error":[]}`, `null`, `[]`, "\xff", `{"type":"response","payload":5,"data":{"content":null}}`, `{"type":"stream_end","token_usage":{"input":1e400}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if e := chat.ParseForTest(frame); e != "" && !json.Valid(frame) {
			t.Errorf("%q is a message of type %q", frame, e)
		}
	})
}
