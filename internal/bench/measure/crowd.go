package measure

import (
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
// turn. Each round begins without connections.
func Crowd(server *Wire, rounds int, sides ...Side) ([]Crowded, error) {
	found := make([]Crowded, len(sides))
	for r := range rounds {
		for i, side := range sides {
			call, done, err := side(server.URL())
			if err != nil {
				return nil, err
			}
			before := server.opened.Load()
			took, err := together(call)
			done()
			if err != nil {
				return nil, err
			}
			f := &found[i]
			if f.Connections = max(f.Connections, server.opened.Load()-before); r == 0 || took < f.Time {
				f.Time = took
			}
		}
	}
	return found, nil
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
