package measure

import (
	"net/http"
	"sync"
	"time"
)

const (
	goroutines = 64
	callsEach  = 150 // per goroutine
)

// ConcurrentRequests is the number of requests that the goroutines of [Concurrent] make
// per round.
const ConcurrentRequests = goroutines * callsEach

// ConcurrentCost is the result of [Concurrent] for one side.
type ConcurrentCost struct {
	Time        time.Duration // of the shortest round
	Connections int64         // maximum opened in a round
}

// A Side creates a client with its own transport, and returns a call and a
// function that closes the client.
type Side func(url string) (call func() error, done func(), err error)

// Concurrent makes 9,600 requests over loopback from 64 goroutines, for each side in
// turn. All responses are the same. Each side has a new server in each round: a
// transport may still dial after the last of its calls has returned, and that
// must not count for the next round.
func Concurrent(body string, rounds int, sides ...Side) ([]ConcurrentCost, error) {
	found := make([]ConcurrentCost, len(sides))
	for r := range rounds {
		for i, side := range sides {
			c, err := concurrentCost(body, side)
			if err != nil {
				return nil, err
			}
			if r == 0 {
				found[i] = c
			}
			found[i] = ConcurrentCost{min(found[i].Time, c.Time), max(found[i].Connections, c.Connections)}
		}
	}
	return found, nil
}

func concurrentCost(body string, side Side) (ConcurrentCost, error) {
	server, err := NewWire(http.StatusOK, body)
	if err != nil {
		return ConcurrentCost{}, err
	}
	defer server.Close()
	call, done, err := side(server.URL())
	if err != nil {
		return ConcurrentCost{}, err
	}
	defer done()
	took, err := together(call)
	return ConcurrentCost{took, server.opened.Load()}, err
}

func together(call func() error) (time.Duration, error) {
	var wg sync.WaitGroup
	failed := make(chan error, goroutines)
	start := time.Now()
	for range goroutines {
		wg.Go(func() {
			for range callsEach {
				if err := call(); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	select {
	case err := <-failed:
		return 0, err
	default:
		return took, nil
	}
}
