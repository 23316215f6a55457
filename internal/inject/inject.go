// Package inject has the keys of what the context of a call says of its
// requests.
package inject

import (
	"context"
	"net/http"
)

// Operation is the key of the operation of a call, a connic.Operation. The
// context of a call of the API has the call instead.
type Operation struct{}

// StartKey is the key of a [Start] in the context of a wait for many runs.
type StartKey struct{}

// A Start starts the runs of a wait, and returns their ids. It calls sending before
// each request; from then on ctx lasts as long as the wait needs the response.
type Start func(ctx context.Context, sending func()) (ids []string)

// Key is the key of an [Injector] in the context of a call.
type Key struct{}

// An Injector adds headers to the requests of a call, before any transport
// sees them: a transport would have to copy each request first.
type Injector interface {
	// Inject may modify r.Header, and nothing else of r.
	Inject(r *http.Request)
}
