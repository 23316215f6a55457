package connic

import (
	"net/url"
	"sync/atomic"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/exchange"
	"github.com/connic-go/connic/internal/mask"
)

// Version is the version of this package.
const Version = "0.1.0"

// core is what a Client shares with those derived from it by
// [Client.ForEnvironment].
type core struct {
	project    string
	base       *url.URL
	credential credential
	engine     exchange.Engine
	limiter    Limiter
	retry      RetryPolicy
	timeout    time.Duration
	telemetry  Telemetry
	readOnly   bool
	routes     routes
	watches    watches
	turns      turns // of Ensure
	activity   activity

	unmade bool
	closed atomic.Bool
	memory [api.NumOps + 1]exchange.Memory // by operation
}

// mask returns the mask that hides secrets in text.
func (c *core) mask() *mask.Mask { return c.engine.Mask() }

// scope is what the sections of a Client know of it: its core, and the
// environment of calls that specify none.
type scope struct {
	*core
	environment string
}

// service is the common representation of all sections.
type service struct{ of *scope }

// scope returns the scope of a section. That of the zero value, or of the zero
// value of a Client, refuses all calls.
func (s *service) scope() *scope {
	if s == nil || s.of == nil || s.of.core == nil {
		return &scope{core: &core{limiter: NewLimiter(0, defaultWindow), base: new(url.URL), unmade: true}}
	}
	return s.of
}

// made refuses a client that New did not make.
func (c *scope) made(op string) error {
	if c == nil || c.core == nil || c.unmade {
		return &ArgumentError{Op: op, Arg: "client", Reason: "was not made by New or NewFromEnv"}
	}
	return nil
}

var platform = exchange.UserAgent(Version)

var platformAgent = []string{platform}

func userAgent(application string) []string {
	if application == "" {
		return platformAgent
	}
	return []string{application + " " + platform}
}
