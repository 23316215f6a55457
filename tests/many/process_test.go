package many

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// asService makes the test binary the service of TestTwoHundredRequestsAtOnce.
const asService = "CONNIC_TEST_SERVICE"

// window is the quota's, a tenth of the real one, so that the test takes 20 s.
const window = 6 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(asService) == "" {
		os.Exit(m.Run())
	}
	if err := serve(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve is a backend that serves people: each request triggers a run and waits for
// it. It prints its address, and ends with SIGTERM.
func serve() error {
	client, err := connic.NewFromEnv(connic.WithRateLimit(60, window))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		run, err := client.Agents.TriggerAndWait(r.Context(), "a", connic.TriggerRequest{Message: r.URL.RawQuery},
			connic.WithPoll(500*time.Millisecond, 2*time.Second))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		_, _ = io.WriteString(w, run.Output)
	})}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	fmt.Println("http://" + listener.Addr().String())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return client.Close()
}

// process is a program that was started.
type process struct {
	lines  *bufio.Scanner // of its standard output
	log    bytes.Buffer   // its standard error; complete after stop
	cancel context.CancelFunc
	cmd    *exec.Cmd
}

// start starts a program, which is stopped at the end of the test at the latest.
func start(t *testing.T, env []string, name string, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{cancel: cancel, cmd: exec.CommandContext(ctx, name, args...)}
	p.cmd.Env, p.cmd.Stderr = append(os.Environ(), env...), &p.log
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 5 * time.Second
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	p.lines = bufio.NewScanner(out)
	t.Cleanup(p.stop)
	return p
}

// stop ends the program and waits for it. It may be called twice.
func (p *process) stop() {
	p.cancel()
	_ = p.cmd.Wait()
}

func (p *process) line(t *testing.T) string {
	t.Helper()
	require.True(t, p.lines.Scan(), "the program ended: %s", &p.log)
	return p.lines.Text()
}

// A backend in a process of its own serves 200 people at once, each of whom triggers
// a run and waits for it, at 60 requests in 6 s, counted by connic-fake in another
// process.
func TestTwoHundredRequestsAtOnce(t *testing.T) { //nolint:paralleltest // it takes real time
	const callers = 200
	dir := t.TempDir()
	name := filepath.Join(dir, "connic-fake")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", name, "./connictest/cmd/connic-fake")
	build.Dir = filepath.Join("..", "..")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	config := filepath.Join(dir, "fake.json")
	require.NoError(t, os.WriteFile(config, []byte(`{"agents": [{"name": "a", "answers": [{"delay": "300ms"}]}]}`), 0o600))

	fake := start(t, nil, name, "-addr", "127.0.0.1:0", "-config", config, "-rate", "60", "-per", window.String(), "-window", "sliding")
	env := []string{asService + "=1"}
	for range 3 {
		env = append(env, strings.TrimPrefix(fake.line(t), "export "))
	}
	self, err := os.Executable()
	require.NoError(t, err)
	backend := start(t, env, self)
	url := backend.line(t)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	begin := time.Now()
	took := ask(ctx, t, url, callers)
	elapsed := time.Since(begin)
	backend.stop()
	fake.stop()

	started, refused, other := 0, 0, 0
	for line := range strings.Lines(fake.log.String()) {
		switch {
		case strings.Contains(line, " 429 ("):
			refused++
		case strings.Contains(line, " POST ") && strings.Contains(line, "/trigger 2"):
			started++
		default:
			other++
		}
	}
	require.Len(t, took, callers)
	assert.Equal(t, callers, started, "runs that were started, of which each was collected")
	assert.Zero(t, refused, "requests that were refused")
	assert.LessOrEqual(t, other, 30, "requests beside the triggers")
	t.Logf("first %v, median %v, last %v of %v; ideally the last trigger goes after %v; %d other requests",
		took[0].Round(time.Millisecond), took[callers/2].Round(time.Millisecond), took[callers-1].Round(time.Millisecond),
		elapsed.Round(time.Millisecond), 3*window, other)
}

// ask lets n people ask at once, and returns when they had their answers, in order.
func ask(ctx context.Context, t *testing.T, url string, n int) (took []time.Duration) {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: n}
	defer transport.CloseIdleConnections()
	people := &http.Client{Transport: transport}
	begin := time.Now()
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/?%d", url, i), nil)
			if !assert.NoError(t, err) {
				return
			}
			resp, err := people.Do(r)
			if !assert.NoError(t, err) {
				return
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			assert.NoError(t, err)
			assert.Equal(t, http.StatusOK, resp.StatusCode)
			assert.Equal(t, fmt.Sprint(i), string(body))
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(begin))
		})
	}
	all.Wait()
	slices.Sort(took)
	return took
}
