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

// connectorPath is where the connectors of a fake are, outside of the API.
const connectorPath = "/connect/"

// Connector is a webhook connector of the fake. It takes no share of the quota and
// no API key. The runs that it starts are runs like all others.
//
// Faults hit it under the operations connectors.sync and connectors.inbound, and
// [Server.Executions] counts it under those.
type Connector struct {
	server *Server
	id     string

	// The rest is guarded by the server's mutex.
	secret  connector.Secret
	agents  []string
	inbound bool
}

// Connector adds a sync connector that is linked to agents, by their names. It panics
// if one of them does not exist.
//
// What a sync connector of several agents answers is not documented; the fake starts
// all of them and answers with the first.
func (s *Server) Connector(agents ...string) *Connector {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range agents {
		if s.findAgent(name) == nil {
			panic(fmt.Sprintf("connictest: there is no agent %q", name))
		}
	}
	c := &Connector{server: s, id: s.newID("connector"), agents: slices.Clone(agents)}
	c.secret = connector.Secret("secret-of-" + c.id + "-0123456789abcdef")
	s.connectors = append(s.connectors, c)
	return c
}

// Inbound makes c answer at once, with the ids of the runs that it has started. It
// returns c.
func (c *Connector) Inbound() *Connector {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.inbound = true
	return c
}

// WithoutSecret switches the authentication of c off, and returns c.
func (c *Connector) WithoutSecret() *Connector {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.secret = ""
	return c
}

// Secret is the secret of c, empty if its authentication is off.
func (c *Connector) Secret() connector.Secret {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	return c.secret
}

// Path is the path of c on its server.
func (c *Connector) Path() string { return connectorPath + c.id }

// URL is the URL of c, as [connector.New] takes it. That of a fake that does not listen
// is reached through [Server.Transport] only.
func (c *Connector) URL() string { return strings.TrimSuffix(c.server.URL(), "/v1") + c.Path() }

// Client makes a client of c. Options are added to those that lead to the fake. It
// panics when an option is refused.
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

// Perform runs the first agent of c with a JSON object as its input, and returns the run
// when it has ended. It serves fakes of other ways to an agent than HTTP.
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

// start starts the agents of c. The caller holds the mutex.
func (c *Connector) start(input json.RawMessage) []*run {
	var runs []*run
	for _, name := range c.agents {
		if a := c.server.findAgent(name); a != nil {
			r := c.server.start(a, input, "")
			r.connector = c.id
			runs = append(runs, r)
		}
	}
	return runs
}

// connectorAt returns the connector of a path, nil if the path is none of a connector.
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

// respond answers a request to a connector, nil for an unknown one.
func (c *Connector) respond(s *Server, r *http.Request, body []byte) answer {
	query := r.URL.Query()
	query.Del("secret")
	op := ""
	s.mu.Lock()
	if c != nil {
		op = "connectors.sync"
		if c.inbound {
			op = "connectors.inbound"
		}
	}
	request := s.note(op, r, body)
	request.Query = query.Encode()
	request.Header.Del("X-Connic-Secret")
	f := s.nextFault(op)
	s.mu.Unlock()
	a := answer{truncate: -1}
	if !s.pass(r.Context(), f.Latency) {
		return answer{drop: true, truncate: -1}
	}
	if f.executes() {
		a = c.execute(s, op, r, body)
	}
	a = f.apply(a).whole()
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
	case <-r.Context().Done(): // the run goes on
		return answer{drop: true, truncate: -1}
	case <-s.ctx.Done():
		return answer{drop: true, truncate: -1}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return ok(object{"status": "ok", "result": runs[0].result()})
}

// result is the run as connectors show it. An output of an agent's output schema, which
// is JSON, is no text there.
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

// connectorInput makes the input of agents from a body: JSON of any shape, a form, or a
// multipart form. What is no object gets the key payload. Parts of other types than the
// vendor lists, or of more than 10 MB, are dropped without a word, as the service does.
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
