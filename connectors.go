package connic

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/list"
	"github.com/connic-go/connic/internal/mask"
)

// ConnectorsService manages connectors, through which other systems start
// agents and receive their results. It needs a key with access to the connectors
// section. To call a connector, use package connector, whose FromProject finds
// it by its name.
//
// The vendor documents the member config_json. The paths and the names of all
// other fields are assumed.
type ConnectorsService service

func (s *ConnectorsService) scope() *scope { return (*service)(s).scope() }

// A Connector is a connector of the project.
type Connector struct {
	ID   string `json:"id" api:"words,connector_id"`
	Name string `json:"name" api:"words"`
	// Type is what the connector connects to: "http", "websocket", "cron",
	// "kafka", "mcp", "sqs", "s3", "postgres", "email", "stripe", "telegram",
	// "twilio", "twilio_messaging", "telnyx", "telnyx_messaging", or another
	// one.
	Type   string           `json:"type" api:"words,connector_type"`
	Mode   ConnectorMode    `json:"mode,omitzero" api:"words"`
	Agents []ConnectorAgent `json:"agents,omitzero" api:"words"` // that it is linked to
	// Config is the configuration, which depends on the type.
	Config ConnectorConfig `json:"config_json,omitzero" api:"documented,config"`
	// URL is where the connector is called, if the service shows it.
	URL           string    `json:"url,omitzero" api:"assumed,webhook_url,inbound_url"`
	EnvironmentID string    `json:"environment_id,omitzero" api:"assumed"`
	CreatedAt     time.Time `json:"created_at,omitzero" api:"assumed"`
	UpdatedAt     time.Time `json:"updated_at,omitzero" api:"assumed"`

	RawItem
}

// ConnectorMode is the mode of a connector: "sync", "inbound" or "outbound".
type ConnectorMode string

// The known modes.
const (
	ConnectorSync     ConnectorMode = "sync"     // responds with the result of the run
	ConnectorInbound  ConnectorMode = "inbound"  // starts runs and responds at once
	ConnectorOutbound ConnectorMode = "outbound" // delivers to a URL
)

// Known reports whether this version of the package knows m.
func (m ConnectorMode) Known() bool {
	return m == ConnectorSync || m == ConnectorInbound || m == ConnectorOutbound
}

// A ConnectorAgent is an agent that a connector is linked to.
type ConnectorAgent struct {
	Name string `json:"name" api:"words,agent_name,."`
	// FilesRequired agents are not started by an input without a file.
	FilesRequired bool `json:"files_required,omitzero" api:"words"`
}

// MarshalJSON implements [json.Marshaler]: an agent is its name, unless there is
// more to say.
func (a ConnectorAgent) MarshalJSON() ([]byte, error) {
	if !a.FilesRequired {
		return json.Marshal(a.Name)
	}
	type plain ConnectorAgent
	return json.Marshal(plain(a))
}

// Format implements [fmt.Formatter], so that no verb prints a secret: neither the
// configuration nor the JSON that KeepRaw keeps.
func (c Connector) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, mask.Line(fmt.Sprintf("connic.Connector(%s %q, %s %s, agents %v, %s)", c.ID, c.Name, c.Type, c.Mode, c.Agents, c.Config), maxText))
}

// LogValue implements [slog.LogValuer] with the printed form.
func (c Connector) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(c)) }

// decoded finds the URL where the service may show it.
func (c *Connector) decoded() {
	c.URL = cmp.Or(c.URL, c.Config.Text("url"), c.Config.Text("webhook_url"), c.Config.Text("inbound_url"))
}

// ConnectorListParams selects connectors. The zero value selects all of them.
type ConnectorListParams struct {
	EnvironmentID string
	Type          string
	Limit, Offset int
}

func connectorListing(s *ConnectorsService, p *ConnectorListParams) listing[Connector] {
	if p == nil {
		p = new(ConnectorListParams)
	}
	l := listing[Connector]{
		scope: s.scope(), request: request{op: api.ConnectorsList}, name: "connectors", id: func(c *Connector) string { return c.ID },
		limit: p.Limit, offset: p.Offset,
	}
	l.request.query.add("environment_id", p.EnvironmentID)
	l.request.query.add("type", p.Type)
	return l
}

// List returns one page of connectors. It costs one request.
//
//	API:    GET /projects/{project}/connectors
//	Access: connectors read
//	Status: assumed
func (s *ConnectorsService) List(ctx context.Context, p *ConnectorListParams, opts ...RequestOption) (*Page[Connector], error) {
	return connectorListing(s, p).page(ctx, opts)
}

// All iterates over the connectors, starting at the given offset. Connectors may
// be added and deleted during the iteration: each of the others is yielded once,
// or the iteration ends with [ErrPageLoop]. It costs one request per Limit
// connectors, and a few more if the list changes; the default Limit is 100.
//
//	API:    GET /projects/{project}/connectors
//	Access: connectors read
//	Status: assumed
func (s *ConnectorsService) All(ctx context.Context, p *ConnectorListParams, opts ...RequestOption) iter.Seq2[*Connector, error] {
	return connectorListing(s, p).all(ctx, opts)
}

