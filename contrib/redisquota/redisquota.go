// Package redisquota shares one quota between the processes of a service
// through Redis. Its Limiter replaces the default one of the client:
//
//	limiter, err := redisquota.New(rdb, projectID)
//	...
//	client, err := connic.New(projectID, key, connic.WithLimiter(limiter))
//
// All processes that use the same key share one window: at most 60 requests
// reach the service in any minute, however many processes there are, and each
// gets an equal part if there is not enough for all. A 429 received by one
// process pauses all of them.
//
// One script call covers a batch: everything that waits in a process, and
// everything that ended since its last call. See docs/fleet.md for
// measurements.
//
// If the store is unreachable or slow, or has lost its data, the Limiter works
// alone until the store is back: it stays within its part of the quota, and no
// call fails because of the store. Status and events report this. A process that
// has never reached the store knows its part from [WithProcesses] only; without
// that, it finds it by 429s.
//
// It needs Redis 5 or newer, or a server that speaks its protocol and runs Lua
// scripts with cmsgpack. Cluster, Sentinel and TLS are those of the given
// client.
package redisquota

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/mask"
	"github.com/redis/go-redis/v9"
)

// The defaults of a Limiter.
const (
	defaultQuota  = 60
	defaultWindow = time.Minute
	defaultBudget = 250 * time.Millisecond
)

// The state is limited: all of it is read and written by every step.
const (
	maxQuota     = 1000
	maxProcesses = 1000
	maxWindow    = 24 * time.Hour
)

// An Option configures a Limiter.
type Option func(*config) error

type config struct {
	n        int
	window   time.Duration
	budget   time.Duration
	assumed  int // WithProcesses
	observer func(Event)
}

// WithQuota sets the quota to n requests per window. The default is 60 a
// minute; n is at most 1000, and per at least one second. All processes should
// use the same values. If they differ, the smallest quota and the longest
// window apply.
func WithQuota(n int, per time.Duration) Option {
	return func(c *config) error {
		if n < 1 || n > maxQuota || per < time.Second || per > maxWindow {
			return errors.New("redisquota: WithQuota needs 1 to 1000 requests in a second to a day")
		}
		c.n, c.window = n, per
		return nil
	}
}

// WithStoreTimeout sets how long the store may take to respond. The default is
// 250 ms. A slower store is treated as unreachable.
func WithStoreTimeout(d time.Duration) Option {
	return func(c *config) error {
		if d < time.Millisecond || d > time.Minute {
			return errors.New("redisquota: WithStoreTimeout needs a millisecond to a minute")
		}
		c.budget = d
		return nil
	}
}

// WithProcesses sets how many processes share the quota, at most 1000. It is used
// while the store cannot be reached: each process then stays within its part of
// the quota, even if it has never reached the store. The number that the store
// reported last applies if it is larger.
func WithProcesses(n int) Option {
	return func(c *config) error {
		if n < 1 || n > maxProcesses {
			return errors.New("redisquota: WithProcesses needs 1 to 1000 processes")
		}
		c.assumed = n
		return nil
	}
}

// WithObserver calls f when the Limiter loses its store and when the store is
// back. f runs on a separate goroutine, one event at a time. Panics of f are
// recovered and discarded.
func WithObserver(f func(Event)) Option {
	return func(c *config) error {
		c.observer = f
		return nil
	}
}

// An Event is a change in the connection between the Limiter and its store.
type Event struct {
	Kind EventKind
	// Err is the reason (EventFallback), on one line and without the password of
	// the Redis client. If that is not known, or has fewer than 8 characters, Err
	// has no text of the store's, but matches what the error matches.
	Err error
	// Processes is the number of processes that shared the quota when the store
	// last reported it, or 0 if it never did.
	Processes int
}

// EventKind is the kind of an [Event].
type EventKind string

// The kinds of events.
const (
	EventFallback EventKind = "fallback" // the store is unreachable or slow: the Limiter works alone
	EventBack     EventKind = "back"     // the quota is shared again
	EventLost     EventKind = "lost"     // the store is reachable but lost its data, or a part of it when its clock was set forward
)

// New returns a Limiter that shares the quota with every other process that
// uses the same key. Since the quota belongs to the project, the key should be
// the project id. New performs no I/O; the store is first contacted for the
// first request.
//
// rdb is not closed, and its options are not modified. Each Limiter has at most
// one command in flight. The state of a key is one Redis string,
// connic:{key}:quota, which expires ten windows after its last use. A value that
// is not such a state is replaced.
//
// The Limiter need not be closed: it has no goroutine and no timer while
// nothing is queued or in flight.
func New(rdb redis.UniversalClient, key string, opts ...Option) (connic.Limiter, error) {
	conf := config{n: defaultQuota, window: defaultWindow, budget: defaultBudget}
	for _, opt := range opts {
		if opt == nil {
			continue
		}
		if err := opt(&conf); err != nil {
			return nil, err
		}
	}
	switch {
	case rdb == nil:
		return nil, errors.New("redisquota: the client is nil")
	case key == "" || len(key) > 256:
		return nil, errors.New("redisquota: the key is empty, or longer than 256 bytes")
	}
	for _, c := range []byte(key) {
		if c < ' ' || c == 0x7f || c == '{' || c == '}' {
			return nil, errors.New("redisquota: the key has a brace or a control character")
		}
	}
	var id [6]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("redisquota: %w", err)
	}
	hold := conf.window + min(margin, conf.window/50)
	password, known := credentials(rdb)
	return &limiter{
		config: conf, mask: mask.New(password), concise: !known, hold: hold, lease: hold / 12, lazy: hold / 60,
		store: store{rdb: rdb, key: "connic:{" + key + "}:quota", process: hex.EncodeToString(id[:])},
		open:  make(map[uint64]trip),
	}, nil
}

// margin is added to the window to allow for clocks that drift. Network delays
// need no margin: an attempt counts from the end of its round trip.
const margin = 20 * time.Millisecond
