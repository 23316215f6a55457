package redisquota

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/contrib/redisquota/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// started is what a start returned: a test is left out where no server is installed.
func started[S interface{ Stop() }](t *testing.T, s S, err error) S {
	t.Helper()
	if errors.Is(err, redistest.ErrMissing) {
		t.Skipf("left out: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func TestTLS(t *testing.T) {
	t.Parallel()
	srv, err := redistest.StartTLS()
	srv = started(t, srv, err)
	opts, err := redis.ParseURL("rediss://" + srv.Addr)
	if err != nil {
		t.Fatal(err)
	}
	const n, window = 12, time.Second
	through := func(trusted bool) (*limiter, *book) {
		o := *opts
		o.MaxRetries, o.DialerRetries = -1, 1 // or the time is up before the cause is known
		if trusted {
			o.TLSConfig = srv.Options().TLSConfig
		}
		rdb := redis.NewClient(&o)
		t.Cleanup(func() { rdb.Close() })
		l, b := newLimiter(t, rdb, n, window), &book{}
		for range n + n/2 {
			b.through(t, l, time.Millisecond)
		}
		b.check(t, n, window)
		return l, b
	}
	l, b := through(true)
	if s := l.Status(); s.Fallback != "" || s.Used == 0 {
		t.Errorf("%+v", s)
	}
	distrustful, _ := through(false)
	if s := distrustful.Status(); !strings.Contains(s.Fallback, "certificate") {
		t.Errorf("with a certificate that is not trusted: %q", s.Fallback)
	}
	srv.Kill()
	eventually(t, "the limiter works on its own", func() bool {
		b.through(t, l, time.Millisecond)
		return l.Status().Fallback != ""
	})
	if err := srv.Run(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the quota is shared again", func() bool {
		b.through(t, l, time.Millisecond)
		return l.Status().Fallback == ""
	})
	b.check(t, n, window)
}

// Two processes share a quota in a cluster of three nodes, of which one fails or
// gives the key away. No call fails, and the window is kept.
func TestACluster(t *testing.T) {
	t.Parallel()
	const n, window = 20, 2 * time.Second
	tests := map[string]func(t *testing.T, c *redistest.Cluster, key string, calls func()){
		"a node is killed": func(t *testing.T, c *redistest.Cluster, key string, calls func()) {
			t.Helper()
			owner, _, err := c.Owner(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			owner.Kill()
			calls()
			if err := owner.Run(); err != nil {
				t.Fatal(err)
			}
		},
		"the slot moves": func(t *testing.T, c *redistest.Cluster, key string, calls func()) {
			t.Helper()
			owner, other, err := c.Owner(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Move(t.Context(), key, owner, other, calls); err != nil {
				t.Fatal(err)
			}
			if now, _, err := c.Owner(t.Context(), key); err != nil || now != other {
				t.Errorf("the slot has not moved: %v", err)
			}
		},
	}
	for name, fault := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := redistest.StartCluster(3)
			c = started(t, c, err)
			var b book
			var processes []*limiter
			for range 2 {
				rdb := c.Client()
				t.Cleanup(func() { rdb.Close() })
				processes = append(processes, newLimiter(t, rdb, n, window, WithStoreTimeout(20*time.Second)))
			}
			calls := func() {
				for range 2 {
					for _, l := range processes {
						b.through(t, l, time.Millisecond)
					}
				}
			}
			calls()
			for _, l := range processes {
				if s := l.Status(); s.Fallback != "" {
					t.Fatal(s.Fallback)
				}
			}
			fault(t, c, processes[0].store.key, calls)
			for _, l := range processes {
				eventually(t, "the quota is shared", func() bool {
					b.through(t, l, time.Millisecond)
					return l.Status().Fallback == ""
				})
			}
			calls()
			b.check(t, n, window)
			var limit *connic.LimitError
			p, err := processes[0].Acquire(t.Context(), connic.Admission{NoWait: true})
			switch {
			case err == nil:
				processes[0].Release(p, answered)
			case !errors.As(err, &limit):
				t.Error(err)
			}
		})
	}
}
