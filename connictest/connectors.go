package connictest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
)

// connectorPath is the path prefix of the connectors of a fake, which are
// outside the API.
const connectorPath = "/connect/"

// A Connector is a webhook connector of the fake. It needs no API key and does
// not count against the quota. The runs that it starts are like all others.
//
// Faults apply to it under the operations connectors.sync and
// connectors.inbound, and [Server.Executions] counts its requests under those
// names.
type Connector struct {
	server *Server
	id     string

	// The remaining fields are guarded by the mutex of the server.
	secret  func() connector.Secret // not a field, which package fmt would print
	agents  []string
	inbound bool
	// filesRequired are the agents that an input without files does not start.
	filesRequired []string
}

// kept returns a function that returns a secret.
func kept(secret connector.Secret) func() connector.Secret {
	return func() connector.Secret { return secret }
}

// Connector adds a sync connector that is linked to the agents with the given
// names. It panics if one of them does not exist.
//
// The response of a sync connector with several agents is not documented; the
// fake starts all of them and responds with the result of the first.
func (s *Server) Connector(agents ...string) *Connector {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range agents {
		if s.findAgent(name) == nil {
			panic(fmt.Sprintf("connictest: there is no agent %q", name))
		}
	}
	c := &Connector{server: s, id: s.newID("connector"), agents: slices.Clone(agents)}
	c.secret = kept(connector.Secret("secret-of-" + c.id + "-0123456789abcdef"))
	s.connectors = append(s.connectors, c)
	return c
}

// Inbound makes c respond at once with the ids of the runs that it started. It
// returns c.
func (c *Connector) Inbound() *Connector {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.inbound = true
	return c
}

// WithoutSecret disables the authentication of c. It returns c.
func (c *Connector) WithoutSecret() *Connector {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.secret = kept("")
	return c
}

// Secret returns the secret of c, which is empty if its authentication is
// disabled.
func (c *Connector) Secret() connector.Secret {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	return c.secret()
}

// Path returns the path of c on its server.
func (c *Connector) Path() string { return connectorPath + c.id }

// URL returns the URL of c for [connector.New]. The URL of a fake that does not
// listen can only be reached through [Server.Transport].
func (c *Connector) URL() string { return strings.TrimSuffix(c.server.URL(), "/v1") + c.Path() }

// Client returns a client of c. The options are added to those that lead to the
// fake. Client panics if an option is refused.
func (c *Connector) Client(opts ...connector.Option) *connector.Connector {
	var own []connector.Option
	if c.server.listener == nil {
		own = append(own, connector.WithHTTPClient(&http.Client{Transport: c.server.Transport()}))
	}
	client, err := connector.New(c.URL(), c.Secret(), append(own, opts...)...)
	if err != nil {
		panic(fmt.Sprintf("connictest: %v", err))
	}
	return client
}

// Perform runs the first agent of c with a JSON object as its input, and
// returns the run when it has ended. It is intended for fakes of protocols
// other than HTTP.
func (c *Connector) Perform(ctx context.Context, input json.RawMessage) (*connic.Run, error) {
	c.server.mu.Lock()
	runs := c.start(input)
	c.server.mu.Unlock()
	if len(runs) == 0 {
		return nil, fmt.Errorf("connictest: the connector %s is linked to no agent", c.id)
	}
	r := runs[0]
	select {
	case <-r.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	return &connic.Run{
		ID: r.id, AgentName: r.agent, Status: r.status, Input: r.input, Output: r.output, Error: r.error, TokenUsage: r.tokens,
		EnvironmentID: r.environment, ConnectorID: c.id, CreatedAt: r.created, StartedAt: r.started, EndedAt: r.ended,
	}, nil
}

// Session starts the run that stands for a session with c in a protocol other
// than HTTP, and returns its id. The run is running until the context ends.
func (c *Connector) Session(ctx context.Context) (runID string) {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &run{
		id: s.newID("run"), environment: s.deployTarget(), connector: c.id, status: connic.RunRunning,
		created: s.now(), started: s.now(),
	}
	r.cancel = func() { r.ended = s.now() }
	if len(c.agents) > 0 {
		r.agent = c.agents[0]
	}
	s.runs = append(s.runs, r)
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.ended.IsZero() {
			r.ended = s.now()
		}
		s.retire(r)
		if r.status == connic.RunRunning {
			r.status = connic.RunCompleted
		}
	})
	return r.id
}

// start starts the agents of c. The caller holds the mutex.
func (c *Connector) start(input json.RawMessage) []*run {
	var runs []*run
	for _, name := range c.agents {
		if slices.Contains(c.filesRequired, name) && !hasFiles(input) {
			continue
		}
		if a := c.server.findAgent(name); a != nil {
			r := c.server.start(a, input, "")
			r.connector = c.id
			runs = append(runs, r)
		}
	}
	return runs
}

