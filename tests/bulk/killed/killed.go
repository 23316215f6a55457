// Package killed tests a journal with processes that are killed.
package killed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

const (
	// asWorker makes the test binary the program that is killed: it names its
	// folder.
	asWorker = "CONNIC_TEST_WORKER"
	// lastTime makes it settle what is unknown.
	lastTime = "CONNIC_TEST_WORKER_LAST"

	inputs = 500
	kills  = 20
	// window is the quota's: a minute in half a second.
	window = 500 * time.Millisecond
)

// Main is the TestMain of a package that calls [Test]. Open returns the journal of
// a folder.
func Main(m *testing.M, open func(folder string) connic.Journal) {
	folder := os.Getenv(asWorker)
	if folder == "" {
		os.Exit(m.Run())
	}
	if err := work(folder, open(folder)); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// work triggers all inputs and notes each result in a file. It says on standard
// output when it begins.
func work(folder string, journal connic.Journal) error {
	client, err := connic.NewFromEnv(connic.WithRateLimit(60, window), connic.WithTimeout(time.Second))
	if err != nil {
		return err
	}
	results, err := os.OpenFile(filepath.Join(folder, "results"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	all := func(yield func(string, connic.TriggerRequest) bool) {
		for i := range inputs {
			if !yield(strconv.Itoa(i), connic.TriggerRequest{Message: "input " + strconv.Itoa(i)}) {
				return
			}
		}
	}
	opts := []connic.BulkOption{connic.WithBulkWait(connic.WithPoll(50*time.Millisecond, 500*time.Millisecond))}
	if os.Getenv(lastTime) != "" {
		opts = append(opts, connic.ResendUnknown())
	}
	fmt.Println("begun")
	for r, err := range client.Agents.TriggerAll(context.Background(), "echo", all, journal, opts...) {
		switch {
		case r.Key == "":
			return err
		case errors.Is(err, connic.ErrOutcomeUnknown):
			_, err = fmt.Fprintf(results, "%s unknown\n", r.Key)
		case err != nil:
			return fmt.Errorf("input %s: %w", r.Key, err)
		default:
			_, err = fmt.Fprintf(results, "%s %s\n", r.Key, r.Value.Output)
		}
		if err != nil {
			return err
		}
	}
	return client.Close()
}

// Test kills a program that triggers many inputs, again and again, and lets the
// last one end. Each input must have been executed once, and each result noted.
func Test(t *testing.T) {
	t.Helper()
	srv := connictest.NewServer(t)
	srv.RateLimit(60, window, connictest.SlidingWindow)
	var mu sync.Mutex
	executed := make(map[string]int)
	srv.Agent("echo", func(ctx context.Context, in connictest.Input) (any, error) {
		key := in.Message[strings.LastIndexByte(in.Message, ' ')+1:]
		mu.Lock()
		executed[key]++
		mu.Unlock()
		select {
		case <-time.After(300 * time.Millisecond):
		case <-ctx.Done():
		}
		return "output " + key, nil
	})
	folder := t.TempDir()
	env := append(os.Environ(), "CONNIC_API_URL="+srv.URL(), "CONNIC_API_KEY="+string(srv.Key()), "CONNIC_PROJECT_ID="+connictest.ProjectID, asWorker+"="+folder)
	done := 0
	for i := range kills {
		if ended := life(t, env, time.Duration(rand.IntN(450)+1)*time.Millisecond); ended {
			done = i
			break
		}
	}
	if done > 0 {
		t.Errorf("it was done before the kill %d", done+1)
	}
	mu.Lock()
	before := len(executed)
	mu.Unlock()
	start := time.Now()
	if !life(t, append(env, lastTime+"=1"), 3*time.Minute) {
		t.Fatal("it did not end")
	}
	t.Logf("%d inputs were executed before the last kill; the last process took %v", before, time.Since(start).Round(time.Millisecond))

	mu.Lock()
	defer mu.Unlock()
	noted, unknown := results(t, folder)
	for i := range inputs {
		key := strconv.Itoa(i)
		if n := executed[key]; n != 1 {
			t.Errorf("input %s was executed %d times", key, n)
		}
		if noted[key] != "output "+key {
			t.Errorf("input %s has the result %q", key, noted[key])
		}
	}
	t.Logf("%d inputs were unknown for some time, and %d results noted twice", unknown, noted.twice())
}

type notes map[string]string

func (n notes) twice() int {
	count, _ := strconv.Atoi(n[""])
	return count
}

// results returns the outputs that were noted, by key, and how many were unknown.
func results(t *testing.T, folder string) (noted notes, unknown int) {
	t.Helper()
	file, err := os.Open(filepath.Join(folder, "results"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	noted = make(notes)
	twice := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		key, output, _ := strings.Cut(lines.Text(), " ")
		switch {
		case output == "unknown":
			unknown++
		case noted[key] != "":
			twice++
			fallthrough
		default:
			noted[key] = output
		}
	}
	noted[""] = strconv.Itoa(twice)
	return noted, unknown
}

// life starts the program and kills it after some time. It reports whether it has
// ended by itself.
func life(t *testing.T, env []string, d time.Duration) (ended bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = env
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "begun\n" {
		t.Fatalf("it says %q, %v: %s", line, err, &log)
	}
	timer := time.AfterFunc(d, cancel) // SIGKILL
	_, _ = io.Copy(io.Discard, out)
	err = cmd.Wait()
	if !timer.Stop() {
		return false
	}
	if err != nil {
		t.Fatalf("it failed: %v: %s", err, &log)
	}
	return true
}
