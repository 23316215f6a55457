package redisquota

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/redis/go-redis/v9"
)

func TestNewChecksItsArguments(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer rdb.Close()
	for _, key := range []string{"", "a{b", "a}b", "a\nb", strings.Repeat("x", 257)} {
		if _, err := New(rdb, key); err == nil {
			t.Errorf("the key %q was taken", key)
		}
	}
	if _, err := New(nil, "k"); err == nil {
		t.Error("a nil client was taken")
	}
	for _, opt := range []Option{
		WithQuota(0, time.Minute), WithQuota(1001, time.Minute), WithQuota(1, time.Millisecond),
		WithStoreTimeout(0),
	} {
		if _, err := New(rdb, "k", opt); err == nil {
			t.Error("an option out of bounds was taken")
		}
	}
	if _, err := New(rdb, "k", nil, WithStoreTimeout(time.Second)); err != nil {
		t.Error(err)
	}
}

func TestProcessesShareOneWindow(t *testing.T) {
	t.Parallel()
	srv := startRedis(t)
	var (
		b      book
		wg     sync.WaitGroup
		events told
	)
	// A process that is suspended for a window within a request counts as dead.
	const n, window = 15, 3 * time.Second
	for range 4 { // each with a client of its own, as processes have
		l := newLimiter(t, dial(t, srv), n, window, events.option())
		for range 5 {
			wg.Go(func() {
				for range 3 {
					b.through(t, l, 5*time.Millisecond)
				}
			})
		}
	}
	wg.Wait()
	b.check(t, n, window)
	if len(b.began) != 60 {
		t.Errorf("%d attempts were made", len(b.began))
	}
	if events.has(EventLost) {
		t.Error("the store lost nothing")
	}
}

func TestAStepThatIsSentTwiceCountsOnce(t *testing.T) {
	t.Parallel()
	rdb := dial(t, startRedis(t))
	a := newRaw(t, rdb, "a", 10, 10*time.Second)
	first := a.step([lanes]int{calls: 4}, nil, nil)
	again := a.send([lanes]int{calls: 4}, nil, nil)
	if first.give[calls] != 4 || !reflect.DeepEqual(first, again) {
		t.Errorf("first %+v, then %+v", first, again)
	}
	if r := newRaw(t, rdb, "b", 10, 10*time.Second).step([lanes]int{}, nil, nil); r.used != 4 {
		t.Errorf("%d count, want 4", r.used)
	}
	// One that was given up and comes late is not executed.
	a.number++
	a.step([lanes]int{}, nil, nil)
	a.number -= 2
	if _, err := a.store.run(t.Context(), &step{number: a.number, quota: 10, hold: time.Second, sent: time.Now()}); err == nil {
		t.Error("a step of the past was executed")
	}
}

func TestWhatIsNotNamedAsOpenIsFree(t *testing.T) {
	t.Parallel()
	rdb := dial(t, startRedis(t))
	a := newRaw(t, rdb, "a", 10, 10*time.Second)
	if r := a.step([lanes]int{calls: 10}, nil, nil); r.give[calls] != 10 {
		t.Fatalf("granted %v", r.give)
	}
	a.last = 10
	// Three were handed out, one of them ended, one was not sent.
	now := time.Now()
	r := a.step([lanes]int{}, []trip{{id: 1, lane: calls}}, []trip{
		{id: 2, lane: calls, ended: now, kind: connic.OutcomeAnswered}, {id: 3, lane: calls, ended: now, kind: connic.OutcomeNotSent},
	})
	if r.used != 2 || r.open != 1 {
		t.Errorf("%d count and %d are open, want 2 and 1", r.used, r.open)
	}
}

