package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/contrib/redisquota"
	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
)

// workerEnv holds the task of a process that is one of the fleet.
const workerEnv = "CONNIC_FLEET_WORKER"

// worker is the task of one process.
type worker struct {
	Process, URL, APIKey, Redis, Key, Limiter string

	For      time.Duration
	Callers  int
	Deadline time.Duration
}

func work(spec string) error {
	var w worker
	if err := json.Unmarshal([]byte(spec), &w); err != nil {
		return err
	}
	rdb := redis.NewClient(&redis.Options{Addr: w.Redis})
	defer func() { _ = rdb.Close() }()
	r := report{Process: w.Process}
	var operations, fallbacks atomic.Int64
	rdb.AddHook(counter{&operations})

	var limiter connic.Limiter
	var err error
	switch w.Limiter {
	case "redisquota":
		limiter, err = redisquota.New(rdb, w.Key, redisquota.WithQuota(quota, window),
			redisquota.WithObserver(func(e redisquota.Event) {
				if e.Kind == redisquota.EventFallback {
					fallbacks.Add(1)
				}
			}))
	case "redis_rate":
		limiter = &rated{limiter: redis_rate.NewLimiter(rdb), key: w.Key}
	default:
		limiter = connic.NewLimiter(quota, window)
	}
	if err != nil {
		return err
	}
	client, err := connic.New(connictest.ProjectID, connic.APIKey(w.APIKey),
		connic.WithBaseURL(w.URL), connic.WithLimiter(limiter), connic.WithApplication(w.Process, ""),
		connic.WithTransport(func(next http.RoundTripper) http.RoundTripper { return distant{next} }))
	if err != nil {
		return err
	}
	if err := errors.Join(rdb.Ping(context.Background()).Err(), json.NewEncoder(os.Stdout).Encode(r)); err != nil {
		return err
	}
	operations.Store(0)
	// All begin at once, when their standard input ends.
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), w.For)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range w.Callers {
		wg.Go(func() {
			for ctx.Err() == nil {
				// Without a deadline of its own: a call that cannot be made before
				// the end is cancelled, and not refused beforehand.
				call, stop := context.WithCancel(context.Background())
				late := context.AfterFunc(ctx, stop)
				if w.Deadline > 0 {
					call, stop = context.WithTimeout(context.WithoutCancel(call), w.Deadline)
				}
				_, err := client.Project.Get(call)
				mu.Lock()
				if end, ok := call.Deadline(); ok && time.Since(end) > time.Second {
					r.Late++
				}
				switch {
				case err == nil:
					r.Accepted++
				case ctx.Err() != nil:
				case w.Deadline > 0 && errors.Is(err, context.DeadlineExceeded):
				default:
					r.Failed++
					r.LastError = err.Error()
				}
				mu.Unlock()
				late()
				stop()
			}
		})
	}
	wg.Wait()
	r.Operations, r.Fallbacks = int(operations.Load()), int(fallbacks.Load())
	return json.NewEncoder(os.Stdout).Encode(r)
}

// distant is a network of 2 to 32 ms, there and back.
type distant struct{ next http.RoundTripper }

func (d distant) RoundTrip(r *http.Request) (*http.Response, error) {
	half := time.Millisecond + rand.N(15*time.Millisecond)
	if err := pause(r.Context(), half); err != nil {
		return nil, err
	}
	resp, err := d.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if err := pause(r.Context(), half); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// counter counts commands.
type counter struct{ n *atomic.Int64 }

func (counter) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmd)
	}
}

func (c counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// rated is redis_rate as people use it: who may not go sleeps as long as it says,
// and asks again.
type rated struct {
	limiter *redis_rate.Limiter
	key     string
}

func (r *rated) Acquire(ctx context.Context, _ connic.Admission) (connic.Permit, error) {
	for {
		res, err := r.limiter.Allow(ctx, r.key, redis_rate.Limit{Rate: quota, Burst: quota, Period: window})
		if err != nil {
			return connic.Permit{}, err
		}
		if res.Allowed > 0 {
			return connic.Permit{}, nil
		}
		if err := pause(ctx, res.RetryAfter); err != nil {
			return connic.Permit{}, err
		}
	}
}

func (r *rated) Release(connic.Permit, connic.Outcome) {}

func (r *rated) Status() connic.RateLimitStatus {
	return connic.RateLimitStatus{Limit: quota, Window: window}
}