// Get returns a connector. It costs one request.
//
//	API:    GET /projects/{project}/connectors/{connector}
//	Access: connectors read
//	Status: assumed
func (s *ConnectorsService) Get(ctx context.Context, id string, opts ...RequestOption) (*Connector, error) {
	return do(ctx, s.scope(), request{op: api.ConnectorsGet, id: id}, decodeInto[Connector], opts)
}

// Find returns the connector with the given name or id, in the environment of
// the client if it has one: it looks for an exact match of the name, then for the
// name in any letter case, then for the id. If several connectors share the name,
// the error is [ErrConflict]; if none matches, it is [ErrNotFound]. It costs one
// request per 100 connectors.
//
//	API:    GET /projects/{project}/connectors
//	Access: connectors read
//	Status: assumed
func (s *ConnectorsService) Find(ctx context.Context, nameOrID string, opts ...RequestOption) (*Connector, error) {
	l := connectorListing(s, &ConnectorListParams{EnvironmentID: s.scope().environment, Limit: pageLimit})
	var found [3][]*Connector
	err := l.walk(ctx, list.NewWalk(l.id, list.Position{}), opts, func(c *Connector) bool {
		switch {
		case nameOrID == "":
		case c.Name == nameOrID:
			found[0] = append(found[0], c)
		case strings.EqualFold(c.Name, nameOrID):
			found[1] = append(found[1], c)
		case c.ID == nameOrID:
			found[2] = append(found[2], c)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	for _, all := range found {
		switch {
		case len(all) == 1:
			return all[0], nil
		case len(all) > 1:
			return nil, fmt.Errorf("connic: connectors.find: %w: %d connectors have this name; use an id", ErrConflict, len(all))
		}
	}
	return nil, fmt.Errorf("connic: connectors.find: %w: no connector has this name or id", ErrNotFound)
}

// ConnectorCreate describes a connector to create. Fields that are not set are
// not sent, and take the defaults of the service, which generates the secrets.
type ConnectorCreate struct {
	Name   string           `json:"name" api:"words"`
	Type   string           `json:"type" api:"words"` // "http": see Connector
	Mode   ConnectorMode    `json:"mode,omitzero" api:"words"`
	Agents []ConnectorAgent `json:"agents,omitzero" api:"words"`
	Config ConnectorConfig  `json:"config_json,omitzero" api:"documented"`
}

// ConnectorUpdate describes changes to a connector. Absent fields remain
// unchanged. None can be cleared. Agents replaces the whole list. Whether Config
// replaces the whole configuration, or only the values that it contains, is not
// documented: to be sure of the others, include them.
type ConnectorUpdate struct {
	Name   Nullable[string]           `json:"name,omitzero" api:"words"`
	Type   Nullable[string]           `json:"type,omitzero" api:"words"`
	Mode   Nullable[ConnectorMode]    `json:"mode,omitzero" api:"words"`
	Agents Nullable[[]ConnectorAgent] `json:"agents,omitzero" api:"words"`
	Config Nullable[ConnectorConfig]  `json:"config_json,omitzero" api:"documented"`
}

// AsUpdate returns the update that makes an existing connector what c describes.
// What c does not set remains unchanged.
func (c ConnectorCreate) AsUpdate() ConnectorUpdate {
	u := ConnectorUpdate{Name: Set(c.Name), Type: Set(c.Type), Mode: given(c.Mode)}
	if c.Agents != nil {
		u.Agents = Set(c.Agents)
	}
	if c.Config != nil {
		u.Config = Set(c.Config)
	}
	return u
}

// body returns what is sent, with the secrets, or why the update is refused.
func (u *ConnectorUpdate) body(op api.Op) (any, error) {
	p := &patch{op: api.Table[op].Name}
	change(p, "name", u.Name, false, checkFilled)
	change(p, "type", u.Type, false, checkFilled)
	// Values unknown to this version may be valid.
	change(p, "mode", u.Mode, false, func(m ConnectorMode) string { return checkFilled(string(m)) })
	change(p, "agents", u.Agents, false, func(agents []ConnectorAgent) string {
		if slices.ContainsFunc(agents, func(a ConnectorAgent) bool { return checkFilled(a.Name) != "" }) {
			return "contain one without a name"
		}
		return ""
	})
	change(p, "config", u.Config, false, func(c ConnectorConfig) string {
		for _, name := range slices.Sorted(maps.Keys(c)) {
			if mask.SecretName(name) && hiddenValue(c.Text(name)) {
				return "has a secret that is redacted: " + name
			}
		}
		return ""
	})
	var config Nullable[map[string]any]
	if c, ok := u.Config.Get(); ok {
		config = Set(map[string]any(c))
	}
	return struct {
		Name   Nullable[string]           `json:"name,omitzero"`
		Type   Nullable[string]           `json:"type,omitzero"`
		Mode   Nullable[ConnectorMode]    `json:"mode,omitzero"`
		Agents Nullable[[]ConnectorAgent] `json:"agents,omitzero"`
		Config Nullable[map[string]any]   `json:"config_json,omitzero"`
	}{u.Name, u.Type, u.Mode, u.Agents, config}, p.err()
}

// Create creates a connector. It refuses an empty name or type, agents without a
// name, and redacted secrets before anything is sent.
//
// As with [AgentsService.Trigger], the request is not repeated blindly: see
// [ErrOutcomeUnknown]. It costs one request.
//
//	API:    POST /projects/{project}/connectors
//	Access: connectors write
//	Status: assumed
func (s *ConnectorsService) Create(ctx context.Context, req ConnectorCreate, opts ...RequestOption) (*Connector, error) {
	update := req.AsUpdate()
	body, err := update.body(api.ConnectorsCreate)
	if err != nil {
		return nil, err
	}
	return do(ctx, s.scope(), request{op: api.ConnectorsCreate, body: body}, decodeInto[Connector], hiding(opts, req.Config.secrets()...))
}

// Update changes a connector and returns the result. It refuses what
// [ConnectorsService.Create] refuses, and an update without changes. It costs
// one request.
//
//	API:    PATCH /projects/{project}/connectors/{connector}
//	Access: connectors write
//	Status: assumed
func (s *ConnectorsService) Update(ctx context.Context, id string, req ConnectorUpdate, opts ...RequestOption) (*Connector, error) {
	body, err := req.body(api.ConnectorsUpdate)
	if err != nil {
		return nil, err
	}
	config, _ := req.Config.Get()
	return do(ctx, s.scope(), request{op: api.ConnectorsUpdate, id: id, body: body}, decodeInto[Connector], hiding(opts, config.secrets()...))
}

// Delete deletes a connector. Deleting a connector that does not exist fails
// with [ErrNotFound], unless it is a retry after a lost response. It costs one
// request.
//
//	API:    DELETE /projects/{project}/connectors/{connector}
//	Access: connectors write
//	Status: assumed
func (s *ConnectorsService) Delete(ctx context.Context, id string, opts ...RequestOption) error {
	_, err := do(ctx, s.scope(), request{op: api.ConnectorsDelete, id: id}, decodeNone, opts)
	return err
}

// Ensure returns the connector of the given name. It creates the connector if
// there is none, and updates it if it differs from what req describes (see
// [ConnectorCreate.AsUpdate] and [Connector.Diff]). It refuses what
// [ConnectorsService.Create] refuses. For concurrent calls and errors, see
// [Ensured].
//
// It costs one request per 100 connectors, one more to update the connector, and
// two more to create it; the key needs connectors write too.
//
//	API:    GET /projects/{project}/connectors
//	Access: connectors read
//	Status: assumed
func (s *ConnectorsService) Ensure(ctx context.Context, req ConnectorCreate, opts ...RequestOption) (*Ensured[Connector], error) {
	update := req.AsUpdate()
	if _, err := update.body(api.ConnectorsCreate); err != nil {
		return nil, err
	}
	e := ensuring[Connector]{
		scope: s.scope(), list: api.ConnectorsList, kind: "connector", identity: req.Name,
		items:  s.All(ctx, nil, alongside(opts)...),
		is:     func(c *Connector) bool { return c.Name == req.Name },
		made:   func(c *Connector) (string, time.Time) { return c.ID, c.CreatedAt },
		diff:   func(c *Connector) []Change { return c.Diff(update) },
		create: func() (*Connector, error) { return s.Create(ctx, req, opts...) },
		update: func(id string) (*Connector, error) { return s.Update(ctx, id, update, opts...) },
		remove: func(id string) error { return s.Delete(ctx, id, alongside(opts)...) },
	}
	return e.ensure(ctx)
}

// Diff returns the changes that an update would make to c, in the order of the
// fields of [ConnectorUpdate]. Of the configuration, only the values that the
// update contains are compared, each a change of its own, such as
// "config_json.require_auth". Secrets are redacted in the changes, and one that
// the service does not show in full is no change. It sends no request.
func (c *Connector) Diff(u ConnectorUpdate) []Change {
	config, _ := u.Config.Get()
	u.Config = Nullable[ConnectorConfig]{}
	changes := diff(c, u)
	for _, name := range slices.Sorted(maps.Keys(config)) {
		from, to := c.Config[name], config[name]
		text := c.Config.Text(name)
		if mask.SecretName(name) && hiddenValue(text) || sameJSON(encoded(from), encoded(to), false) {
			continue
		}
		changes = append(changes, Change{
			Field: "config_json." + name, From: encoded(redactedValue(name, from)), To: encoded(redactedValue(name, to)),
		})
	}
	return changes
}
