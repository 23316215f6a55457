package connictest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/connic-go/connic/internal/api"
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
	// that is hit has no effect, unless the fault is a Latency, a Truncate, or one
	// that alters a good body.
	After bool
	// Drop cuts the connection without an answer.
	Drop bool
	// Truncate cuts the connection after so many bytes of the answer's body; it
	// implies After. Use 0 bytes as Truncate: -1.
	Truncate int
	// Status answers with a status from 200 to 999, usually an error.
	Status int
	// RetryAfter is the Retry-After header of that answer, as it is.
	RetryAfter string
	// HTML answers with an HTML page, of the Status or of 200, as a gateway does.
	HTML bool

	// The following alter the body of a good answer, and imply After. A path names
	// a field: "status", "token_usage.input", or "items.*.status" for all elements
	// of a list. A path that leads nowhere alters nothing.

	// Set gives fields another value: Set: map[string]any{"status": "pondering"}.
	Set map[string]any
	// Remove takes fields out.
	Remove []string
	// Retype gives fields the value of another type: a text becomes an object, a
	// list a text, and everything else a list.
	Retype []string
	// Envelope puts the answer into an object under this key. A list moves there
	// from its usual key, and takes what stands beside it along; with "-" it becomes
	// a bare array.
	Envelope string
}

// Fault sets a fault. Of several that hit a request, the first one that was set
// does. It panics when the fault names an unknown operation or a status below 200.
func (s *Server) Fault(f Fault) {
	known := func(o api.Operation) bool { return o.Name == f.Op }
	switch {
	case f.Op != "" && f.Op != "connectors.sync" && f.Op != "connectors.inbound" && !slices.ContainsFunc(api.Table[:], known):
		panic(fmt.Sprintf("connictest: no operation is called %q", f.Op))
	case f.Status != 0 && (f.Status < 200 || f.Status > 999):
		panic(fmt.Sprintf("connictest: no answer ends with the status %d", f.Status))
	}
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

func (f *Fault) alters() bool {
	return len(f.Set)+len(f.Remove)+len(f.Retype) > 0 || f.Envelope != ""
}

// executes reports whether a request that is hit has its effect.
func (f *Fault) executes() bool {
	return f.After || f.Truncate != 0 || f.alters() || (!f.Drop && f.Status == 0 && !f.HTML)
}

// apply changes the answer.
func (f *Fault) apply(a answer) answer {
	if f.alters() && a.status < 300 {
		a.body = f.alter(a.body)
	}
	switch {
	case f.Drop:
		return answer{drop: true, truncate: -1, told: a.told}
	case f.HTML:
		status := f.Status
		if status == 0 {
			status = http.StatusOK
		}
		a = answer{status: status, truncate: -1, header: map[string]string{"Content-Type": "text/html"}, told: a.told}
		a.body = []byte("<html><head><title>" + strconv.Itoa(status) + " " + http.StatusText(status) +
			"</title></head><body><h1>gateway</h1></body></html>")
	case f.Status != 0 && f.alters():
		a.status = f.Status // and the body stays
	case f.Status != 0:
		told := a.told
		a = problem(f.Status, http.StatusText(f.Status))
		a.told = told
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
