//go:build unix

package tests

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// suspended is set, to the address of the server, in the process that is stopped.
const suspended = "CONNIC_TEST_SUSPENDED"

const (
	suspendedQuota  = 5
	suspendedWindow = 500 * time.Millisecond
)

// A process that is stopped for longer than an attempt may take, while an answer is
// on its way and while a kept connection is closed, starts nothing twice, says of no
// run that it was not started, and keeps to its quota when it goes on.
func TestSuspendedProcesses(t *testing.T) {
	t.Parallel()
	if at := os.Getenv(suspended); at != "" {
		suspendedChild(t, at)
		return
	}
	var (
		mu       sync.Mutex
		arrivals []time.Time
		triggers atomic.Int32
		child    *exec.Cmd
		ready    = make(chan struct{})
	)
	// stop stops the process, does something, and lets it go on after its attempts
	// have timed out.
	stop := func(meanwhile func()) {
		<-ready
		if child.Process.Signal(syscall.SIGSTOP) != nil {
			return // a request of an attempt that was given up came after the end
		}
		go func() {
			meanwhile()
			time.Sleep(1200 * time.Millisecond)
			_ = child.Process.Signal(syscall.SIGCONT)
		}()
	}
	var srv *httptest.Server
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		arrivals = append(arrivals, time.Now())
		n := len(arrivals)
		mu.Unlock()
		switch {
		case r.Method == http.MethodPost:
			if triggers.Add(1) == 1 {
				stop(func() {}) // the answer comes while nobody reads
			}
		case n%10 == 0:
			stop(srv.CloseClientConnections)
		}
		_, _ = w.Write([]byte(`{"id": "r1", "run_id": "r1", "status": "completed", "output": "x"}`))
	}))
	t.Cleanup(srv.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
	defer cancel()
	executable, err := os.Executable()
	require.NoError(t, err)
	child = exec.CommandContext(ctx, executable, "-test.run=^TestSuspendedProcesses$") // killed if it hangs
	child.Env = append(os.Environ(), suspended+"="+srv.URL)
	var said strings.Builder
	child.Stdout, child.Stderr = &said, &said
	require.NoError(t, child.Start())
	close(ready)
	if assert.NoError(t, child.Wait(), said.String()) {
		assert.Contains(t, said.String(), "done", said.String())
	}
	var sent, started, unknown int32
	_, err = fmt.Sscanf(said.String(), "triggers %d %d %d", &sent, &started, &unknown)
	require.NoError(t, err, said.String())
	assert.LessOrEqual(t, triggers.Load(), sent, "a run was started twice")
	assert.GreaterOrEqual(t, triggers.Load(), started)
	assert.Equal(t, sent, started+unknown, "of a run it is said that it was not started")
	mu.Lock()
	defer mu.Unlock()
	// A request counts from the end of its round trip, so its arrival is earlier still.
	for i := suspendedQuota; i < len(arrivals); i++ {
		if gap := arrivals[i].Sub(arrivals[i-suspendedQuota]); gap < suspendedWindow {
			t.Errorf("%d requests arrive within %v", suspendedQuota+1, gap)
		}
	}
	t.Logf("%d requests; %s", len(arrivals), said.String())
}

// suspendedChild makes calls, and prints how many runs it tried to start, how many
// it knows to be started, and of how many it does not know.
func suspendedChild(t *testing.T, at string) {
	c, err := connic.New("p", "cnc_suspended-test", connic.WithBaseURL(at), connic.WithTimeout(time.Second),
		connic.WithRateLimit(suspendedQuota, suspendedWindow), connic.WithRetry(connic.RetryPolicy{MaxAttempts: 100, MinWait: time.Millisecond, MaxWait: 10 * time.Millisecond, Budget: -1}))
	require.NoError(t, err)
	var started, unknown atomic.Int32
	trigger := func() {
		switch _, err := c.Agents.Trigger(t.Context(), "a", connic.TriggerRequest{Message: "m"}); {
		case err == nil:
			started.Add(1)
		case errors.Is(err, connic.ErrOutcomeUnknown):
			unknown.Add(1)
		default:
			t.Error(err)
		}
	}
	trigger()
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			for range 6 {
				if _, err := c.Runs.Get(t.Context(), "r1"); err != nil {
					t.Error(err)
				}
			}
			trigger()
		})
	}
	calls.Wait()
	if s := c.RateLimit(); s.InFlight != 0 || s.Waiting != 0 {
		t.Errorf("left behind: %+v", s)
	}
	require.NoError(t, c.Close())
	fmt.Printf("triggers %d %d %d\ndone\n", 5, started.Load(), unknown.Load())
}
