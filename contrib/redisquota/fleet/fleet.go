package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
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
}

// result is what came of it.
type result struct {
	Accepted   int
	Refusals   int
	Refused    float64 // part of the requests that got a 429
	Share      float64 // of the quota
	Fairness   float64 // Jain's index over the processes
	Operations float64 // of the store, per admission
	Failed     int
	LastError  string
	Fallbacks  int
	Late       int         // calls that outlived their context by more than a second
	Requests   []time.Time // accepted
	Denied     []time.Time // refused
}

// report is what a worker writes when it is done.
type report struct {
	Process    string
	Accepted   int
	Failed     int
	LastError  string
	Operations int
	Fallbacks  int
	Late       int
}

// run starts the processes, saturates the quota, and does during meanwhile.
func run(ctx context.Context, f fleet, during func(*connictest.Server)) (*result, error) {
	srv := connictest.Start()
	defer srv.Close()
	srv.RateLimit(quota, window, f.Window)
	ctx, cancel := context.WithTimeout(ctx, f.For+time.Minute)
	defer cancel()

	begin := time.Now().Add(time.Second + time.Duration(f.Processes)*30*time.Millisecond)
	key := fmt.Sprintf("fleet-%d", time.Now().UnixNano())
	workers := make([]*exec.Cmd, f.Processes)
	reports := make(chan report, f.Processes)
	failures := make(chan error, f.Processes)
	for i := range workers {
		spec, err := json.Marshal(worker{
			Process: fmt.Sprintf("p%02d", i), URL: srv.URL(), APIKey: string(srv.Key()), Redis: f.Redis, Key: key,
			Limiter: f.Limiter, Begin: begin, End: begin.Add(f.For), Callers: max(4, 2*quota/f.Processes), Deadline: f.Deadline,
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
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		go func() {
			var r report
			err := json.NewDecoder(bufio.NewReader(out)).Decode(&r)
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
	if during != nil {
		during(srv)
	}
	res := &result{}
	operations := 0
	for range workers {
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
	each := make(map[string]float64, processes)
	for _, q := range srv.Requests() {
		name, _, _ := strings.Cut(q.Header.Get("User-Agent"), "/")
		switch q.Status {
		case http.StatusOK:
			r.Requests = append(r.Requests, q.At)
			each[name]++
		case http.StatusTooManyRequests:
			r.Denied = append(r.Denied, q.At)
		}
	}
	r.Accepted, r.Refusals = len(r.Requests), len(r.Denied)
	r.Refused = float64(r.Refusals) / float64(max(1, r.Accepted+r.Refusals))
	slices.SortFunc(r.Requests, time.Time.Compare)
	// A whole number of windows' worth, from a first request to a first request:
	// so the burst at the beginning counts as what it is.
	if whole := (len(r.Requests) - 1) / quota * quota; whole > 0 {
		took := r.Requests[whole].Sub(r.Requests[0])
		r.Share = float64(whole) / quota / (float64(took) / float64(window))
	}
	var sum, squares float64
	for _, n := range each {
		sum += n
		squares += n * n
	}
	if squares > 0 {
		r.Fairness = sum * sum / (float64(processes) * squares)
	}
}
