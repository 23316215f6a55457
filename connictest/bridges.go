package connictest

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/connic-go/connic"
)

// Documented limits for bridge routes.
const (
	bridgeRouteLimit  = 32
	projectRouteLimit = 256
)

// Bridge adds a bridge without routes.
func (s *Server) Bridge(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bridges == nil {
		s.bridges = make(map[string][]connic.BridgeRoute)
	}
	s.bridges[id] = []connic.BridgeRoute{}
}

func (s *Server) getBridgeRoutes(x *exchange) answer {
	routes, known := s.bridges[x.id]
	if !known {
		return notFound("Bridge")
	}
	return ok(object{"routes": routes})
}

func (s *Server) setBridgeRoutes(x *exchange) answer {
	before, known := s.bridges[x.id]
	if !known {
		return notFound("Bridge")
	}
	var body struct {
		Routes []connic.BridgeRoute `json:"routes"`
	}
	if complaint := x.decode(&body); complaint != nil {
		return *complaint
	}
	if body.Routes == nil {
		return *invalid("Field required", "missing", "body", "routes")
	}
	all := len(body.Routes) - len(before)
	for _, routes := range s.bridges {
		all += len(routes)
	}
	if len(body.Routes) > bridgeRouteLimit || all > projectRouteLimit {
		return problem(http.StatusBadRequest, fmt.Sprintf("At most %d routes a bridge and %d a project", bridgeRouteLimit, projectRouteLimit))
	}
	for i, r := range body.Routes {
		if !r.MatchType.Known() || r.Target == "" || r.Port < 1 || r.Port > 65535 {
			return *invalid("Expected match_type exact or regex, a target, and a port", "value_error", "body", "routes", strconv.Itoa(i))
		}
	}
	s.bridges[x.id] = body.Routes
	s.changed(x, "bridge", x.id, object{"routes": before}, object{"routes": body.Routes})
	return ok(object{"routes": body.Routes})
}
