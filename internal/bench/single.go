package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/connic-go/connic"
)

// The benchmarks of this file are no pairs of calls: they count connections, heap
// and waiters.

// pagesPair iterates over 10,000 items on 100 pages.
func pagesPair() (pair, error) {
	ctx := context.Background()
	last := listBody(100)
	more := last[:len(last)-len(`"has_more":false}`)] + `"has_more":true}`
	transport := &pagedTransport{bodies: [2][]byte{[]byte(more), []byte(last)}}
	client, err := newClient(transport)
	if err != nil {
		return pair{}, err
	}
	f := &floor{&http.Client{Transport: transport}, base}
	return pair{
		name: "10,000 items on 100 pages", bytes: 0.42,
		floor: func() error {
			for n := 0; ; n++ {
				var page floorPage
				if err := f.do(ctx, http.MethodGet, fmt.Sprintf("/projects/p/runs?limit=100&offset=%d", 100*n), nil, &page); err != nil {
					return err
				}
				if !page.HasMore {
					return nil
				}
			}
		},
		sdk: func() error {
			n := 0
			for _, err := range client.Runs.All(ctx, nil) {
				if err != nil {
					return err
				}
				n++
			}
			if n != 10_000 {
				return fmt.Errorf("%w: %d items", errAnswer, n)
			}
			return nil
		},
	}, nil
}

// pagedTransport answers 100 pages, the ids of each its own.
type pagedTransport struct{ bodies [2][]byte }

func (p *pagedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	var offset int
	if _, err := fmt.Sscan(r.URL.Query().Get("offset"), &offset); err != nil {
		offset = 0
	}
	body := p.bodies[0]
	if offset >= 9_900 {
		body = p.bodies[1]
	}
	// The ids end in the number of the page, written over the first digits.
	own := append([]byte(nil), body...)
	page := fmt.Sprintf("%04d", offset/100)
	for i := 0; i < len(own)-40; i++ {
		if own[i] == '7' && string(own[i:i+8]) == "7b1c4a52" {
			copy(own[i:], page)
		}
	}
	return (&memory{http.StatusOK, own}).RoundTrip(r)
}

// crowd lets 64 goroutines make 9,600 requests over loopback, with the transport
// that each side brings.
func crowd() (string, error) {
	server, err := newWire(http.StatusOK, runBody(0))
	if err != nil {
		return "", err
	}
	defer server.close()
	ctx := context.Background()
	together := func(call func() error) (time.Duration, error) {
		var wg sync.WaitGroup
		failed := make(chan error, 64)
		start := time.Now()
		for range 64 {
			wg.Go(func() {
				for range 150 {
					if err := call(); err != nil {
						failed <- err
						return
					}
				}
			})
		}
		wg.Wait()
		select {
		case err := <-failed:
			return 0, err
		default:
			return time.Since(start), nil
		}
	}
	var bestFloor, bestClient time.Duration
	var most int64
	for i := range 10 {
		transport := pooled()
		f := &floor{&http.Client{Transport: transport}, server.url()}
		x, err := together(func() error {
			var run floorRun
			return f.do(ctx, http.MethodGet, "/projects/p/runs/"+runID, nil, &run)
		})
		if err != nil {
			return "", err
		}
		transport.CloseIdleConnections()
		client, err := newClient(nil, connic.WithBaseURL(server.url()))
		if err != nil {
			return "", err
		}
		before := server.opened.Load()
		y, err := together(func() error {
			_, err := client.Runs.Get(ctx, runID)
			return err
		})
		if err != nil {
			return "", err
		}
		most = max(most, server.opened.Load()-before)
		_ = client.Close()
		if i == 0 {
			bestFloor, bestClient = x, y
		}
		bestFloor, bestClient = min(bestFloor, x), min(bestClient, y)
	}
	return fmt.Sprintf("64 goroutines, loopback: %v and %v for 9,600 requests, ratio %.2f (1.10); at most %d connections (64)",
		bestFloor.Round(time.Millisecond), bestClient.Round(time.Millisecond), float64(bestClient)/float64(bestFloor), most), nil
}

// largeRun decodes one run of 10 MB.
func largeRun() (string, error) {
	ctx := context.Background()
	transport := &memory{http.StatusOK, []byte(largeBody(10 << 20))}
	client, err := newClient(transport)
	if err != nil {
		return "", err
	}
	f := &floor{&http.Client{Transport: transport}, base}
	byHand := func() error {
		var run floorLargeRun
		if err := f.do(ctx, http.MethodGet, "/projects/p/runs/"+runID, nil, &run); err != nil || len(run.Traces) == 0 {
			return errors.Join(errAnswer, err)
		}
		return nil
	}
	bySDK := func() error {
		run, err := client.Runs.Get(ctx, runID)
		if err != nil || len(run.Traces) == 0 {
			return errors.Join(errAnswer, err)
		}
		return nil
	}
	a, b, err := compare(byHand, bySDK)
	if err != nil {
		return "", err
	}
	x, err := peak(byHand)
	if err != nil {
		return "", err
	}
	y, err := peak(bySDK)
	if err != nil {
		return "", err
	}
	const mb = 1 << 20
	return fmt.Sprintf("run of 10 MB: time %v and %v, ratio %.2f (0.95); peak heap %.1f and %.1f MB, ratio %.2f (0.60)",
		a.time.Round(time.Millisecond), b.time.Round(time.Millisecond), float64(b.time)/float64(a.time),
		float64(x)/mb, float64(y)/mb, float64(y)/float64(x)), nil
}

// construction makes a client.
func construction() (string, error) {
	goroutines := runtime.NumGoroutine()
	make1 := func() error {
		_, err := connic.New("p", key)
		return err
	}
	_, c, err := compare(func() error { return nil }, make1)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("New: %v (2µs), %.0f bytes, %.0f allocations (19), %d goroutines (0)", c.time, c.bytes, c.allocs, runtime.NumGoroutine()-goroutines), nil
}

// admission asks the limiter for leave: uncontended, and with 1,000 in line.
func admission() (string, error) {
	ctx := context.Background()
	limiter := connic.NewLimiter(1_000_000, 10*time.Millisecond)
	_, alone, err := compare(func() error { return nil }, func() error {
		permit, err := limiter.Acquire(ctx, connic.Admission{})
		limiter.Release(permit, connic.Outcome{})
		return err
	})
	if err != nil {
		return "", err
	}
	// One at a time gets through, and 1,000 always wait.
	narrow := connic.NewLimiter(1, time.Nanosecond)
	const waiters, each = 1000, 100
	var wg sync.WaitGroup
	start := time.Now()
	for range waiters {
		wg.Go(func() {
			for range each {
				if permit, err := narrow.Acquire(ctx, connic.Admission{}); err == nil {
					narrow.Release(permit, connic.Outcome{})
				}
			}
		})
	}
	wg.Wait()
	crowded := time.Since(start) / (waiters * each)
	return fmt.Sprintf("admission: %v (300ns), %.0f allocations (0); with 1,000 in line %v (10µs)", alone.time, alone.allocs, crowded), nil
}
