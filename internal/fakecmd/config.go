package fakecmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// A Config is a configuration: a JSON object with these keys. All keys are
// optional; unknown keys are an error. Durations are strings such as "1m30s".
type Config struct {
	// Seed makes the ids UUIDs that are derived from a number.
	Seed *uint64 `json:"seed"`
	// Time is the initial time of the fake's clock.
	Time time.Time `json:"time"`
	// Lenient accepts unknown parameters and body keys.
	Lenient bool `json:"lenient"`

	Environments []Environment `json:"environments"`
	Agents       []Agent       `json:"agents"`
	// Runs are started before the first request arrives, and do not count
	// against the quota.
	Runs []Run `json:"runs"`
	// Keys are valid in addition to the one that is printed.
	Keys []Key `json:"keys"`

	GitProvider     string           `json:"git_provider"`
	Tests           []TestResult     `json:"tests"`
	FailDeployments []FailDeployment `json:"fail_deployments"`
	PhaseTime       *Duration        `json:"phase_time"`
	IngestionTime   *Duration        `json:"ingestion_time"`

	// ApproveLogins is the time after which each login is confirmed. The
	// default is 1 s.
	ApproveLogins *Duration `json:"approve_logins"`
	// Bridges holds the ids of bridges, which have no routes at first.
	Bridges []string `json:"bridges"`
	// FailDevSessions makes the containers of dev sessions fail.
	FailDevSessions bool `json:"fail_dev_sessions"`

	Quota  *Quota  `json:"quota"`
	Faults []Fault `json:"faults"`
}

// Environment is an environment; see [connictest.Environment]. Flags that it
// omits are true.
type Environment struct {
	ID            string `json:"id"`
	Name          string `json:"name"`
	Type          string `json:"env_type"`
	Default       bool   `json:"is_default"`
	Test          string `json:"test_environment_id"`
	Ephemeral     bool   `json:"is_ephemeral"`
	CanDeploy     *bool  `json:"can_deploy"`
	CanDevSession *bool  `json:"can_use_dev_session"`
	GateTests     *bool  `json:"deploy_gate_tests_enabled"`
}

// A Run is a run to be started.
type Run struct {
	Agent   string          `json:"agent"`
	Message string          `json:"message"`
	Payload json.RawMessage `json:"payload"`
}

// A Key is an API key. Without permissions it has full access.
type Key struct {
	Key         string   `json:"key"`
	Permissions []string `json:"permissions"`
}

// TestResult changes the result of a test case. All others pass.
type TestResult struct {
	Agent     string   `json:"agent"`
	Test      string   `json:"test"`
	Passed    bool     `json:"passed"`
	Successes int      `json:"successes"`
	Reason    string   `json:"failure_reason"`
	RunIDs    []string `json:"agent_run_ids"`
}

// FailDeployment makes deployments fail.
type FailDeployment struct {
	Environment string `json:"environment_id"` // empty: in all environments
	Error       string `json:"error"`
}

// Quota is the quota of the project.
type Quota struct {
	Limit  int      `json:"limit"` // 0: no quota
	Per    Duration `json:"per"`
	Window string   `json:"window"` // fixed, sliding, sliding-rejects or bucket
}

// Fault is a fault; see [connictest.Fault].
type Fault struct {
	Op         string         `json:"op"`
	Nth        int            `json:"nth"`
	Times      int            `json:"times"`
	For        Duration       `json:"for"`
	Latency    Duration       `json:"latency"`
	After      bool           `json:"after"`
	Drop       bool           `json:"drop"`
	Truncate   int            `json:"truncate"`
	Status     int            `json:"status"`
	RetryAfter string         `json:"retry_after"`
	HTML       bool           `json:"html"`
	Set        map[string]any `json:"set"`
	Remove     []string       `json:"remove"`
	Retype     []string       `json:"retype"`
	Envelope   string         `json:"envelope"`
}

// Duration is a time.Duration that is encoded as a string.
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err == nil && parsed < 0 {
		err = errors.New("the duration is negative")
	}
	*d = Duration(parsed)
	return err
}

func load(name string) (*Config, error) {
	raw, err := os.ReadFile(name) //nolint:gosec // the user names the file
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	c := new(Config)
	if err := decoder.Decode(c); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if decoder.More() {
		return nil, fmt.Errorf("%s: there is more behind the configuration", name)
	}
	return c, nil
}

