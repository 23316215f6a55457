package connictest

import (
	"net/http"
	"strconv"
	"time"
)

// Fault is something that goes wrong with requests. Its fields combine: a latency
// and a status, say.
type Fault struct {
	// Op is the operation that is hit, "agents.trigger"; empty for every one.
	Op string
	// Nth is the first request of the operation that is hit, counted from when the
	// fault was set: 1 is the next one. 0 means 1.
	Nth int
	// Times is how many requests in a row are hit. 0 means one, -1 all.
	Times int

	// Latency passes before anything else happens.
	Latency time.Duration
	// After executes the request before the fault shows. Without it a request
	// that is hit has no effect, unless the fault is a Latency or a Truncate only.
	After bool
	// Drop cuts the connection without an answer.
	Drop bool
	// Truncate cuts the connection after so many bytes of the answer's body; it
	// implies After. Use 0 bytes as Truncate: -1.
	Truncate int
	// Status answers with an error status.
	Status int
	// RetryAfter is the Retry-After header of that answer, as it is.
	RetryAfter string
	// HTML answers with an HTML page, of the Status or of 200, as a gateway does.
	HTML bool
}

// Fault sets a fault. Of several that hit a request, the first one that was set
// does.
func (s *Server) Fault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := &fault{Fault: f, skip: max(f.Nth, 1) - 1, left: f.Times}
	if f.Times == 0 {
		set.left = 1
	}
	s.faults = append(s.faults, set)
}

// ClearFaults removes all faults.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

type fault struct {
	Fault
	skip int // requests before the first that is hit
	left int // requests to hit; negative: all
}

// nextFault returns the fault of a request, one without effect if there is none.
// The caller holds the mutex.
func (s *Server) nextFault(op string) Fault {
	var hit *fault
	for _, f := range s.faults {
		switch {
		case (f.Op != "" && f.Op != op) || f.left == 0:
		case f.skip > 0:
			f.skip--
		case hit == nil:
			hit = f
			if f.left > 0 {
				f.left--
			}
		}
	}
	if hit == nil {
		return Fault{}
	}
	return hit.Fault
}

// executes reports whether a request that is hit has its effect.
func (f *Fault) executes() bool {
	return f.After || f.Truncate != 0 || (!f.Drop && f.Status == 0 && !f.HTML)
}

// apply changes the answer.
func (f *Fault) apply(a answer) answer {
	switch {
	case f.Drop:
		return answer{drop: true, truncate: -1}
	case f.HTML:
		status := f.Status
		if status == 0 {
			status = http.StatusOK
		}
		a = answer{status: status, truncate: -1, header: map[string]string{"Content-Type": "text/html"}}
		a.body = []byte("<html><head><title>" + strconv.Itoa(status) + " " + http.StatusText(status) +
			"</title></head><body><h1>gateway</h1></body></html>")
	case f.Status != 0:
		a = problem(f.Status, http.StatusText(f.Status))
	}
	if f.RetryAfter != "" {
		a.header["Retry-After"] = f.RetryAfter
	}
	switch {
	case f.Truncate > 0:
		a.truncate = f.Truncate
	case f.Truncate < 0:
		a.truncate = 0
	}
	return a
}
