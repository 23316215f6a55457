package connic

import (
	"context"
	"fmt"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
)

// BridgesService reads and replaces the routes of bridges, the programs that
// give agents access to a private network.
type BridgesService service

func (s *BridgesService) scope() *scope { return (*service)(s).scope() }

// A BridgeRoute lets agents reach a target through a bridge.
type BridgeRoute struct {
	MatchType BridgeMatch `json:"match_type" api:"documented"`
	// Target is a host name or a pattern of host names.
	Target string `json:"target" api:"documented"`
	Port   int    `json:"port" api:"documented"` // 1 to 65535
}

// BridgeMatch specifies how a target is matched: "exact" or "regex".
type BridgeMatch string

// The documented values.
const (
	BridgeExact BridgeMatch = "exact"
	BridgeRegex BridgeMatch = "regex"
)

// Known reports whether this version of the package knows m.
func (m BridgeMatch) Known() bool { return m == BridgeExact || m == BridgeRegex }

// maxBridgeRoutes is the documented limit per bridge. The limit per project is
// 256.
const maxBridgeRoutes = 32

type bridgeRoutes struct {
	Routes []BridgeRoute `json:"routes" api:"documented"`
}

func decodeBridgeRoutes(d *lenient.Decoder) ([]BridgeRoute, error) {
	var b bridgeRoutes
	err := d.Decode(&b)
	if err == nil && b.Routes == nil {
		err = otherDocument("routes")
	}
	return b.Routes, err
}

// Routes returns the routes of a bridge. It costs one request.
//
//	API:    GET /projects/{project}/bridges/{bridge}/routes
//	Access: bridges update
//	Status: documented
func (s *BridgesService) Routes(ctx context.Context, bridge string, opts ...RequestOption) ([]BridgeRoute, error) {
	return do(ctx, s.scope(), request{op: api.BridgesRoutes, id: bridge}, decodeBridgeRoutes, opts)
}

// SetRoutes replaces all routes of a bridge with at most 32 routes. An empty
// list removes all of them. It costs one request.
//
//	API:    PUT /projects/{project}/bridges/{bridge}/routes
//	Access: bridges update
//	Status: documented
func (s *BridgesService) SetRoutes(ctx context.Context, bridge string, routes []BridgeRoute, opts ...RequestOption) error {
	const op = api.BridgesSetRoutes
	bad := func(reason string) error {
		return &ArgumentError{Op: api.Table[op].Name, Arg: "routes", Reason: reason}
	}
	if len(routes) > maxBridgeRoutes {
		return bad(fmt.Sprintf("are %d, more than %d", len(routes), maxBridgeRoutes))
	}
	for i, r := range routes {
		switch {
		case r.MatchType == "":
			return bad(fmt.Sprintf("have no match type at %d", i))
		case r.Target == "":
			return bad(fmt.Sprintf("have no target at %d", i))
		case r.Port < 1 || r.Port > 65535:
			return bad(fmt.Sprintf("have a port at %d that is not from 1 to 65535", i))
		}
	}
	if routes == nil {
		routes = []BridgeRoute{}
	}
	_, err := do(ctx, s.scope(), request{op: op, id: bridge, body: &bridgeRoutes{routes}}, decodeNone, opts)
	return err
}