// apply configures the fake, and returns a key with full access.
func (c *Config) apply(ctx context.Context, srv *connictest.Server) (connic.APIKey, error) {
	window, ok := models[c.Quota.Window]
	switch {
	case c.Quota.Window == "":
		window = connictest.FixedWindow
	case !ok:
		return "", fmt.Errorf("the window is none of fixed, sliding, sliding-rejects and bucket: %q", c.Quota.Window)
	}
	switch {
	case c.Quota.Limit < 0:
		return "", errors.New("the rate is less than 0")
	case c.Quota.Per < 0 || c.Quota.Limit > 0 && c.Quota.Per == 0:
		return "", errors.New("the window of the quota is empty")
	case c.PhaseTime != nil && *c.PhaseTime < 0:
		return "", errors.New("the time of a phase is less than 0")
	}
	if c.Seed != nil {
		srv.Seed(*c.Seed)
	}
	if !c.Time.IsZero() {
		srv.SetTime(c.Time)
	}
	if c.Lenient {
		srv.Lenient()
	}
	if err := c.environments(srv); err != nil {
		return "", err
	}
	if err := c.agents(srv); err != nil {
		return "", err
	}
	srv.GitProvider(c.GitProvider)
	if c.PhaseTime != nil {
		srv.PhaseTime(time.Duration(*c.PhaseTime))
	}
	if c.IngestionTime != nil {
		srv.IngestionTime(time.Duration(*c.IngestionTime))
	}
	approve := Duration(time.Second)
	if c.ApproveLogins != nil {
		approve = *c.ApproveLogins
	}
	srv.ApproveLogins(time.Duration(approve))
	srv.FailDevSessions(c.FailDevSessions)
	for _, id := range c.Bridges {
		srv.Bridge(id)
	}
	c.projects(srv)
	for _, k := range c.Keys {
		if _, err := connic.New(connictest.ProjectID, connic.APIKey(k.Key)); err != nil {
			return "", fmt.Errorf("a key of the configuration is none: %w", err)
		}
		srv.SetKey(connic.APIKey(k.Key), k.Permissions...)
	}
	if err := c.start(ctx, srv); err != nil {
		return "", err
	}
	srv.RateLimit(c.Quota.Limit, time.Duration(c.Quota.Per), window)
	for _, f := range c.Faults {
		if err := f.set(srv); err != nil {
			return "", err
		}
	}
	return srv.Key(), nil
}

func (c *Config) environments(srv *connictest.Server) error {
	if len(c.Environments) == 0 {
		return nil
	}
	off := func(flag *bool) bool { return flag != nil && !*flag }
	all := make([]connictest.Environment, len(c.Environments))
	for i, e := range c.Environments {
		if e.ID == "" || e.Name == "" {
			return fmt.Errorf("environment %d needs an id and a name", i+1)
		}
		all[i] = connictest.Environment{
			ID: e.ID, Name: e.Name, Type: e.Type, IsDefault: e.Default, TestEnvironmentID: e.Test, IsEphemeral: e.Ephemeral,
			CannotDeploy: off(e.CanDeploy), CannotUseDevSession: off(e.CanDevSession), DeployGateTestsDisabled: off(e.GateTests),
		}
	}
	srv.Environments(all...)
	return nil
}

// start starts the runs. It fails if an agent is in no environment.
func (c *Config) start(ctx context.Context, srv *connictest.Server) error {
	srv.RateLimit(0, 0, connictest.FixedWindow)
	client := srv.Client()
	defer func() { _ = client.Close() }()
	environments, err := client.Environments.List(ctx)
	if err != nil {
		return err
	}
	for _, a := range c.Agents {
		if a.Environment != "" && !slices.ContainsFunc(environments.Items, func(e *connic.Environment) bool { return e.ID == a.Environment }) {
			return fmt.Errorf("the agent %s: no environment has the id %q", a.Name, a.Environment)
		}
	}
	for _, r := range c.Runs {
		request := connic.TriggerRequest{Message: r.Message}
		if len(r.Payload) > 0 {
			request.Payload = r.Payload
		}
		if _, err := client.Agents.Trigger(ctx, r.Agent, request); err != nil {
			return fmt.Errorf("a run of the configuration: %w", err)
		}
	}
	srv.ClearRequests()
	return nil
}

// projects configures the results of uploaded projects.
func (c *Config) projects(srv *connictest.Server) {
	if len(c.Tests) > 0 {
		srv.Tests(func(p connictest.UploadedProject) []connic.TestCase {
			for i := range p.Cases {
				for _, t := range c.Tests {
					if found := &p.Cases[i]; found.AgentName == t.Agent && found.TestName == t.Test {
						t.give(found)
					}
				}
			}
			return p.Cases
		})
	}
	if len(c.FailDeployments) > 0 {
		srv.FailDeployment(func(p connictest.UploadedProject) error {
			for _, f := range c.FailDeployments {
				if f.Environment == "" || f.Environment == p.EnvironmentID {
					return errors.New(f.Error)
				}
			}
			return nil
		})
	}
}

func (t *TestResult) give(c *connic.TestCase) {
	c.Passed, c.FailureReason, c.AgentRunIDs = t.Passed, t.Reason, t.RunIDs
	if c.Successes = t.Successes; t.Passed && t.Successes == 0 {
		c.Successes = c.Runs
	}
	c.AgentRunPassed = make([]bool, len(t.RunIDs))
	for i := range c.AgentRunPassed {
		c.AgentRunPassed[i] = i < t.Successes
	}
}

// set sets a fault. It fails if the fault names an unknown operation.
func (f *Fault) set(srv *connictest.Server) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a fault of the configuration: %v", p)
		}
	}()
	srv.Fault(connictest.Fault{
		Op: f.Op, Nth: f.Nth, Times: f.Times, For: time.Duration(f.For), Latency: time.Duration(f.Latency), After: f.After, Drop: f.Drop,
		Truncate: f.Truncate, Status: f.Status, RetryAfter: f.RetryAfter, HTML: f.HTML,
		Set: f.Set, Remove: f.Remove, Retype: f.Retype, Envelope: f.Envelope,
	})
	return nil
}
