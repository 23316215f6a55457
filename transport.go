package connic

import (
	"net/http"
	"time"

	"github.com/connic-go/connic/internal/exchange"
)

// newTransport returns the default transport of a client. It keeps every
// connection for reuse, where net/http keeps two, and opens at most 64: far
// more than a quota of 60 requests a minute can use.
//
// All attempts may share one HTTP/2 connection, so a dead one must be detected
// and abandoned before an attempt times out. A connection that is silent while
// in use is pinged after a sixth of the timeout, and given up after another
// sixth.
func newTransport(timeout time.Duration) *http.Transport {
	return exchange.NewTransport(min(timeout, defaultTimeout)/6, 64)
}