func TestAProcessThatDiedCountsUntilTheWindowIsOver(t *testing.T) {
	t.Parallel()
	rdb := dial(t, startRedis(t))
	const hold = 600 * time.Millisecond
	dead := newRaw(t, rdb, "dead", 5, hold)
	began := time.Now()
	if r := dead.step([lanes]int{calls: 9}, nil, nil); r.give[calls] != 5 || r.wait > hold {
		t.Fatalf("%+v", r)
	}
	alive := newRaw(t, rdb, "alive", 5, hold)
	asked := 0
	eventually(t, "the slots of the dead are free", func() bool {
		asked++
		r := alive.step([lanes]int{calls: 5}, nil, nil)
		if r.give[calls] == 0 {
			if r.wait > hold {
				t.Fatalf("told to wait %v", r.wait)
			}
			time.Sleep(r.wait)
		}
		return r.give[calls] == 5
	})
	if took := time.Since(began); took < hold {
		t.Errorf("they were free after %v, within the window", took)
	}
	if asked > 6 {
		t.Errorf("it took %d questions", asked)
	}
}

func TestARefusalStopsTheFleet(t *testing.T) {
	t.Parallel()
	srv := startRedis(t)
	const pause = 3 * time.Second
	a, b := newLimiter(t, dial(t, srv), 20, time.Minute), newLimiter(t, dial(t, srv), 20, time.Minute)
	p := acquire(t, a, connic.LaneCall)
	end := time.Now().Add(pause - 10*time.Millisecond)
	a.Release(p, connic.Outcome{Kind: connic.OutcomeRefused, RetryAfter: pause})
	other := newRaw(t, dial(t, srv), "other", 20, time.Minute)
	eventually(t, "the store knows of the pause", func() bool { return other.step([lanes]int{}, nil, nil).pauses > 0 })

	permits := make(chan connic.Permit, 3)
	for range 3 {
		go func() {
			if p, err := b.Acquire(t.Context(), connic.Admission{}); err == nil {
				permits <- p
			}
		}()
	}
	first := <-permits
	if time.Now().Before(end) {
		t.Error("the other process did not wait for the end of the pause")
	}
	if s := b.Status(); s.InFlight != 1 || s.Waiting != 2 {
		t.Errorf("after the pause %d went at once", s.InFlight)
	}
	b.Release(first, answered)
	b.Release(<-permits, answered)
	b.Release(<-permits, answered)
}

func TestAProbeThatDiesIsReplaced(t *testing.T) {
	t.Parallel()
	rdb := dial(t, startRedis(t))
	const hold = time.Hour
	a, b := newRaw(t, rdb, "a", 10, hold), newRaw(t, rdb, "b", 10, hold)
	a.step([lanes]int{calls: 1}, nil, nil)
	a.last = 10
	a.step([lanes]int{}, nil, []trip{{id: 1, lane: calls, ended: time.Now(), kind: connic.OutcomeRefused, retry: time.Minute}})
	// A probes, and is never heard of again.
	setClock(t, rdb, a.store.key, time.Minute)
	if r := a.step([lanes]int{calls: 5}, nil, nil); r.give[calls] != 1 {
		t.Fatalf("instead of a probe %v went", r.give)
	}
	if r := b.step([lanes]int{calls: 5}, nil, nil); r.give[calls] != 0 {
		t.Fatalf("beside a probe %v went", r.give)
	}
	setClock(t, rdb, a.store.key, hold/12)
	if r := b.step([lanes]int{calls: 5}, nil, nil); r.give[calls] != 1 {
		t.Errorf("instead of another probe %v went", r.give)
	}
}

func TestProcessesThatDoNotAgree(t *testing.T) {
	t.Parallel()
	rdb := dial(t, startRedis(t))
	a, b := newRaw(t, rdb, "a", 60, 10*time.Second), newRaw(t, rdb, "b", 10, 20*time.Second)
	b.step([lanes]int{calls: 1}, nil, nil)
	if r := a.step([lanes]int{calls: 60}, nil, nil); r.give[calls] > 9 {
		t.Errorf("granted %d, more than the smallest quota", r.give[calls])
	}
}

