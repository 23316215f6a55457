package connictest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
)

// A resource is a connector as the API shows it. One of the type http serves as
// either call or outbound; others exist only in the API.
type resource struct {
	id, name, kind   string
	mode             connic.ConnectorMode
	agents           []connic.ConnectorAgent
	config           map[string]any // without the secrets of the other two
	created, updated time.Time
	call             *Connector
	outbound         *Outbound
}

// Named sets the name of c in the API, which is its id at first. It returns c.
func (c *Connector) Named(name string) *Connector {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.server.resourceOf(c, nil).name = name
	return c
}

// Named sets the name of o in the API, which is its id at first. It returns o.
func (o *Outbound) Named(name string) *Outbound {
	o.server.mu.Lock()
	defer o.server.mu.Unlock()
	o.server.resourceOf(nil, o).name = name
	return o
}

// resourceOf returns what the API shows of a connector, which is made when it is
// first asked for. The caller holds the mutex.
func (s *Server) resourceOf(c *Connector, o *Outbound) *resource {
	for _, r := range s.resources {
		if c != nil && r.call == c || o != nil && r.outbound == o {
			return r
		}
	}
	r := &resource{kind: "http", call: c, outbound: o, created: s.now(), updated: s.now(), config: map[string]any{}}
	if c != nil {
		r.id = c.id
	} else {
		r.id, r.mode = s.newID("connector"), connic.ConnectorOutbound
	}
	r.name = r.id
	s.resources = append(s.resources, r)
	return r
}

// allResources returns the connectors in the order of the API. The caller holds
// the mutex.
func (s *Server) allResources() []*resource {
	for _, c := range s.connectors {
		s.resourceOf(c, nil)
	}
	for _, o := range s.outbound {
		s.resourceOf(nil, o)
	}
	return s.resources
}

func (s *Server) resourceObject(r *resource) object {
	config := maps.Clone(r.config)
	o := object{
		"id": r.id, "name": r.name, "type": r.kind, "mode": text(string(r.mode)), "agents": r.agents, "config_json": config, "url": nil,
		"environment_id": s.deployTarget(), "created_at": timestamp(r.created), "updated_at": timestamp(r.updated),
	}
	var names []string
	switch {
	case r.call != nil:
		names = r.call.agents
		o["mode"], o["url"] = string(connic.ConnectorSync), r.call.URL()
		if r.call.inbound {
			o["mode"] = string(connic.ConnectorInbound)
		}
		secret := string(r.call.secret())
		config["require_auth"] = secret != ""
		if secret != "" {
			config["secret"] = secret
		}
	case r.outbound != nil:
		names = r.outbound.agents
		config["outbound_url"], config["webhook_secret"] = r.outbound.url, string(r.outbound.secret())
	}
	if r.agents == nil {
		agents := make([]connic.ConnectorAgent, len(names))
		for i, name := range names {
			agents[i].Name = name
		}
		o["agents"] = agents
	}
	return o
}

// resourceFor returns what the client of a request is shown of a connector. A
// fake that does not listen may be served by its user's own listener, whose
// address the client knows.
func (s *Server) resourceFor(x *exchange, r *resource) object {
	o := s.resourceObject(r)
	if r.call != nil && s.listener == nil && x.origin != "" {
		o["url"] = x.origin + r.call.Path()
	}
	return o
}

func (s *Server) findResource(id string) *resource {
	for _, r := range s.allResources() {
		if r.id == id {
			return r
		}
	}
	return nil
}

func (s *Server) listConnectors(x *exchange) answer {
	var items []object
	for _, r := range s.allResources() {
		if !x.differs("type", r.kind) && !x.differs("environment_id", s.deployTarget()) {
			items = append(items, s.resourceFor(x, r))
		}
	}
	return x.page(items)
}

func (s *Server) getConnector(x *exchange) answer {
	if r := s.findResource(x.id); r != nil {
		return ok(s.resourceFor(x, r))
	}
	return notFound("Connector")
}

func (s *Server) createConnector(x *exchange) answer {
	r := &resource{created: s.now(), updated: s.now(), config: map[string]any{}}
	if complaint := s.changeConnector(x, r); complaint != nil {
		return *complaint
	}
	if complaint := full(len(s.allResources()), maxResources, "connectors"); complaint != nil {
		return *complaint
	}
	r.id = s.newID("connector")
	s.resources = append(s.resources, r)
	s.serveConnector(r)
	s.changed(x, "connector", r.id, nil, s.resourceObject(r))
	return reply(http.StatusCreated, s.resourceFor(x, r))
}

func (s *Server) updateConnector(x *exchange) answer {
	r := s.findResource(x.id)
	if r == nil {
		return notFound("Connector")
	}
	before, after := s.resourceObject(r), *r
	after.config = maps.Clone(r.config)
	if complaint := s.changeConnector(x, &after); complaint != nil {
		return *complaint
	}
	after.updated = s.now()
	*r = after
	s.serveConnector(r)
	s.changed(x, "connector", r.id, before, s.resourceObject(r))
	return ok(s.resourceFor(x, r))
}

func (s *Server) deleteConnector(x *exchange) answer {
	r := s.findResource(x.id)
	if r == nil {
		return notFound("Connector")
	}
	before := s.resourceObject(r)
	s.resources = slices.DeleteFunc(s.resources, func(other *resource) bool { return other == r })
	s.unserve(r)
	s.changed(x, "connector", r.id, before, nil)
	return noContent()
}

