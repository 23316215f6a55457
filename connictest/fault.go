package connictest

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/connic-go/connic/internal/api"
)

// A Fault makes requests fail. Its fields can be combined, such as a latency
// with a status.
type Fault struct {
	// Op is the affected operation, such as "agents.trigger". Empty means all
	// operations.
	Op string
	// Nth is the first affected request of the operation, counted from when the
	// fault was set: 1 is the next one. 0 means 1.
	Nth int
	// Times is the number of consecutive requests affected. 0 means 1, or all
	// with For, and -1 means all.
	Times int
	// For is how long the fault lasts, from when it was set. 0 means for ever.
	For time.Duration

	// Latency is a delay before anything else happens or, with After, between
	// the execution and the response.
	Latency time.Duration
	// After executes the request before the fault takes effect. Otherwise an
	// affected request is not executed, unless the fault is a Latency, a
	// Truncate, or an alteration of a successful body.
	After bool
	// Drop cuts the connection without a response.
	Drop bool
	// Truncate cuts the connection after that many bytes of the response body,
	// and implies After. To truncate to 0 bytes, use -1.
	Truncate int
	// Status responds with a status from 200 to 999, usually an error.
	Status int
	// RetryAfter is the verbatim Retry-After header of that response.
	RetryAfter string
	// HTML responds with an HTML page, with Status or 200, as a gateway would.
	HTML bool

	// The following fields alter the body of a successful response, and imply
	// After. A path names a field: "status", "token_usage.input", or
	// "items.*.status" for all elements of a list. A path that matches nothing
	// has no effect.

	// Set replaces the values of fields, as in map[string]any{"status":
	// "pondering"}.
	Set map[string]any
	// Remove removes fields.
	Remove []string
	// Retype replaces the values of fields with values of another type: a
	// string becomes an object, a list becomes a string, and anything else
	// becomes a list.
	Retype []string
	// Envelope wraps the response in an object under this key. A list is moved
	// from its usual key, together with its siblings; with "-" it becomes a
	// bare array.
	Envelope string
}

// Fault sets a fault. If several apply to a request, the one that was set first
// takes effect. Fault panics if it names an unknown operation or a status below
// 200.
func (s *Server) Fault(f Fault) {
	known := func(o api.Operation) bool { return o.Name == f.Op }
	switch {
	case f.Op != "" && f.Op != "connectors.sync" && f.Op != "connectors.inbound" && !slices.ContainsFunc(api.Table[:], known):
		panic(fmt.Sprintf("connictest: no operation is called %q", f.Op))
	case f.Status != 0 && (f.Status < 200 || f.Status > 999):
		panic(fmt.Sprintf("connictest: no response has the status %d", f.Status))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	set := &fault{Fault: f, skip: max(f.Nth, 1) - 1, left: f.Times}
	switch {
	case f.For > 0:
		set.ends = time.Now().Add(f.For)
		set.left = cmp.Or(f.Times, -1)
	case f.Times == 0:
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
	skip int // requests before the first affected one
	left int // affected requests left; negative means all
	ends time.Time
}

// over reports whether the fault affects no more requests.
func (f *fault) over() bool { return f.left == 0 || !f.ends.IsZero() && !time.Now().Before(f.ends) }

// nextFault returns the fault for a request, or the zero Fault. The caller
// holds the mutex.
func (s *Server) nextFault(op string) Fault {
	s.faults = slices.DeleteFunc(s.faults, (*fault).over)
	var hit *fault
	for _, f := range s.faults {
		switch {
		case f.Op != "" && f.Op != op:
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

// after reports whether the request is executed before the fault takes effect.
func (f *Fault) after() bool { return f.After || f.Truncate != 0 || f.alters() }

// executes reports whether an affected request is executed.
func (f *Fault) executes() bool { return f.after() || (!f.Drop && f.Status == 0 && !f.HTML) }

// around executes a request if the fault lets it, and returns the altered
// response after the latency of the fault.
func (f *Fault) around(ctx context.Context, s *Server, execute func() answer) answer {
	a := answer{truncate: -1}
	if !f.after() && !s.pass(ctx, f.Latency) {
		return answer{drop: true, truncate: -1}
	}
	if f.executes() {
		a = execute()
	}
	if f.after() && !s.pass(ctx, f.Latency) {
		return answer{drop: true, truncate: -1, told: a.told}
	}
	return f.apply(a).whole()
}

// apply applies the fault to the response.
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
		a.status = f.Status // the body remains
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
