// Package whoami has the command whoami.
package whoami

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/spf13/cobra"
)

// An identity is what is known of the key.
type identity struct {
	// Key is the fingerprint of the key: the start of its SHA-256 sum.
	Key     string `json:"key"`
	KeyFrom string `json:"key_from"`
	BaseURL string `json:"base_url"`
	Project string `json:"project_id"`
	Name    string `json:"project_name,omitempty"`
	// Environments are there with --access only, if the key may list them.
	Environments []environment `json:"environments,omitempty"`
	// Access is what the key may read, by section: allowed, refused or unknown.
	Access map[string]string `json:"access,omitempty"`
	Quota  quota             `json:"quota"`
}

type environment struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Default bool   `json:"default"`
}

type quota struct {
	Limit         int               `json:"limit"`
	WindowSeconds float64           `json:"window_seconds"`
	Used          int               `json:"used"` // by this command
	Refused       bool              `json:"refused"`
	Headers       map[string]string `json:"headers,omitempty"` // what the service says about it
}

// Command returns the command whoami.
func Command(a *cli.App) *cobra.Command {
	var access bool
	cmd := &cobra.Command{
		Use:   "whoami",
		Short: "Show which key and project are in use, and what the key may read",
		Long: `Show which key and project are in use, where they were found, and the quota.
It costs one request.

With --access it also lists the environments and tries to read one item of each
section, at 10 requests more. What the key may change cannot be known without
changing something, and is not tried.`,
		Example: `  connicctl whoami
  connicctl whoami --access -o json | jq .access`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.Client(cmd.Context(), connic.WithReadOnly())
			if err != nil {
				return err
			}
			found, err := a.Settings()
			if err != nil {
				return err
			}
			sum := sha256.Sum256([]byte(found.Key.Key))
			me := identity{
				Key: "sha256:" + hex.EncodeToString(sum[:6]), KeyFrom: found.Key.Name,
				BaseURL: found.URL, Project: found.Project.Project,
			}
			if me.BaseURL == "" {
				me.BaseURL = connic.DefaultBaseURL
			}
			var response connic.Response
			project, err := client.Project.Get(cmd.Context(), connic.CaptureResponse(&response))
			switch {
			case err == nil:
				me.Name = project.Name
			case !errors.Is(err, connic.ErrForbidden): // some keys may not read it
				return err
			}
			if access {
				if err := me.explore(cmd.Context(), a, client); err != nil {
					return err
				}
			}
			status := client.RateLimit()
			me.Quota = quota{status.Limit, status.Window.Seconds(), status.Used, status.Refusals > 0, limits(&response)}
			return cli.Item(a, &me, columns()...)
		},
	}
	cmd.Flags().BoolVar(&access, "access", false, "try what the key may read, at 10 requests")
	return cmd
}

// explore finds out what the key may read.
func (me *identity) explore(ctx context.Context, a *cli.App, client *connic.Client) error {
	me.Access = make(map[string]string)
	environmentID := a.EnvironmentID()
	environments, err := client.Environments.List(ctx, connic.WithMaxAttempts(1))
	if me.Access["environments"] = verdict(err); err == nil {
		cli.RememberEnvironments(a, environments.Items)
		for _, e := range environments.Items {
			me.Environments = append(me.Environments, environment{e.ID, e.Name, e.IsDefault})
			if environmentID == "" || e.IsDefault && a.EnvironmentID() == "" {
				environmentID = e.ID
			}
		}
	}
	reads := sections(ctx, client, environmentID)
	for _, section := range slices.Sorted(maps.Keys(reads)) {
		a.Progress.Show("reading %s", section)
		me.Access[section] = verdict(reads[section]())
	}
	return ctx.Err()
}

// sections returns the sections that keys have permissions for, each with a
// request that reads one item. Knowledge is read in an environment.
func sections(ctx context.Context, c *connic.Client, environmentID string) map[string]func() error {
	once := connic.WithMaxAttempts(1)
	return map[string]func() error{
		"agents":     func() error { _, err := c.Agents.List(ctx, &connic.AgentListParams{Limit: 1}, once); return err },
		"approvals":  func() error { _, err := c.Approvals.List(ctx, &connic.ApprovalListParams{Limit: 1}, once); return err },
		"audit-logs": func() error { _, err := c.AuditLogs.List(ctx, &connic.AuditLogListParams{Limit: 1}, once); return err },
		"budgets":    func() error { _, err := c.Budgets.List(ctx, &connic.BudgetListParams{Limit: 1}, once); return err },
		"connectors": func() error {
			_, err := c.Connectors.List(ctx, &connic.ConnectorListParams{Limit: 1}, once)
			return err
		},
		"deployments": func() error {
			_, err := c.Deployments.List(ctx, &connic.DeploymentListParams{Limit: 1}, once)
			return err
		},
		"judges": func() error { _, err := c.Judges.List(ctx, &connic.JudgeListParams{Limit: 1}, once); return err },
		"knowledge": func() error {
			_, err := c.Knowledge.List(ctx, &connic.EntryListParams{EnvironmentID: environmentID, Limit: 1}, once)
			return err
		},
		"runs": func() error { _, err := c.Runs.List(ctx, &connic.RunListParams{Limit: 1}, once); return err },
	}
}

// verdict says what a request shows of the access to its section.
func verdict(err error) string {
	switch {
	case err == nil:
		return "allowed"
	case errors.Is(err, connic.ErrForbidden):
		return "refused"
	}
	return "unknown"
}

// limits returns the headers about the quota.
func limits(r *connic.Response) map[string]string {
	found := make(map[string]string)
	for name, values := range r.Header {
		if lower := strings.ToLower(name); strings.Contains(lower, "ratelimit") || strings.Contains(lower, "rate-limit") {
			found[name] = strings.Join(values, ", ")
		}
	}
	return found
}

func columns() []cli.Column[*identity] {
	column := func(name string, value func(*identity) string) cli.Column[*identity] {
		return cli.Column[*identity]{Name: name, Value: value}
	}
	return []cli.Column[*identity]{
		column("key", func(me *identity) string { return me.Key + ", from " + me.KeyFrom }),
		column("project", func(me *identity) string { return strings.TrimSpace(me.Project + " " + me.Name) }),
		column("service", func(me *identity) string { return me.BaseURL }),
		column("environments", func(me *identity) string {
			var all []string
			for _, e := range me.Environments {
				all = append(all, e.Name+" ("+e.ID+")")
			}
			return strings.Join(all, ", ")
		}),
		column("may read", func(me *identity) string { return me.with("allowed") }),
		column("may not read", func(me *identity) string { return me.with("refused") }),
		column("not known", func(me *identity) string { return me.with("unknown") }),
		column("quota", func(me *identity) string { return me.Quota.text() }),
	}
}

// with returns the sections with an access.
func (me *identity) with(access string) string {
	var all []string
	for _, section := range slices.Sorted(maps.Keys(me.Access)) {
		if me.Access[section] == access {
			all = append(all, section)
		}
	}
	return strings.Join(all, ", ")
}

func (q quota) text() string {
	all := []string{fmt.Sprintf("%d requests in %v s", q.Limit, q.WindowSeconds)}
	if q.Refused {
		all = append(all, "spent at the moment")
	}
	for _, name := range slices.Sorted(maps.Keys(q.Headers)) {
		all = append(all, name+": "+q.Headers[name])
	}
	return strings.Join(all, ", ")
}