// unserve ends what a connector does. The caller holds the mutex.
func (s *Server) unserve(r *resource) {
	s.connectors = slices.DeleteFunc(s.connectors, func(c *Connector) bool { return c == r.call })
	s.outbound = slices.DeleteFunc(s.outbound, func(o *Outbound) bool { return o == r.outbound })
	s.approvalNotices = slices.DeleteFunc(s.approvalNotices, func(o *Outbound) bool { return o == r.outbound })
	r.call, r.outbound = nil, nil
}

// changeConnector applies the body to a new or existing connector and validates
// the result. Of the configuration, it changes the values that the body contains;
// null removes one.
func (s *Server) changeConnector(x *exchange, r *resource) *answer {
	var u struct {
		Name   connic.Nullable[string]                  `json:"name"`
		Type   connic.Nullable[string]                  `json:"type"`
		Mode   connic.Nullable[connic.ConnectorMode]    `json:"mode"`
		Agents connic.Nullable[[]connic.ConnectorAgent] `json:"agents"`
		Config connic.Nullable[map[string]any]          `json:"config_json"`
	}
	if complaint := x.decode(&u); complaint != nil {
		return complaint
	}
	e := new(edit)
	put(e, "name", u.Name, false, &r.name)
	put(e, "type", u.Type, false, &r.kind)
	put(e, "mode", u.Mode, false, &r.mode)
	put(e, "agents", u.Agents, false, &r.agents)
	var config map[string]any
	put(e, "config_json", u.Config, false, &config)
	for name, value := range config {
		if r.config[name] = value; value == nil {
			delete(r.config, name)
		}
	}
	for key, value := range map[string]string{"name": r.name, "type": r.kind} {
		if value == "" {
			e.refuse("Field required", "missing", key)
		}
	}
	if r.kind == "http" {
		r.mode = cmp.Or(r.mode, s.modeOf(r))
	}
	if r.mode != "" && !r.mode.Known() {
		e.refuse("Input should be 'sync', 'inbound' or 'outbound'", "enum", "mode")
	}
	if r.kind == "http" {
		if url, _ := r.config["outbound_url"].(string); r.mode == connic.ConnectorOutbound && url == "" && r.outbound == nil {
			e.refuse("An outbound connector needs an outbound_url", "value_error", "config_json")
		}
	}
	for _, a := range r.agents {
		if s.findAgent(a.Name) == nil {
			e.refuse("There is no agent of this name", "value_error", "agents")
		}
	}
	return e.complaint
}

// modeOf is the mode of a connector that does not say one.
func (s *Server) modeOf(r *resource) connic.ConnectorMode {
	switch {
	case r.outbound != nil:
		return connic.ConnectorOutbound
	case r.call != nil && r.call.inbound:
		return connic.ConnectorInbound
	}
	return connic.ConnectorSync
}

// serveConnector makes a connector of the type http do what the API shows. The
// caller holds the mutex.
func (s *Server) serveConnector(r *resource) {
	if r.kind != "http" {
		s.unserve(r)
		return
	}
	taken := func(name string, kept func() connector.Secret) connector.Secret {
		value, _ := r.config[name].(string)
		delete(r.config, name)
		if secret := connector.Secret(value); secret != "" || kept == nil {
			return cmp.Or(secret, connector.Secret("secret-of-"+r.id+"-0123456789abcdef"))
		}
		return kept()
	}
	if r.mode == connic.ConnectorOutbound {
		if r.call != nil {
			s.unserve(r)
		}
		if r.outbound == nil {
			r.outbound = &Outbound{server: s, client: &http.Client{}, secret: kept(taken("webhook_secret", nil))}
			s.outbound = append(s.outbound, r.outbound)
		}
		o := r.outbound
		o.secret = kept(taken("webhook_secret", o.secret))
		if url, ok := r.config["outbound_url"].(string); ok {
			o.url = url
			delete(r.config, "outbound_url")
		}
		if r.agents != nil {
			o.agents = linkedNames(r.agents)
		}
		return
	}
	if r.outbound != nil {
		s.unserve(r)
	}
	if r.call == nil {
		r.call = &Connector{server: s, id: r.id, secret: kept(taken("secret", nil))}
		s.connectors = append(s.connectors, r.call)
	}
	c := r.call
	c.inbound = r.mode == connic.ConnectorInbound
	switch required, set := r.config["require_auth"].(bool); {
	case set && !required:
		c.secret = kept("")
	case c.secret() == "" && set:
		c.secret = kept(taken("secret", nil))
	default:
		c.secret = kept(taken("secret", c.secret))
	}
	delete(r.config, "require_auth")
	if r.agents != nil {
		c.agents = linkedNames(r.agents)
		c.filesRequired = nil
		for _, a := range r.agents {
			if a.FilesRequired {
				c.filesRequired = append(c.filesRequired, a.Name)
			}
		}
	}
}

func linkedNames(agents []connic.ConnectorAgent) []string {
	names := make([]string, len(agents))
	for i, a := range agents {
		names[i] = a.Name
	}
	return names
}

// hasFiles reports whether the input of a connector has files.
func hasFiles(input json.RawMessage) bool {
	var body struct {
		Files json.RawMessage `json:"files"`
	}
	return json.Unmarshal(input, &body) == nil && len(bytes.TrimSpace(body.Files)) > len("[]") && body.Files[0] == '['
}
