package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/connic-go/connic"
)

const (
	maxQuestion = 8000     // characters
	maxBody     = 64 << 10 // bytes in a request
	bodyTime    = 10 * time.Second
	writeTime   = 10 * time.Second // per event, for a slow reader
	cancelTime  = 10 * time.Second
	beat        = 15 * time.Second // between events, so that no proxy considers the connection dead
)

type config struct {
	Client  *connic.Client
	Agent   string
	Timeout time.Duration // per question
	Callers int           // concurrent questions; more are refused
	Log     *slog.Logger
}

func defaults() config { return config{Timeout: 5 * time.Minute, Callers: 500} }

type server struct {
	config
	open     atomic.Int64
	draining atomic.Bool
}

func newServer(c config) *server { return &server{config: c} }

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	// A page open in a browser must not ask questions at our expense.
	mux.Handle("POST /ask", http.NewCrossOriginProtection().Handler(http.HandlerFunc(s.ask)))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", s.ready)
	return unreadCloses(mux)
}

// unreadCloses closes the connection after a response to a request whose body
// was not read. The server would wait for the body before it responds
// otherwise, and also after that, for as long as the caller cares to send it.
func unreadCloses(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			next.ServeHTTP(w, r)
			return
		}
		body := &watchedBody{ReadCloser: r.Body}
		r.Body = body
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(time.Now().Add(bodyTime))
		w.Header().Set("Connection", "close")
		body.ended = func() {
			w.Header().Del("Connection")
			_ = control.SetReadDeadline(time.Time{})
		}
		next.ServeHTTP(w, r)
		if body.ended != nil {
			_ = control.SetReadDeadline(time.Now())
		}
	})
}

// watchedBody calls ended when it has been read to its end.
type watchedBody struct {
	io.ReadCloser
	ended func()
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) && b.ended != nil {
		b.ended()
		b.ended = nil
	}
	return n, err
}

// ready reports whether new questions are accepted, and the state of the quota.
func (s *server) ready(w http.ResponseWriter, _ *http.Request) {
	quota := s.Client.RateLimit()
	open := s.open.Load()
	state := struct {
		Ready   bool  `json:"ready"`
		Open    int64 `json:"open"`
		Used    int   `json:"quota_used"`
		Limit   int   `json:"quota_limit"`
		Waiting int   `json:"quota_waiting"`
	}{!s.draining.Load() && open < int64(s.Callers), open, quota.Used, quota.Limit, quota.Waiting}
	status := http.StatusOK
	if !state.Ready {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, state)
}

// An Answer is the response to a question.
type Answer struct {
	RunID      string  `json:"run_id"`
	Answer     string  `json:"answer"`
	DurationMS float64 `json:"duration_ms,omitzero"`
}

