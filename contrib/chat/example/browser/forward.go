package main

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/connic-go/connic/contrib/chat"
)

//go:embed page.html
var page []byte

const (
	maxVisitors = 100
	maxText     = 64 << 10
	writeTime   = 10 * time.Second // per event: a browser that does not read is disconnected
	comment     = 15 * time.Second // proxies cut idle streams
)

// A forwarder forwards conversations to browsers as server-sent events. Each
// visitor has a separate session.
type forwarder struct {
	dial   func(context.Context) (*chat.Session, error)
	logger *slog.Logger
	base   context.Context // ends with the server, so that open streams do not delay its shutdown

	mu       sync.Mutex
	visitors map[string]*chat.Session
}

func (f *forwarder) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	})
	mux.HandleFunc("POST /ask", f.ask)
	// A page of another site must not send messages in the name of a visitor.
	return http.NewCrossOriginProtection().Handler(mux)
}

func (f *forwarder) ask(w http.ResponseWriter, r *http.Request) {
	// Read the body to its end; otherwise the context does not end when the
	// browser disconnects.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxText))
	var question struct {
		Text string `json:"text"`
	}
	if err != nil || json.Unmarshal(body, &question) != nil || question.Text == "" {
		http.Error(w, "expected a text", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(f.base, cancel)()

	session, begun, err := f.session(ctx, w, r)
	if err != nil {
		f.logger.Error("no session", "err", err)
		http.Error(w, "not available", http.StatusServiceUnavailable)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no")
	s := stream{w: w, control: http.NewResponseController(w)}
	// Check this before anything costs money: a wrapped writer may not be able
	// to flush.
	if err := s.control.Flush(); err != nil {
		f.logger.Error("the response cannot be streamed", "err", err)
		http.Error(w, "not available", http.StatusInternalServerError)
		return
	}
	if begun {
		s.event("new", struct{}{})
	}
	if err := s.forward(ctx, session, question.Text); err != nil {
		// The status was sent with the first event. The text from the service
		// goes to the log only.
		id := rand.Text()[:8]
		f.logger.Error("the reply broke off", "id", id, "err", err)
		s.event("error", map[string]string{"text": "The answer was interrupted (" + id + ")."})
	}
	s.event("end", struct{}{})
}

// session returns the visitor's session, and whether it is a new one.
func (f *forwarder) session(ctx context.Context, w http.ResponseWriter, r *http.Request) (session *chat.Session, begun bool, err error) {
	id := ""
	if cookie, err := r.Cookie("visitor"); err == nil {
		id = cookie.Value
	}
	f.mu.Lock()
	session = f.visitors[id]
	full := len(f.visitors) >= maxVisitors
	f.mu.Unlock()
	if session != nil && session.Err() == nil {
		return session, false, nil
	}
	if full && session == nil {
		return nil, false, errors.New("too many visitors")
	}
	if session, err = f.dial(ctx); err != nil {
		return nil, false, err
	}
	begun = id != ""
	id = rand.Text()
	f.mu.Lock()
	f.visitors[id] = session
	f.mu.Unlock()
	context.AfterFunc(f.base, func() { _ = session.Close() })
	go func() {
		<-session.Done()
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.visitors, id)
	}()
	//nolint:gosec // Secure has to be set where the page is served over https; here it is loopback
	http.SetCookie(w, &http.Cookie{Name: "visitor", Value: id, HttpOnly: true, SameSite: http.SameSiteStrictMode, Path: "/"})
	return session, begun, nil
}

// A stream writes events. It is used by a single goroutine.
type stream struct {
	w       io.Writer
	control *http.ResponseController
	err     error // the error of the first failed write
}

// event writes one event. Its data is one line of JSON, so that no text from an
// agent can end the event or forge another one.
func (s *stream) event(kind string, data any) {
	line, err := json.Marshal(data)
	if err == nil {
		s.write(fmt.Sprintf("event: %s\ndata: %s\n\n", kind, line))
	}
}

func (s *stream) write(text string) {
	if s.err != nil {
		return
	}
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTime))
	if _, s.err = io.WriteString(s.w, text); s.err == nil {
		s.err = s.control.Flush()
	}
	_ = s.control.SetWriteDeadline(time.Time{})
}

func (s *stream) forward(ctx context.Context, session *chat.Session, text string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reply, err := session.Send(ctx, chat.Message{Text: text})
	if err != nil {
		return err
	}
	chunks := make(chan string)
	go func() {
		defer close(chunks)
		for chunk, err := range reply.Chunks() {
			if err != nil {
				return // Wait returns it too
			}
			select {
			case chunks <- chunk:
			case <-ctx.Done():
				return
			}
		}
	}()
	silence := time.NewTicker(comment)
	defer silence.Stop()
	for s.err == nil {
		select {
		case chunk, more := <-chunks:
			if !more {
				answer, err := reply.Wait()
				if err == nil {
					s.event("answer", map[string]any{"text": answer.Text, "tokens": answer.TokenUsage.Total})
				}
				return err
			}
			s.event("chunk", map[string]string{"text": chunk})
		case <-silence.C:
			s.write(": still here\n\n")
		}
	}
	return s.err
}