// connectorAt returns the connector with the given path, or nil. It reports
// false if the path is not that of a connector.
func (s *Server) connectorAt(path string) (c *Connector, found bool) {
	id, found := strings.CutPrefix(path, connectorPath)
	if !found {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.connectors {
		if c.id == id {
			return c, true
		}
	}
	return nil, true
}

// respond responds to a request to a connector, which is nil if unknown.
func (c *Connector) respond(s *Server, r *http.Request, body []byte) answer {
	op := ""
	s.mu.Lock()
	if c != nil {
		op = "connectors.sync"
		if c.inbound {
			op = "connectors.inbound"
		}
	}
	request := s.note(op, r, body)
	f := s.nextFault(op)
	s.mu.Unlock()
	a := f.around(r.Context(), s, func() answer { return c.execute(s, op, r, body) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if !a.drop {
		a.header["X-Request-Id"] = request.ID
		request.Status = a.status
	}
	return a
}

func (c *Connector) execute(s *Server, op string, r *http.Request, body []byte) answer {
	if c == nil {
		return notFound("Connector")
	}
	if r.Method != http.MethodPost {
		return problem(http.StatusMethodNotAllowed, "Method Not Allowed")
	}
	if secret := c.Secret(); secret != "" && !authenticates(r, secret) {
		return problem(http.StatusUnauthorized, "Invalid or missing secret: expected the header X-Connic-Secret")
	}
	input, err := connectorInput(r, body)
	if err != nil {
		return *invalid(err.Error(), "value_error", "body")
	}
	s.mu.Lock()
	if complaint := s.fullOfRuns(); complaint != nil {
		s.mu.Unlock()
		return *complaint
	}
	runs := c.start(input)
	s.executed[op]++
	inbound := c.inbound
	s.mu.Unlock()
	if inbound {
		ids := make([]string, len(runs))
		for i, r := range runs {
			ids[i] = r.id
		}
		return ok(object{"status": "ok", "dispatched_to": len(runs), "run_ids": ids})
	}
	if len(runs) == 0 {
		return problem(http.StatusConflict, "The connector is linked to no agent")
	}
	select {
	case <-runs[0].done:
	case <-r.Context().Done(): // the run continues
		return answer{drop: true, truncate: -1}
	case <-s.ctx.Done():
		return answer{drop: true, truncate: -1}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return ok(object{"status": "ok", "result": runs[0].result()})
}

// result returns the run as connectors show it. The output of an agent with an
// output schema is a JSON value there, not a string.
func (r *run) result() object {
	o := object{"run_id": r.id, "agent_name": r.agent, "status": string(r.status), "output": text(r.output), "error": text(r.error)}
	if strings.HasPrefix(r.output, "{") && json.Valid([]byte(r.output)) {
		o["output"] = json.RawMessage(r.output)
	}
	return o
}

func authenticates(r *http.Request, secret connector.Secret) bool {
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return slices.Contains([]string{r.Header.Get("X-Connic-Secret"), bearer, r.URL.Query().Get("secret")}, string(secret))
}

// connectorInput converts a request body to the input of agents: JSON of any
// shape, a form, or a multipart form. Anything but an object is placed under
// the key payload. Like the service, it silently drops parts of types that the
// vendor does not list, and parts of more than 10 MB.
func connectorInput(r *http.Request, body []byte) (json.RawMessage, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return nil, fmt.Errorf("the content type cannot be read: %w", err)
	}
	keys := make(map[string]any)
	switch kind {
	case "application/json":
		var object map[string]json.RawMessage
		if !json.Valid(body) {
			return nil, errors.New("the body is not JSON")
		}
		if json.Unmarshal(body, &object) == nil && object != nil {
			return body, nil
		}
		keys["payload"] = json.RawMessage(body)
	case "application/x-www-form-urlencoded":
		values, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, err
		}
		for name := range values {
			keys[name] = values.Get(name)
		}
	case "multipart/form-data":
		files := []connic.File{}
		for parts := multipart.NewReader(bytes.NewReader(body), params["boundary"]); ; {
			part, err := parts.NextPart()
			if err == io.EOF { //nolint:errorlint // NextPart returns it bare
				break
			}
			if err != nil {
				return nil, fmt.Errorf("the form cannot be read: %w", err)
			}
			content, err := io.ReadAll(part)
			if err != nil {
				return nil, fmt.Errorf("the form cannot be read: %w", err)
			}
			mimeType := part.Header.Get("Content-Type")
			switch {
			case part.FileName() == "":
				keys[part.FormName()] = string(content)
			case len(content) <= connector.MaxFileBytes && connector.FileTypeSupported(mimeType):
				files = append(files, connic.File{Name: part.FileName(), MIMEType: mimeType, Data: content})
			}
		}
		if len(files) > 0 {
			keys["files"] = files
		}
	default:
		return nil, fmt.Errorf("the content type %s is none of JSON, a form and a multipart form", kind)
	}
	return json.Marshal(keys)
}
