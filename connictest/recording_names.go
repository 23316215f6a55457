package connictest

import (
	"slices"
	"strings"

	"github.com/connic-go/connic/internal/mask"
	"github.com/connic-go/connic/internal/scrub"
)

// keptNames lists the members whose values are names of resources or words of the
// API, if they have the form of one.
var keptNames = []string{
	"action", "agent", "agent_name", "agents", "branch", "container_status", "content_type", "currency", "entry_status", "env_type", "environment_name", "field",
	"fallback_model", "group_by", "kind", "match_type", "mime_type", "mode", "model", "name", "namespace", "operator", "period", "phase", "resource_type", "scope",
	"status", "test_name", "tool_name", "tools", "trigger_mode", "type", "version", "format", "parent",
}

// private lists the members within which a name is none of a resource.
var private = []string{"actor", "user", "person", "author", "owner", "profile", "customer", "files"}

// ofPeople lists the members within which all values are of people, also those
// whose names are ones of the API.
var ofPeople = []string{"input", "output", "payload", "message", "content", "text", "metadata", "metadata_filter", "context", "run_context", "arguments", "attributes"}

// secretNames lists the members whose values are secrets, in lower case and
// without separators; others are those that end with one of secretEnds.
var (
	secretNames = []string{
		"devicecode", "usercode", "verificationurl", "verificationuri", "verificationuricomplete", "signature", "authorization", "dsn", "connectionstring",
		"credentials", "cookie", "pwd",
	}
	secretEnds = []string{"secret", "token", "password", "passwd", "apikey", "accesskey", "privatekey"}
)

// isSecretAt reports whether the value at a path is a secret.
func isSecretAt(path string) bool {
	names := strings.Split(path, ".")
	name := names[len(names)-1]
	if (slices.Contains(names, "config_json") || slices.Contains(names, "config")) && mask.SecretName(name) {
		return true
	}
	name = strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(name))
	return slices.Contains(secretNames, name) || slices.ContainsFunc(secretEnds, func(end string) bool { return strings.HasSuffix(name, end) })
}

// isName reports whether the value of a member is a name that stays. That of the
// project does not, since it is often the name of a company.
func (s *scrubber) isName(name, above string) bool {
	if s.people || !slices.Contains(keptNames, name) || slices.ContainsFunc(strings.Split(above, "."), func(name string) bool { return slices.Contains(ofPeople, name) }) {
		return false
	}
	return name != "name" || s.section != "project" && !slices.Contains(private, last(above))
}

// isResourceName reports whether a value has the form of the name of a resource,
// and none of an id or a key.
func isResourceName(value string) bool {
	return resourceName.MatchString(value) && !identifier.MatchString(value) && mask.Text(value) == value &&
		!slices.ContainsFunc(generated.FindAllString(value, -1), func(s string) bool { return strings.ContainsAny(s, "0123456789") })
}

// nouns are the kinds of the ids of operations.
var nouns = map[string]string{
	"agents": "agent", "runs": "run", "knowledge": "entry", "judges": "judge", "budgets": "budget", "audit_logs": "audit", "deployments": "deployment",
	"approvals": "approval", "connectors": "connector", "project": "project", "environments": "environment", "test_runs": "test-run", "dev_sessions": "session", "bridges": "bridge",
}

// kindOf returns the kind of the placeholder for an id: "run" for a run_id, and
// for the id of a run.
func (s *scrubber) kindOf(name, above string) string {
	kind := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "s"), "id"), "_")
	if kind == "" {
		kind = nouns[s.section]
		if above != "items" && above != "" {
			kind = strings.TrimSuffix(above, "s")
		}
	}
	if !scrub.IsName(kind) && kind != "test-run" {
		return "id"
	}
	return strings.ReplaceAll(kind, "_", "-")
}
