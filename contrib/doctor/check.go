package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/mask"
)

// CheckRequests is the number of requests that [Check] costs: one for the
// project, one for its environments, and one for each section that a key may be
// allowed to read.
const CheckRequests = 9

// Verdict is the verdict on a line of a check.
type Verdict string

// The verdicts.
const (
	Good    Verdict = "ok"
	Note    Verdict = "note" // unknown, or worth knowing
	Caution Verdict = "warning"
	Bad     Verdict = "failed"
)

// A Line is the result of one check.
type Line struct {
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	Text    string  `json:"text"`
	Remedy  string  `json:"remedy,omitempty"`
}

// A Checkup is the result of [Check].
type Checkup struct {
	Lines    []Line `json:"lines"`
	Requests int    `json:"requests"`
}

// OK reports whether nothing failed.
func (c *Checkup) OK() bool {
	return !slices.ContainsFunc(c.Lines, func(l Line) bool { return l.Verdict == Bad })
}

func (c *Checkup) add(name string, verdict Verdict, text, remedy string) {
	c.Lines = append(c.Lines, Line{name, verdict, mask.Line(text, maxText), mask.Line(remedy, maxText)})
}

// WriteJSON writes the lines as JSON.
func (c *Checkup) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(c)
}

// WriteTable writes the lines as a table.
func (c *Checkup) WriteTable(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, l := range c.Lines {
		text := l.Text
		if l.Remedy != "" {
			text += " " + l.Remedy
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", l.Verdict, l.Name, text)
	}
	_, _ = fmt.Fprintf(table, "\t\tRequests sent: %d, all of them reads.\n", c.Requests)
	return table.Flush()
}

// A checking is a checkup in progress.
type checking struct {
	*Checkup
	client    *connic.Client
	latencies []time.Duration
	skews     []time.Duration
	limits    http.Header // what the service reports about the quota
	refused   bool        // with a 429
}

// Check determines what a client can do: which project it reaches, which
// environments exist, what its key may read, and the state of the quota and the
// clock. It sends at most [CheckRequests] requests, all of them reads, whatever
// the client retries or follows otherwise; what a
// key may write cannot be determined without writing, and Check says so. base
// is the base URL of the client, used to detect a proxy. The error is that of a
// context that ended.
func Check(ctx context.Context, client *connic.Client, base string) (*Checkup, error) {
	c := &checking{Checkup: new(Checkup), client: client, limits: http.Header{}}
	c.proxy(base)
	if !c.project(ctx) {
		return c.Checkup, ctx.Err()
	}
	environment := c.environments(ctx)
	for _, s := range sections {
		c.section(ctx, s, environment)
	}
	if err := ctx.Err(); err != nil {
		return c.Checkup, err
	}
	c.add("writing", Note, "What the key may write is not known: nothing was tried.",
		"The key list under Project Settings, API Keys shows it.")
	c.quota()
	c.clock()
	c.latency()
	return c.Checkup, nil
}

// get sends one request. The path is relative to the project.
func (c *checking) get(ctx context.Context, path string, query url.Values, out any) error {
	var response connic.Response
	began := time.Now()
	err := c.client.Do(ctx, http.MethodGet, path, query, nil, out, connic.CaptureResponse(&response), connic.WithMaxAttempts(1))
	ended := time.Now()
	c.Requests += response.Attempts
	if response.StatusCode == 0 {
		return err
	}
	if response.Attempts == 1 { // without waits in between
		c.latencies = append(c.latencies, response.Duration)
		if date, bad := http.ParseTime(response.Header.Get("Date")); bad == nil {
			// The header has whole seconds: take the middle of that second, and
			// of the round trip.
			c.skews = append(c.skews, date.Add(500*time.Millisecond).Sub(began.Add(ended.Sub(began)/2)))
		}
	}
	for name, values := range response.Header {
		if lower := strings.ToLower(name); strings.Contains(lower, "ratelimit") || strings.Contains(lower, "rate-limit") {
			c.limits[name] = values
		}
	}
	c.refused = c.refused || errors.Is(err, connic.ErrRateLimited)
	return err
}

func (c *checking) proxy(base string) {
	target, err := url.Parse(base)
	if err != nil {
		c.add("base URL", Bad, "The base URL cannot be read.", "See CONNIC_API_URL.")
		return
	}
	c.add("base URL", Good, target.Redacted()+".", "")
	through, err := http.ProxyFromEnvironment(&http.Request{URL: target})
	switch {
	case err != nil:
		c.add("proxy", Bad, "The proxy's URL cannot be read.", "See HTTPS_PROXY.")
	case through == nil:
		c.add("proxy", Good, "None is configured.", "")
	default:
		c.add("proxy", Caution, "Requests go through "+through.Host+".", "It must pass Authorization on and not cache responses. NO_PROXY bypasses it.")
	}
}

// project determines the project. Without a response, nothing else is
// requested.
func (c *checking) project(ctx context.Context) bool {
	var project struct{ ID, Name string }
	err := c.get(ctx, "", nil, &project)
	switch {
	case err == nil:
		c.add("key", Good, "Is valid.", "")
		c.add("project", Good, fmt.Sprintf("%s (%s).", project.Name, project.ID), "")
	case errors.Is(err, connic.ErrUnauthorized):
		c.add("key", Bad, "The service does not know the key, or it was revoked.", "Make one under Project Settings, API Keys, and set CONNIC_API_KEY.")
		return false
	case redirected(err) != "":
		c.add("project", Caution, redirected(err), "")
	case errors.Is(err, connic.ErrForbidden):
		c.add("project", Caution, "The key may not read the project, or belongs to another one.", "See CONNIC_PROJECT_ID.")
	case errors.Is(err, connic.ErrNotFound):
		c.add("project", Bad, "There is no such project.", "Check CONNIC_PROJECT_ID; the id is shown under Project Settings, General.")
	default:
		c.add("service", Bad, "It is unreachable, or does not respond as expected: "+reason(err), advice(err))
		return false
	}
	return true
}

// redirected describes a redirect, or returns "" if err is none. A check does
// not follow redirects: that would be a request more for each.
func redirected(err error) string {
	var answer *connic.Error
	if !errors.As(err, &answer) || answer.StatusCode < 300 || answer.StatusCode >= 400 {
		return ""
	}
	return "The service redirects the path to " + answer.Location + ". Calls follow that if only a trailing slash differs, with a request more."
}

// reason returns the text of an error of a request that has no name.
func reason(err error) string { return strings.TrimPrefix(err.Error(), "connic: do: ") + "." }

// advice returns what to do about a request without a response.
func advice(err error) string {
	var refusal *connic.Error
	switch {
	case errors.As(err, &refusal) && refusal.StatusCode >= 500:
		return "The service has a problem: try again later."
	case errors.As(err, &refusal):
		return "See CONNIC_API_URL."
	case errors.Is(err, context.DeadlineExceeded):
		return "Look for a firewall, or try with a larger --timeout."
	}
	return "Look at the network, the proxy and CONNIC_API_URL."
}

// environments lists the environments, and returns the one to use.
func (c *checking) environments(ctx context.Context) string {
	var list []struct {
		ID      string `json:"id"`
		Name    string `json:"name"`
		Type    string `json:"env_type"`
		Default bool   `json:"is_default"`
	}
	if err := c.get(ctx, "/environments", nil, &list); err != nil {
		switch {
		case errors.Is(err, connic.ErrForbidden):
			c.add("environments", Caution, "The key may not list them.", "Set the id of the environment in CONNIC_ENVIRONMENT, or with connic.WithEnvironment.")
		case redirected(err) != "":
			c.add("environments", Caution, redirected(err), "")
		default:
			c.add("environments", Bad, "They cannot be listed: "+reason(err), advice(err))
		}
		return ""
	}
	environment := ""
	names := make([]string, len(list))
	for i, e := range list {
		names[i] = e.Name
		if e.Type == "test" {
			names[i] += " (test)"
		}
		if e.Default {
			names[i] += " (default)"
		}
		if environment == "" || e.Default && e.Type != "test" {
			environment = e.ID
		}
	}
	if len(list) == 0 {
		c.add("environments", Caution, "There are none.", "")
		return ""
	}
	c.add("environments", Good, strings.Join(names, ", ")+".", "")
	return environment
}

// sections lists the sections, each with the list operation that tests it.
var sections = []api.Op{
	api.AgentsList, api.RunsList, api.KnowledgeList, api.JudgesList, api.BudgetsList, api.AuditLogsList, api.DeploymentsList,
}

func (c *checking) section(ctx context.Context, at api.Op, environment string) {
	op := &api.Table[at]
	name := op.Section + " read"
	query := url.Values{"limit": {"1"}}
	if op.Section == "knowledge" {
		if environment == "" {
			c.add(name, Note, "Not requested: no environment is known.", "")
			return
		}
		query.Set("environment_id", environment)
	}
	err := c.get(ctx, strings.TrimPrefix(op.Route, "/projects/{project}"), query, nil)
	switch {
	case err == nil:
		c.add(name, Good, "The key may.", "")
	case errors.Is(err, connic.ErrForbidden):
		c.add(name, Caution, "The key may not, or the operation is not part of the public API.", "Give it "+name+" under Project Settings, API Keys, if it is needed.")
	case errors.Is(err, connic.ErrNotFound):
		c.add(name, Caution, "There is nothing at "+op.Route+".", "The command drift of the doctor compares more; connic.WithRoute("+fmt.Sprintf("%q", op.Name)+", …) corrects it.")
	case redirected(err) != "":
		c.add(name, Caution, redirected(err), "")
	case errors.Is(err, connic.ErrRateLimited):
		c.add(name, Note, "Not known: the quota is spent.", "")
	default:
		c.add(name, Bad, "Not known: "+reason(err), advice(err))
	}
}

// quota reports what is left of the quota, as far as that is known.
func (c *checking) quota() {
	status := c.client.RateLimit()
	switch {
	case c.refused || status.Refusals > 0:
		c.add("quota", Caution, "It was spent: the service refused a request.", "Other programs use it too; see docs/reliability.md.")
	case len(c.limits) > 0:
		var texts []string
		for _, name := range slices.Sorted(keysOf(c.limits)) {
			texts = append(texts, name+": "+strings.Join(c.limits[name], ", "))
		}
		c.add("quota", Good, "The service says: "+strings.Join(texts, "; ")+".", "")
	default:
		c.add("quota", Good, fmt.Sprintf("At most %d of %d requests are left in %s. The service does not say what others use.",
			max(status.Limit-status.Used, 0), status.Limit, strings.TrimSuffix(status.Window.String(), "0s")), "")
	}
}

// maxSkew is the clock offset above which there are problems: webhooks are
// refused beyond 5 minutes, and dates in Retry-After depend on the clock.
const maxSkew = 30 * time.Second

func (c *checking) clock() {
	if len(c.skews) == 0 {
		c.add("clock", Note, "The service does not say what time it is.", "")
		return
	}
	slices.Sort(c.skews)
	skew := c.skews[len(c.skews)/2].Round(time.Second)
	if skew.Abs() > maxSkew {
		c.add("clock", Bad, fmt.Sprintf("It is off by %s.", skew.Abs()), "Set it: signatures of webhooks are refused when it is off by 5 minutes.")
		return
	}
	c.add("clock", Good, fmt.Sprintf("It is off by %s at most.", skew.Abs()+time.Second), "")
}

func (c *checking) latency() {
	if len(c.latencies) == 0 {
		return
	}
	slices.Sort(c.latencies)
	median, worst := c.latencies[len(c.latencies)/2], c.latencies[len(c.latencies)-1]
	verdict := Good
	if median > 2*time.Second {
		verdict = Caution
	}
	c.add("latency", verdict, fmt.Sprintf("%s in the median, %s at worst.", median.Round(time.Millisecond), worst.Round(time.Millisecond)), "")
}
