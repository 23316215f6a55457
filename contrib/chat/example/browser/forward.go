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
	"slices"
	"sync"
	"time"

	"github.com/connic-go/connic/contrib/chat"
)

//go:embed page.html
var page []byte

const (
	maxVisitors = 100
	maxIdle     = 10 * time.Minute // of a visitor, after which the session is closed
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
	visitors map[string]*visitor
	dialing  int
}

// A visitor is a browser with a session.
type visitor struct {
	session *chat.Session
	idle    *time.Timer // closes the session
}

func newVisitor(session *chat.Session) *visitor {
	return &visitor{session, time.AfterFunc(maxIdle, func() { _ = session.Close() })}
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

	v, begun, err := f.visitor(ctx, w, r)
	if err != nil {
		f.logger.Error("no session", "err", err)
		http.Error(w, "not available", http.StatusServiceUnavailable)
		return
	}
	v.idle.Stop()
	defer v.idle.Reset(maxIdle)
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
	if err := s.forward(ctx, v.session, question.Text); err != nil {
		// The status was sent with the first event. The text from the service
		// goes to the log only.
		id := rand.Text()[:8]
		f.logger.Error("the reply broke off", "id", id, "err", err)
		s.event("error", map[string]string{"text": "The answer was interrupted (" + id + ")."})
	}
	s.event("end", struct{}{})
}

// visitor returns the visitor who has sent a request, and whether the session is
// not the one of the cookie.
func (f *forwarder) visitor(ctx context.Context, w http.ResponseWriter, r *http.Request) (v *visitor, begun bool, err error) {
	id := ""
	if cookie, err := r.Cookie("visitor"); err == nil {
		id = cookie.Value
	}
	f.mu.Lock()
	v = f.visitors[id]
	if v != nil && v.session.Err() == nil {
		f.mu.Unlock()
		return v, false, nil
	}
	if len(f.visitors)+f.dialing >= maxVisitors {
		f.mu.Unlock()
		return nil, false, errors.New("too many visitors")
	}
	f.dialing++ // they may all come at once
	f.mu.Unlock()
	begun = id != ""
	id = rand.Text()
	session, err := f.dial(ctx)
	f.mu.Lock()
	f.dialing--
	if err == nil {
		v = newVisitor(session)
		f.visitors[id] = v
	}
	f.mu.Unlock()
	if err != nil {
		return nil, false, err
	}
	stop := context.AfterFunc(f.base, func() { _ = session.Close() })
	go func() {
		<-session.Done()
		stop()
		v.idle.Stop()
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.visitors, id)
	}()
	//nolint:gosec // Secure has to be set where the page is served over https; here it is loopback
	http.SetCookie(w, &http.Cookie{Name: "visitor", Value: id, HttpOnly: true, SameSite: http.SameSiteStrictMode, Path: "/"})
	return v, begun, nil
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

// forward forwards the reply to a text: the chunks of each agent, progress
// events, and the complete answers.
func (s *stream) forward(ctx context.Context, session *chat.Session, text string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reply, err := session.Send(ctx, chat.Message{Text: text})
	if err != nil {
		return err
	}
	events := make(chan chat.Event)
	go func() {
		defer close(events)
		for e, err := range reply.Events() {
			if err != nil {
				return // Wait returns it too
			}
			select {
			case events <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	silence := time.NewTicker(comment)
	defer silence.Stop()
	for s.err == nil {
		select {
		case e, more := <-events:
			if !more {
				return s.answers(reply.Wait())
			}
			switch e.Type {
			case "", "stream_start", "error": // the end follows
			case "stream_chunk", "stream_end", "response":
				if e.Text != "" {
					s.event("chunk", map[string]string{"agent": e.Agent, "text": e.Text})
				}
			default: // its keys are for the log of the service, not for a visitor
				s.event("progress", map[string]string{"agent": e.Agent, "type": e.Type})
			}
		case <-silence.C:
			s.write(": still here\n\n")
		}
	}
	return s.err
}

// answers writes the answers that are complete.
func (s *stream) answers(answer *chat.Answer, err error) error {
	all := answer.Answers
	if len(all) == 0 && err == nil {
		all = []chat.Answer{*answer}
	}
	var failed *chat.ReplyError
	// Without a detail an answer is incomplete, and perhaps not known whose.
	unknown := errors.As(err, &failed) && len(failed.Missing) == 0 && failed.Detail == ""
	for _, one := range all {
		if one.Err != nil || unknown || (failed != nil && slices.Contains(failed.Missing, one.Agent)) {
			continue
		}
		s.event("answer", map[string]any{"agent": one.Agent, "text": one.Text, "tokens": one.TokenUsage.Total})
	}
	return err
}
