package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/connic-go/connic/connictest"
)

const (
	quota  = 60
	window = 6 * time.Second
)

// fleet is one run.
type fleet struct {
	Processes int
	Window    connictest.Window
	Limiter   string
	Redis     string
	For       time.Duration
	Deadline  time.Duration // of each call; 0: none
	Callers   int           // of each process; 0: twice the quota altogether, and at least four
}

// result is what came of it.
type result struct {
	Accepted   int
	Refusals   int
	Refused    float64 // part of the requests that got a 429
	Share      float64 // of the quota
	Fairness   float64 // Jain's index over the processes
	Settled    float64 // the same without the first window, in which not all are there yet
	Operations float64 // of the store, per admission
	Failed     int
	LastError  string
	Fallbacks  int
	Late       int         // calls that outlived their context by more than a second
	Requests   []time.Time // accepted
	Denied     []time.Time // refused
}

// report is what a worker writes twice: when it is ready, and when it is done.
type report struct {
	Process    string
	Accepted   int
	Failed     int
	LastError  string
	Operations int
	Fallbacks  int
	Late       int
}

// starting is held while processes start, which is what they need a processor for:
// those that run are not held up by more than one fleet at a time.
var starting sync.Mutex

// run starts the processes, saturates the quota, and does during meanwhile.
func run(ctx context.Context, f fleet, during func(*connictest.Server)) (*result, error) {
	srv := connictest.Start()
	defer srv.Close()
	srv.RateLimit(quota, window, f.Window)
	ctx, cancel := context.WithTimeout(ctx, f.For+time.Minute)
	defer cancel()

	key := fmt.Sprintf("fleet-%d", time.Now().UnixNano())
	callers := f.Callers
	if callers == 0 {
		callers = max(4, 2*quota/f.Processes)
	}
	starts := make([]io.WriteCloser, f.Processes)
	ready := make(chan struct{}, f.Processes)
	reports := make(chan report, f.Processes)
	failures := make(chan error, f.Processes)
	starting.Lock()
	unlock := sync.OnceFunc(starting.Unlock)
	defer unlock()
	for i := range starts {
		spec, err := json.Marshal(worker{
			Process: fmt.Sprintf("p%02d", i), URL: srv.URL(), APIKey: string(srv.Key()), Redis: f.Redis, Key: key,
			Limiter: f.Limiter, For: f.For, Callers: callers, Deadline: f.Deadline,
		})
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), workerEnv+"="+string(spec))
		out, err := cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if starts[i], err = cmd.StdinPipe(); err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		go func() {
			var r report
			lines := json.NewDecoder(bufio.NewReader(out))
			err := lines.Decode(&r) // it is ready
			if err == nil {
				ready <- struct{}{}
				err = lines.Decode(&r)
			}
			if e := cmd.Wait(); err == nil {
				err = e
			}
			if err != nil {
				failures <- fmt.Errorf("worker %d: %w", i, err)
				return
			}
			reports <- r
		}()
	}
	for range starts {
		select {
		case <-ready:
		case err := <-failures:
			return nil, err
		}
	}
	unlock()
	for _, start := range starts {
		if err := start.Close(); err != nil {
			return nil, err
		}
	}
	if during != nil {
		during(srv)
	}
	res := &result{}
	operations := 0
	for range starts {
		select {
		case err := <-failures:
			return nil, err
		case r := <-reports:
			operations += r.Operations
			res.Failed += r.Failed
			res.Fallbacks += r.Fallbacks
			res.Late += r.Late
			if r.LastError != "" {
				res.LastError = r.LastError
			}
		}
	}
	res.count(srv, f.Processes)
	res.Operations = float64(operations) / float64(max(1, res.Accepted+res.Refusals))
	return res, nil
}

// count reads the server's book.
func (r *result) count(srv *connictest.Server, processes int) {
	var all, settled fairness
	requests := srv.Requests()
	slices.SortStableFunc(requests, func(a, b connictest.Request) int { return a.At.Compare(b.At) })
	for _, q := range requests {
		name, _, _ := strings.Cut(q.Header.Get("User-Agent"), "/")
		switch q.Status {
		case http.StatusOK:
			all.add(name)
			if len(r.Requests) >= quota {
				settled.add(name)
			}
			r.Requests = append(r.Requests, q.At)
		case http.StatusTooManyRequests:
			r.Denied = append(r.Denied, q.At)
		}
	}
	r.Accepted, r.Refusals = len(r.Requests), len(r.Denied)
	r.Refused = float64(r.Refusals) / float64(max(1, r.Accepted+r.Refusals))
	r.Fairness, r.Settled = all.index(processes), settled.index(processes)
	// A whole number of windows' worth, from a first request to a first request:
	// so the burst at the beginning counts as what it is.
	if whole := (len(r.Requests) - 1) / quota * quota; whole > 0 {
		took := r.Requests[whole].Sub(r.Requests[0])
		r.Share = float64(whole) / quota / (float64(took) / float64(window))
	}
}

// fairness counts what each process got.
type fairness map[string]float64

func (f *fairness) add(name string) {
	if *f == nil {
		*f = make(fairness)
	}
	(*f)[name]++
}

// index is Jain's: 1 when all got the same, 1/n when one got everything.
func (f *fairness) index(processes int) float64 {
	var sum, squares float64
	for _, n := range *f {
		sum += n
		squares += n * n
	}
	if squares == 0 {
		return 0
	}
	return sum * sum / (float64(processes) * squares)
}
