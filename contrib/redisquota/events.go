package redisquota

import "sync"

// events calls an observer, on a goroutine that exists only while there are
// events. No lock of the limiter is held meanwhile.
type events struct {
	mu      sync.Mutex
	pending []Event
	running bool
}

// maxEvents limits the events queued for an observer that does not return.
const maxEvents = 64

func (e *events) add(observer func(Event), event Event) {
	if observer == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.pending) < maxEvents {
		e.pending = append(e.pending, event)
	}
	if !e.running {
		e.running = true
		go e.run(observer)
	}
}

func (e *events) run(observer func(Event)) {
	defer func() {
		// The observer may have panicked or ended the goroutine.
		_ = recover()
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.running = len(e.pending) > 0; e.running {
			go e.run(observer)
		}
	}()
	for {
		e.mu.Lock()
		if len(e.pending) == 0 {
			e.mu.Unlock()
			return
		}
		event := e.pending[0]
		e.pending = e.pending[1:]
		e.mu.Unlock()
		observer(event)
	}
}
