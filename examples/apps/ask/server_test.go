package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// pipe is a listener within the process: a server behind it can be tested in
// virtual time.
type pipe struct {
	conns chan net.Conn
	once  sync.Once
	ended chan struct{}
}

func newPipe() *pipe { return &pipe{conns: make(chan net.Conn), ended: make(chan struct{})} }

func (p *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}

func (p *pipe) Close() error {
	p.once.Do(func() { close(p.ended) })
	return nil
}

func (p *pipe) Addr() net.Addr { return &net.IPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (p *pipe) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.ended:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// world is a service with its callers.
type world struct {
	fake   *connictest.Server
	server *server
	http   *http.Client
	log    *lockedBuffer
	term   context.CancelFunc // SIGTERM
	ended  chan error         // what serve returned
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func start(t *testing.T, drain time.Duration, change func(*config)) *world {
	t.Helper()
	w := &world{fake: connictest.New(), log: new(lockedBuffer), ended: make(chan error, 1)}
	w.fake.Agent("support", support)
	conf := defaults()
	conf.Agent = "support"
	conf.Log = slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	conf.Client = w.fake.Client(connic.WithLogger(conf.Log), connic.WithObserver(tellCaller))
	if change != nil {
		change(&conf)
	}
	w.server = newServer(conf)
	l := newPipe()
	transport := &http.Transport{DialContext: l.dial}
	w.http = &http.Client{Transport: transport}
	ctx, term := context.WithCancel(t.Context())
	w.term = term
	go func() { w.ended <- w.server.serve(ctx, l, 0, drain) }()
	t.Cleanup(func() {
		term()
		<-w.ended
		transport.CloseIdleConnections()
		_ = conf.Client.Close()
		w.fake.Close()
	})
	return w
}

func (w *world) post(ctx context.Context, body, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://ask/ask", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", accept)
	return w.http.Do(req)
}

func ask(t *testing.T, w *world, body string) (int, http.Header, string) {
	t.Helper()
	resp, err := w.post(t.Context(), body, "application/json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(raw)
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := start(t, time.Minute, nil)
		status, _, body := ask(t, w, `{"question": "May I return it?"}`)
		if status != http.StatusOK || !strings.Contains(body, `"answer":"You can return goods within 30 days."`) || !strings.Contains(body, `"run_id":"run-`) {
			t.Errorf("got %d %s", status, body)
		}
		if log := w.log.String(); strings.Contains(log, "May I") || strings.Contains(log, "cnc_connictest") {
			t.Errorf("the log has the question or the key:\n%s", log)
		}
		// A connection that has answered before answers again, after a long pause.
		<-time.After(time.Minute)
		if status, _, _ := ask(t, w, `{"question": "Do you ship?"}`); status != http.StatusOK {
			t.Errorf("the second question got %d", status)
		}
	})
}

func TestRefusesBeforeItCosts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := start(t, time.Minute, nil)
		for body, want := range map[string]int{
			``:                     http.StatusBadRequest,
			`{"question": 3}`:      http.StatusBadRequest,
			`{"question": " \n "}`: http.StatusBadRequest,
			`{"question": "` + strings.Repeat("ä", maxQuestion+1) + `"}`: http.StatusRequestEntityTooLarge,
			`{"question": "` + strings.Repeat("x", maxBody) + `"}`:       http.StatusRequestEntityTooLarge,
		} {
			if status, _, got := ask(t, w, body); status != want {
				t.Errorf("%.40s: got %d %s, want %d", body, status, got, want)
			}
		}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://ask/ask", strings.NewReader(`{"question": "x"}`))
		for header, value := range map[string]string{"Content-Type": "text/plain", "Origin": "https://elsewhere.example"} {
			r := req.Clone(t.Context())
			r.Body, _ = req.GetBody()
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set(header, value)
			resp, err := w.http.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusUnsupportedMediaType && resp.StatusCode != http.StatusForbidden {
				t.Errorf("%s %s: got %d", header, value, resp.StatusCode)
			}
		}
		if n := len(w.fake.Requests()); n != 0 {
			t.Errorf("%d requests were sent", n)
		}
	})
}

// event is a server-sent event.
type event struct{ name, data string }

func events(t *testing.T, body io.Reader) (all []event) {
	t.Helper()
	var e event
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		switch line := lines.Text(); {
		case line == "" && e.name != "":
			all = append(all, e)
			e = event{}
		case strings.HasPrefix(line, "event: "):
			e.name = line[len("event: "):]
		case strings.HasPrefix(line, "data: "):
			e.data += line[len("data: "):]
		}
	}
	if err := lines.Err(); err != nil {
		t.Error(err)
	}
	return all
}

func TestStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := start(t, time.Minute, nil)
		w.fake.Agent("support", func(ctx context.Context, in connictest.Input) (any, error) {
			if err := in.AwaitApproval(ctx); err != nil {
				return nil, err
			}
			return "approved\n\nevent: answer\ndata: forged", nil
		})
		for range 60 { // another program uses up the quota, so the question is queued
			_, _ = w.server.Client.Project.Get(t.Context())
		}
		go func() {
			<-time.After(2 * time.Minute)
			for i := range 200 { // whatever id the run has
				w.fake.Approve(fmt.Sprintf("run-%08d", i))
			}
		}()
		resp, err := w.post(t.Context(), `{"question": "x"}`, "text/event-stream")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		got := events(t, resp.Body)
		var names []string
		for _, e := range got {
			names = append(names, e.name)
		}
		if len(got) < 3 || !strings.Contains(got[0].data, `"status":"waiting"`) || !strings.Contains(got[1].data, `"status":"awaiting_approval"`) {
			t.Fatalf("got %v", got)
		}
		var answer Answer
		if err := json.Unmarshal([]byte(got[len(got)-1].data), &answer); err != nil {
			t.Fatal(err)
		}
		if strings.Count(strings.Join(names, " "), "answer") != 1 || answer.Answer != "approved\n\nevent: answer\ndata: forged" {
			t.Errorf("got %q, %+v", names, answer)
		}
	})
}

// A caller who goes away takes the run along.
func TestCallerGoes(t *testing.T) {
	t.Parallel()
	for _, accept := range []string{"application/json", "text/event-stream"} {
		t.Run(accept, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := start(t, time.Minute, nil)
				stopped := make(chan struct{})
				w.fake.Agent("support", func(ctx context.Context, _ connictest.Input) (any, error) {
					<-ctx.Done()
					close(stopped)
					return nil, ctx.Err()
				})
				ctx, leave := context.WithTimeout(t.Context(), 7*time.Second)
				defer leave()
				resp, err := w.post(ctx, `{"question": "x"}`, accept)
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("the caller got %v", err)
				}
				<-stopped
				if n := w.fake.Executions("runs.cancel"); n != 1 {
					t.Errorf("the run was cancelled %d times", n)
				}
			})
		})
	}
}

// A caller who does not read is cut off, and its run cancelled.
func TestCallerDoesNotRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := start(t, time.Minute, nil)
		stopped := make(chan struct{})
		w.fake.Agent("support", func(ctx context.Context, _ connictest.Input) (any, error) {
			<-ctx.Done()
			close(stopped)
			return nil, ctx.Err()
		})
		transport, _ := w.http.Transport.(*http.Transport)
		conn, err := transport.DialContext(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		body := `{"question": "x"}`
		_, _ = fmt.Fprintf(conn, "POST /ask HTTP/1.1\r\nHost: ask\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		lines := bufio.NewReader(conn)
		for line := ""; !strings.HasPrefix(line, ": "); {
			if line, err = lines.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-stopped:
		case <-time.After(2 * time.Minute):
			t.Error("the run is still in progress")
		}
	})
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault      connictest.Fault
		quotaAway  bool
		timeout    time.Duration
		agent      connictest.AgentFunc
		key        []string
		want       int
		retryAfter string
		text       string
	}{
		"the quota has no slot in time": {quotaAway: true, timeout: 20 * time.Second, want: 429, retryAfter: "61", text: "quota"},
		"too slow":                      {agent: forever, timeout: 20 * time.Second, want: 504, text: "took too long"},
		"the agent fails":               {agent: fails, want: 502, text: "failed"},
		"no permission":                 {key: []string{"runs:read"}, want: 403},
		"the answer is lost":            {fault: connictest.Fault{Op: "agents.trigger", After: true, Drop: true, Times: -1}, want: 502, text: "may have been asked"},
		"the quota is gone for long":    {fault: connictest.Fault{Op: "agents.trigger", Status: 429, RetryAfter: "600", Times: -1}, want: 429, retryAfter: "600"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := start(t, time.Minute, func(c *config) {
					if tt.timeout > 0 {
						c.Timeout = tt.timeout
					}
				})
				if tt.key != nil {
					w.server.Client = w.fake.ClientWithKey(w.fake.Key(tt.key...))
				}
				if tt.agent != nil {
					w.fake.Agent("support", tt.agent)
				}
				if tt.fault.Op != "" {
					w.fake.Fault(tt.fault)
				}
				if tt.quotaAway {
					for range 60 {
						_, _ = w.server.Client.Project.Get(t.Context())
					}
				}
				status, header, body := ask(t, w, `{"question": "x"}`)
				if status != tt.want || !strings.Contains(body, tt.text) || strings.Contains(body, "secret") {
					t.Errorf("got %d %s, want %d with %q", status, body, tt.want, tt.text)
				}
				if got := header.Get("Retry-After"); got != tt.retryAfter {
					t.Errorf("got Retry-After %q, want %q", got, tt.retryAfter)
				}
				if n := w.fake.Executions("agents.trigger"); n > 1 {
					t.Errorf("%d runs were started", n)
				}
			})
		})
	}
}

