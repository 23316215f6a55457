package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
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

// together lets n callers ask at once; each has to get the answer to its own
// question.
func together(t *testing.T, n int, ask func(question string) (int, string, error)) {
	t.Helper()
	var callers sync.WaitGroup
	for i := range n {
		callers.Go(func() {
			question := fmt.Sprintf("question %d of %d", i, n)
			status, body, err := ask(question)
			var got Answer
			if err != nil || status != http.StatusOK || json.Unmarshal([]byte(body), &got) != nil || got.Answer != "You asked: "+question {
				t.Errorf("%s: got %d %s %v", question, status, body, err)
			}
		})
	}
	callers.Wait()
}

func repeat(ctx context.Context, in connictest.Input) (any, error) {
	select {
	case <-time.After(300 * time.Millisecond):
		return "You asked: " + in.Message, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// checkLoad checks that nobody's question was put twice or refused.
func checkLoad(t *testing.T, fake *connictest.Server, n int) {
	t.Helper()
	if got := fake.Executions("agents.trigger"); got != n {
		t.Errorf("%d runs were started for %d questions", got, n)
	}
	refused := 0
	for _, r := range fake.Requests() {
		if r.Status == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused > 0 {
		t.Errorf("the service refused %d requests", refused)
	}
	t.Logf("%d requests for %d questions", len(fake.Requests()), n)
}

// 200 callers, the real quota, virtual time: the last is answered within about
// four windows.
func TestLoadOfARealQuota(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// Longer than it takes: the client refuses what it expects to come too late,
		// and takes all places that are kept for looks to be needed.
		w := start(t, time.Minute, func(c *config) { c.Timeout = 15 * time.Minute })
		w.fake.Agent("support", repeat)
		begin := time.Now()
		together(t, 200, func(question string) (int, string, error) {
			resp, err := w.post(t.Context(), fmt.Sprintf(`{"question": %q}`, question), "application/json")
			if err != nil {
				return 0, "", err
			}
			defer resp.Body.Close()
			raw, err := io.ReadAll(resp.Body)
			return resp.StatusCode, string(raw), err
		})
		took := time.Since(begin)
		t.Logf("the last answer came after %v", took)
		if took > 5*time.Minute {
			t.Errorf("200 questions took %v of virtual time, and 60 requests a minute are enough for 4 minutes", took)
		}
		checkLoad(t, w.fake, 200)
	})
}

// 200 callers over sockets. The window is short, so that the test is.
func TestLoadOverSockets(t *testing.T) {
	t.Parallel()
	fake := connictest.NewServer(t)
	fake.Agent("support", repeat)
	fake.RateLimit(60, time.Second, connictest.SlidingWindow)
	conf := defaults()
	conf.Agent, conf.Log = "support", logger(io.Discard, false)
	conf.Client = fake.Client(connic.WithRateLimit(60, time.Second))
	s := newServer(conf)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, term := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.serve(ctx, l, 0, time.Minute) }()
	transport := &http.Transport{MaxIdleConnsPerHost: 200}
	browser := &http.Client{Transport: transport}
	together(t, 200, func(question string) (int, string, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+l.Addr().String()+"/ask",
			strings.NewReader(fmt.Sprintf(`{"question": %q}`, question)))
		if err != nil {
			return 0, "", err
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := browser.Do(req)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(raw), err
	})
	transport.CloseIdleConnections()
	term()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	checkLoad(t, fake, 200)
}