// ask answers a question: with JSON when the agent has finished, or with a
// stream of server-sent events if the caller accepts one.
func (s *server) ask(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	log := s.Log.With("caller", r.RemoteAddr)
	tooMany := &Problem{Status: http.StatusServiceUnavailable, Message: "too many questions are open", RetryAfter: 5 * time.Second}
	if s.open.Load() >= int64(s.Callers) {
		fail(w, log, tooMany)
		return
	}
	question, problem := readQuestion(w, r)
	// Count from here on: a caller that sends slowly must not keep others out.
	n := s.open.Add(1)
	defer s.open.Add(-1)
	if problem == nil && n > int64(s.Callers) {
		problem = tooMany
	}
	if problem != nil {
		fail(w, log, problem)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()

	out := &stream{w: w}
	if accepts(r, "text/event-stream") {
		if err := out.begin(); err != nil {
			log.Info("the caller went away", "error", err)
			return
		}
	}
	run, err := s.put(ctx, question, out)
	log = log.With("run", idOf(run), "took", time.Since(start).Round(time.Millisecond), "question", utf8.RuneCountInString(question))
	if err != nil {
		if r.Context().Err() != nil && !errors.Is(context.Cause(r.Context()), errShutdown) {
			log.Info("the caller went away", "error", err)
			return // the caller has disconnected
		}
		problem := explain(err, context.Cause(ctx))
		problem.RunID = idOf(run)
		log.Warn("no answer", "status", problem.Status, "error", err)
		if !out.event("error", problem) {
			problem.write(w)
		}
		return
	}
	log.Info("answered", "cost", connic.Money{Amount: run.Cost, Currency: run.Currency}.String())
	answer := Answer{RunID: run.ID, Answer: run.Output, DurationMS: run.DurationMS}
	if !out.event("answer", answer) {
		writeJSON(w, http.StatusOK, answer)
	}
}

// put asks the agent a question and waits for its run, which is cancelled if
// the caller disconnects. It calls tell with news, on this goroutine, because
// writing to a caller may take longer than the wait can spare.
func (s *server) put(ctx context.Context, question string, out *stream) (*connic.Run, error) {
	req := connic.TriggerRequest{Message: question}
	if !out.open {
		return s.triggerAndWait(ctx, req)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	news := make(chan Status, 8)
	tell := func(status Status) {
		select {
		case news <- status:
		default: // the caller reads slowly and misses some
		}
	}
	var (
		run *connic.Run
		err error
	)
	done := make(chan struct{})
	go func() {
		defer close(done)
		run, err = s.triggerAndWait(context.WithValue(ctx, teller{}, tell), req,
			connic.WithProgress(func(e connic.WaitEvent) {
				if e.Err == nil && e.ID != "" { // it is not the trigger that is queued
					tell(Status{RunID: e.ID, Status: e.Status, AfterMS: e.After.Milliseconds()})
				}
			}))
	}()
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		var failed error
		select {
		case <-done:
			return run, err
		case status := <-news:
			failed = out.send("status", status)
		case <-ticker.C:
			failed = out.comment("still here")
		}
		if failed != nil {
			cancel(failed) // and wait until the run is cancelled
			<-done
			return run, err
		}
	}
}

// triggerAndWait cancels the run whenever its result cannot be collected: if
// the context ends, and also if the service refuses to return it.
func (s *server) triggerAndWait(ctx context.Context, req connic.TriggerRequest, opts ...connic.WaitOption) (*connic.Run, error) {
	run, err := s.Client.Agents.TriggerAndWait(ctx, s.Agent, req, append(opts, connic.CancelOnAbort())...)
	if ctx.Err() == nil && errors.As(err, new(*connic.WaitError)) && run != nil && !errors.Is(err, connic.ErrClosed) {
		ctx, done := context.WithTimeout(ctx, cancelTime)
		defer done()
		if failed := s.Client.Runs.Cancel(ctx, run.ID); failed != nil {
			err = errors.Join(err, failed)
		}
	}
	return run, err
}

// A Status is news about a question in progress.
type Status struct {
	RunID   string `json:"run_id,omitempty"`
	Status  string `json:"status"` // of the run, or "waiting" while it is queued for the quota
	AfterMS int64  `json:"after_ms,omitzero"`
	WaitMS  int64  `json:"wait_ms,omitzero"` // estimated time in the queue
}

// teller is the context key of the function that reports news to the caller.
type teller struct{}

// tellCaller tells the caller that the trigger is queued.
func tellCaller(ctx context.Context, e connic.Event) {
	if e.Kind != connic.EventQueued || e.Op != "agents.trigger" {
		return
	}
	if tell, ok := ctx.Value(teller{}).(func(Status)); ok {
		tell(Status{Status: "waiting", WaitMS: e.Wait.Milliseconds()})
	}
}

// readQuestion decodes {"question": "…"}.
func readQuestion(w http.ResponseWriter, r *http.Request) (string, *Problem) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return "", &Problem{Status: http.StatusUnsupportedMediaType, Message: "the Content-Type is not application/json"}
	}
	// Read the body to its end; otherwise the server does not notice when the
	// caller disconnects.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		if errors.As(err, new(*http.MaxBytesError)) {
			return "", &Problem{Status: http.StatusRequestEntityTooLarge, Message: "the request is too large"}
		}
		return "", &Problem{Status: http.StatusBadRequest, Message: "the request broke off"}
	}
	var in struct {
		Question string `json:"question"`
	}
	switch err := json.Unmarshal(body, &in); {
	case err != nil:
		return "", &Problem{Status: http.StatusBadRequest, Message: `the request is not of the form {"question": "…"}`}
	case strings.TrimSpace(in.Question) == "":
		return "", &Problem{Status: http.StatusBadRequest, Message: "the question is empty"}
	case utf8.RuneCountInString(in.Question) > maxQuestion:
		return "", &Problem{Status: http.StatusRequestEntityTooLarge, Message: "the question is too long"}
	}
	return in.Question, nil
}

func accepts(r *http.Request, kind string) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		if got, _, err := mime.ParseMediaType(part); err == nil && got == kind {
			return true
		}
	}
	return false
}

func idOf(run *connic.Run) string {
	if run == nil {
		return ""
	}
	return run.ID
}