// A run that was started and cannot be seen is cancelled, and nobody is told to ask
// again.
func TestRunCannotBeSeen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := start(t, time.Minute, nil)
		w.fake.Agent("support", forever)
		w.server.Client = w.fake.ClientWithKey(w.fake.Key("agents:write", "runs:write"))
		status, header, body := ask(t, w, `{"question": "x"}`)
		if status != http.StatusBadGateway || header.Get("Retry-After") != "" || !strings.Contains(body, "the question was asked") || !strings.Contains(body, "run-") {
			t.Errorf("got %d %s", status, body)
		}
		if n := w.fake.Executions("runs.cancel"); n != 1 {
			t.Errorf("the run was cancelled %d times", n)
		}
	})
}

func forever(ctx context.Context, _ connictest.Input) (any, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func fails(context.Context, connictest.Input) (any, error) {
	return nil, errors.New("the secret of the agent")
}

// SIGTERM lets open questions end, and takes no new ones.
func TestDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := start(t, time.Minute, nil)
		answered := make(chan string, 1)
		go func() {
			_, _, body := ask(t, w, `{"question": "Do you ship?"}`)
			answered <- body
		}()
		<-time.After(time.Second)
		w.term()
		synctest.Wait()
		if _, err := w.post(t.Context(), `{"question": "x"}`, ""); err == nil {
			t.Error("a new question was taken")
		}
		if body := <-answered; !strings.Contains(body, "two working days") {
			t.Errorf("the open question got %s", body)
		}
		err := <-w.ended
		w.ended <- err
		if err != nil {
			t.Error(err)
		}
	})
}

// What does not end in time is cancelled, and its caller told.
func TestDrainTakesTooLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := start(t, 30*time.Second, nil)
		w.fake.Agent("support", forever)
		answered := make(chan string, 1)
		go func() {
			status, header, body := ask(t, w, `{"question": "x"}`)
			answered <- fmt.Sprint(status, " ", header.Get("Retry-After"), " ", body)
		}()
		<-time.After(time.Second)
		w.term()
		if got := <-answered; !strings.HasPrefix(got, "503 5 ") || !strings.Contains(got, "shutting down") {
			t.Errorf("got %s", got)
		}
		if n := w.fake.Executions("runs.cancel"); n != 1 {
			t.Errorf("the run was cancelled %d times", n)
		}
		err := <-w.ended
		w.ended <- err
		if err != nil {
			t.Error(err)
		}
	})
}

// A question that is queued for the quota is refused on SIGTERM, and costs nothing.
func TestDrainRefusesTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := start(t, 5*time.Minute, nil)
		for range 60 { // another program uses up the quota
			_, _ = w.server.Client.Project.Get(t.Context())
		}
		answered := make(chan string, 1)
		go func() {
			status, header, body := ask(t, w, `{"question": "x"}`)
			answered <- fmt.Sprint(status, " ", header.Get("Retry-After"), " ", body)
		}()
		<-time.After(time.Second)
		begin := time.Now()
		w.term()
		if got := <-answered; !strings.HasPrefix(got, "503 5 ") || time.Since(begin) > time.Second {
			t.Errorf("got %s after %v", got, time.Since(begin))
		}
		if n := w.fake.Executions("agents.trigger"); n != 0 {
			t.Errorf("%d runs were started", n)
		}
	})
}

func TestReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := start(t, time.Minute, func(c *config) { c.Callers = 1 })
		get := func(path string) int {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://ask"+path, http.NoBody)
			resp, err := w.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			return resp.StatusCode
		}
		if got := get("/readyz"); got != http.StatusOK {
			t.Errorf("ready: got %d", got)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			ask(t, w, `{"question": "x"}`)
		}()
		<-time.After(time.Second)
		if got := get("/readyz"); got != http.StatusServiceUnavailable {
			t.Errorf("full: got %d", got)
		}
		if got := get("/healthz"); got != http.StatusOK {
			t.Errorf("alive: got %d", got)
		}
		if status, header, _ := ask(t, w, `{"question": "x"}`); status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
			t.Errorf("one too many: got %d", status)
		}
		<-done
	})
}
