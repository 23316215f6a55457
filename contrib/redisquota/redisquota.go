// Package redisquota shares one quota between the processes of a service through
// Redis. Its Limiter takes the place of the client's own:
//
//	limiter, err := redisquota.New(rdb, projectID)
//	...
//	client, err := connic.New(projectID, key, connic.WithLimiter(limiter))
//
// All processes that give the same key draw on one window: at most 60 requests
// reach the service in any minute, however many processes there are, and each of
// them gets an equal part when there is not enough for all. A 429 that one of them
// gets stops all of them.
//
// One script call covers a batch: everything that a process waits for, and
// everything that ended since its last call. docs/fleet.md has the figures.
//
// When the store is gone, slow or lost its data, the Limiter works on its own
// until it is back: it keeps to its part of the quota, and no call fails because
// of the store. Status and events say so.
//
// It needs Redis 5 or newer, or a server that speaks its protocol and runs Lua
// scripts with cmsgpack. Cluster, Sentinel and TLS are those of the given client.
package redisquota

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/connic-go/connic"
	"github.com/redis/go-redis/v9"
)

// What a Limiter does unless an Option says otherwise.
const (
	defaultQuota  = 60
	defaultWindow = time.Minute
	defaultBudget = 250 * time.Millisecond
)

// maxQuota bounds the state, of which every step reads and writes the whole.
const maxQuota = 1000

// Option changes a Limiter that is being made.
type Option func(*config) error

type config struct {
	n        int
	window   time.Duration
	budget   time.Duration
	observer func(Event)
}

// WithQuota sets the quota: n requests per window, 60 a minute by default; n is at
// most 1000, and per at least a second. All processes should say the same. While
// they do not, the smallest quota and the longest window hold.
func WithQuota(n int, per time.Duration) Option {
	return func(c *config) error {
		if n < 1 || n > maxQuota || per < time.Second || per > 24*time.Hour {
			return errors.New("redisquota: WithQuota needs 1 to 1000 requests in a second to a day")
		}
		c.n, c.window = n, per
		return nil
	}
}

// WithStoreTimeout sets how long the store may take to answer, 250 ms by default.
// A store that takes longer counts as gone.
func WithStoreTimeout(d time.Duration) Option {
	return func(c *config) error {
		if d < time.Millisecond || d > time.Minute {
			return errors.New("redisquota: WithStoreTimeout needs a millisecond to a minute")
		}
		c.budget = d
		return nil
	}
}

// WithObserver tells f when the Limiter loses its store and when it has it back.
// F is called on a goroutine of its own, one event at a time; what it panics with
// is dropped.
func WithObserver(f func(Event)) Option {
	return func(c *config) error {
		c.observer = f
		return nil
	}
}

// Event is a change between the Limiter and its store.
type Event struct {
	Kind EventKind
	// Err says why (EventFallback).
	Err error
	// Processes is how many processes used the quota when the store last said so,
	// 0 if it never did.
	Processes int
}

// EventKind says what an [Event] is about.
type EventKind string

// What can happen to the store.
const (
	EventFallback EventKind = "fallback" // gone or slow: the Limiter works on its own
	EventBack     EventKind = "back"     // the quota is shared again
	EventLost     EventKind = "lost"     // the store is there and lost its data
)

// New returns a Limiter that shares the quota with every other process that gives
// the same key: the project's id, as the quota is the project's. It does no I/O;
// the store is first asked when the first request is.
//
// Rdb is not closed, and its options are not changed. Each Limiter has at most one
// command under way. The state of a key is one Redis string, connic:{key}:quota,
// which expires two windows after its last use.
//
// The Limiter needs no closing: it has no goroutine and no timer while nothing is
// waited for or under way.
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
	return &limiter{
		config: conf, hold: hold, lease: hold / 12, lazy: hold / 60,
		store: store{rdb: rdb, key: "connic:{" + key + "}:quota", process: hex.EncodeToString(id[:])},
		open:  make(map[uint64]trip),
	}, nil
}

// margin is added to the window against clocks that do not run alike. The network
// needs none: an attempt counts from the end of its round trip.
const margin = 20 * time.Millisecond
