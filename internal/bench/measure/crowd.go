package measure

import (
	"net/http"
	"sync"
	"time"
)

const (
	crowdSize  = 64
	crowdCalls = 150 // per goroutine
)

// CrowdRequests is the number of requests that the goroutines of [Crowd] make
// per round.
const CrowdRequests = crowdSize * crowdCalls

// Crowded is the result of [Crowd] for one side.
type Crowded struct {
	Time        time.Duration // of the shortest round
	Connections int64         // maximum opened in a round
}

// A Side creates a client with its own transport, and returns a call and a
// function that closes the client.
type Side func(url string) (call func() error, done func(), err error)

// Crowd makes 9,600 requests over loopback from 64 goroutines, for each side in
// turn. All responses are the same. Each side has a new server in each round: a
// transport may still dial after the last of its calls has returned, and that
// must not count for the next round.
func Crowd(body string, rounds int, sides ...Side) ([]Crowded, error) {
	found := make([]Crowded, len(sides))
	for r := range rounds {
		for i, side := range sides {
			c, err := crowdOf(body, side)
			if err != nil {
				return nil, err
			}
			if r == 0 {
				found[i] = c
			}
			found[i] = Crowded{min(found[i].Time, c.Time), max(found[i].Connections, c.Connections)}
		}
	}
	return found, nil
}

func crowdOf(body string, side Side) (Crowded, error) {
	server, err := NewWire(http.StatusOK, body)
	if err != nil {
		return Crowded{}, err
	}
	defer server.Close()
	call, done, err := side(server.URL())
	if err != nil {
		return Crowded{}, err
	}
	defer done()
	took, err := together(call)
	return Crowded{took, server.opened.Load()}, err
}

func together(call func() error) (time.Duration, error) {
	var wg sync.WaitGroup
	failed := make(chan error, crowdSize)
	start := time.Now()
	for range crowdSize {
		wg.Go(func() {
			for range crowdCalls {
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