func TestDeadlinesThatCannotBeMet(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, dial(t, startRedis(t)), 1, time.Minute)
	l.Release(acquire(t, l, connic.LaneCall), answered)
	var limit *connic.LimitError
	// The store says when the one slot is free again, so this returns long before
	// its deadline.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
	defer cancel()
	_, err := l.Acquire(ctx, connic.Admission{})
	if !errors.As(err, &limit) || !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		t.Errorf("got %v", err)
	}
	_, err = l.Acquire(t.Context(), connic.Admission{NoWait: true})
	if !errors.As(err, &limit) || limit.Wait <= 0 || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("NoWait: got %v", err)
	}
}

func TestCallersThatGoLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	rdb := dial(t, startRedis(t))
	l := newLimiter(t, rdb, 1, 2*time.Second)
	p := acquire(t, l, connic.LaneCall)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for i := range 30 {
		a := connic.Admission{}
		switch i % 3 {
		case 1:
			a.Queued = func(connic.Reason, time.Duration) { panic("mine") }
		case 2:
			a.Queued = func(connic.Reason, time.Duration) { runtime.Goexit() }
		}
		wg.Go(func() {
			defer func() { _ = recover() }()
			if _, err := l.Acquire(ctx, a); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
	eventually(t, "those that panic are gone", func() bool { return l.Status().Waiting == 10 })
	cancel()
	wg.Wait()
	if n := l.Status().Waiting; n != 0 {
		t.Errorf("%d wait", n)
	}
	l.Release(p, answered)
	l.Release(p, answered)                     // once only
	l.Release(connic.Permit{ID: 99}, answered) // not ours
	if n := l.Status().InFlight; n != 0 {
		t.Errorf("%d in flight", n)
	}
	l.Release(acquire(t, l, connic.LaneCall), answered) // and it still works
}

func TestAnIdleLimiterIsSilent(t *testing.T) {
	t.Parallel()
	rdb := dial(t, startRedis(t))
	var n atomic.Int64
	rdb.AddHook(hook(func(redis.Cmder) { n.Add(1) }))
	l := newLimiter(t, rdb, 10, time.Second)
	for range 3 {
		l.Release(acquire(t, l, connic.LaneCall), answered)
	}
	report(t, l)
	before := n.Load()
	time.Sleep(1500 * time.Millisecond)
	if got := n.Load() - before; got != 0 {
		t.Errorf("%d commands were sent while nothing happened", got)
	}
}

func TestTheStoreLearnsNoTime(t *testing.T) {
	t.Parallel()
	rdb := dial(t, startRedis(t))
	var mu sync.Mutex
	var args []any
	rdb.AddHook(hook(func(c redis.Cmder) {
		mu.Lock()
		defer mu.Unlock()
		args = append(args, c.Args()...)
	}))
	l := newLimiter(t, rdb, 10, time.Second)
	for range 3 {
		l.Release(acquire(t, l, connic.LaneCall), answered)
	}
	mu.Lock()
	defer mu.Unlock()
	numbers := 0
	for _, a := range args {
		n, err := strconv.ParseFloat(fmt.Sprint(a), 64)
		if err != nil {
			continue
		}
		numbers++
		if n > float64(time.Hour.Microseconds()) { // ages, ids and counts are small
			t.Errorf("%v may be a time of this process's clock", a)
		}
	}
	if numbers == 0 {
		t.Error("nothing was sent")
	}
}

// hook calls f for each command.
type hook func(redis.Cmder)

func (hook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (h hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h(cmd)
		return next(ctx, cmd)
	}
}

func (hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestAnAttemptThatComesTooLate(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, dial(t, startRedis(t)), 1, time.Second)
	l.Release(acquire(t, l, connic.LaneCall), answered)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := l.Acquire(ctx, connic.Admission{Spare: 2 * time.Minute})
	var limit *connic.LimitError
	if !errors.As(err, &limit) || !limit.Deadline {
		t.Errorf("without the time to spare: %v", err)
	}
	p, err := l.Acquire(ctx, connic.Admission{Spare: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	l.Release(p, answered)
}
