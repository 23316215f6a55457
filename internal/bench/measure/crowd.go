package measure

import (
	"net/http"
	"sync"
	"time"
)

const (
	crowdSize  = 64
	crowdCalls = 150 // of each goroutine
)

// CrowdRequests is how many requests the goroutines of [Crowd] make in a round.
const CrowdRequests = crowdSize * crowdCalls

// Crowded is what [Crowd] found out about one side.
type Crowded struct {
	Time        time.Duration // of a round, the shortest
	Connections int64         // opened in a round, the most
}

// Side makes a client with a transport of its own, and returns a call and what
// ends the client.
type Side func(url string) (call func() error, done func(), err error)

// Crowd lets 64 goroutines make 9,600 requests over loopback, for each side in
// turn. Every answer is the same. Each side has a server of its own in each round:
// a transport may still dial when the last of its calls has returned, and that is
// not to be counted for the next one.
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
