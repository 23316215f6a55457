// Package inject lets the context of a call add headers to the requests of the
// call while they are made. A transport would have to copy each request first.
package inject

import "net/http"

// Key is the key of an [Injector] in the context of a call.
type Key struct{}

// An Injector adds headers to the requests of a call, before any transport
// sees them.
type Injector interface {
	// Inject may modify r.Header, and nothing else of r.
	Inject(r *http.Request)
}
