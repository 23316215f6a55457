// Command coverage writes docs/api-coverage.md: every operation of the API, how
// it is known, and the methods that offer it. Run it in the root of the
// module, as go generate does.
package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/api/coverage/source"
)

var document = filepath.Join("docs", "api-coverage.md")

func main() {
	if err := write("."); err != nil {
		fmt.Fprintln(os.Stderr, "coverage:", err)
		os.Exit(1) //nolint:forbidigo // it is a program
	}
}

func write(root string) error {
	text, err := render(root)
	if err != nil {
		return err
	}
	path := filepath.Join(root, document)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as everything in a repository
		return err
	}
	return os.WriteFile(path, text, 0o644) //nolint:gosec // as everything in a repository
}

const preface = `<!-- Written by go generate, from internal/api/table.go and the comments of the methods. Do not edit. -->

# The API as this package knows it

The schemas of the Connic REST API are not public. Of its %d operations below, %d are documented, %d observed and %d
assumed. This table and the package are generated from the same source, so the table is what the methods do.

**Known** says how the operation is known:

- *documented*: the vendor's documentation of this API shows it;
- *observed*: the vendor's own command-line client calls it, and reads the fields that this package reads;
- *assumed*: it follows this package's convention. The last column says whether the vendor at least describes the
  capability in prose ("in words"). The route, parameters and fields may all turn out to be different.

**Permission** is the section and the access that a key needs; the text of a 403 names it. **Retries** says what
happens to a request that failed after it may have been executed. *Safe* operations change nothing, and *idempotent*
ones have the same effect when repeated, so both are retried. *Unsafe* operations do their work again each time, so
they are not retried, and the error is ` + "`ErrOutcomeUnknown`" + `.

## If the table is wrong

Use the operation's name to correct a route that turns out to be different:

` + "```go" + `
client, err := connic.New(project, key, connic.WithRoute("runs.list", "/projects/{project}/runs/search"))
` + "```" + `

` + "`WithQuery`" + ` adds a parameter to a call, ` + "`WithBodyField`" + ` a key to its body, ` + "`CaptureResponse`" + ` returns the response as it was received, and ` + "`Client.Do`" + ` calls operations that are not listed here.
`

// titles holds the headings, by the first part of an operation's name.
var titles = map[string]string{
	"agents": "Agents", "runs": "Runs", "knowledge": "Knowledge", "judges": "Judges", "budgets": "Budgets",
	"audit_logs": "Audit logs", "deployments": "Deployments", "project": "Project", "environments": "Environments",
	"test_runs": "Test runs", "dev_sessions": "Dev sessions", "bridges": "Bridges", "approvals": "Approvals", "connectors": "Connectors",
	"login": "Login",
}

func render(root string) ([]byte, error) {
	methods, err := source.Methods(root)
	if err != nil {
		return nil, err
	}
	marks := make(map[api.Mark]int)
	for i := range api.Table {
		marks[api.Table[i].Mark]++
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, preface, len(api.Table), marks[api.Documented], marks[api.Observed], marks[api.Assumed])
	section := ""
	for i := range api.Table {
		op := &api.Table[i]
		if first, _, _ := strings.Cut(op.Name, "."); first != section {
			section = first
			if titles[section] == "" {
				return nil, fmt.Errorf("the operations %s.* have no title", section)
			}
			fmt.Fprintf(&b, "\n## %s\n\n| Operation | Request | Go | Permission | Retries | Known | The vendor shows it |\n", titles[section])
			b.WriteString("| --- | --- | --- | --- | --- | --- | --- |\n")
		}
		fmt.Fprintf(&b, "| `%s` | `%s %s` | %s | %s | %s | %s | %s |\n", op.Name, op.Method, op.Route,
			names(op, source.Of(methods, op)), source.Access(op), op.Class, op.Mark, shown(op))
	}
	types, err := source.ParseTypes(root)
	if err != nil {
		return nil, err
	}
	fields(&b, types)
	b.WriteString(connectors)
	return b.Bytes(), nil
}

// connectors says how what is no operation of the API is known.
const connectors = `
## Connectors and chats

They are not part of this API, and have another host and secret. Of what the packages ` + "`connector` and `contrib/chat`" + ` send and read

- *documented* are the requests and responses of sync and inbound connectors, the signature of deliveries, the envelope of a run,
  that drains deliver arrays, and the messages of a chat, with the ` + "`chunk`" + ` of a text, and the ` + "`id` and `agent`" + ` that they repeat;
- *assumed* are how the timestamp of a signature is written, the names of the parts of a form, the keys of the items of drains, of
  approvals, errors and progress events, and that the messages of several agents interleave.
`

// fields writes how each field is known, according to its tag.
func fields(b *bytes.Buffer, types *source.Types) {
	b.WriteString("\n## Fields\n\nThe same in OpenAPI, with types: [openapi.json](openapi.json).\n\n" +
		"A field that holds an object or a list is also understood under its name with the suffix `_json`, as JSON or as a string that contains it.\n\n" +
		"| Field | On the wire | Known | Also understood |\n| --- | --- | --- | --- |\n")
	for _, name := range slices.Sorted(maps.Keys(types.Structs)) {
		for _, f := range types.Structs[name].Fields {
			known := string(f.Mark)
			if f.Words {
				known += ", in words"
			}
			if known == "" || !ast.IsExported(name) {
				continue // it is not sent, or not for use
			}
			others := make([]string, len(f.Aliases))
			for i := range f.Aliases {
				others[i] = "`" + f.Aliases[i] + "`"
			}
			fmt.Fprintf(b, "| `%s.%s` | `%s` | %s | %s |\n", name, f.Name, f.JSON, known, strings.Join(others, " "))
		}
	}
}

func names(op *api.Operation, methods []source.Method) string {
	if op.Keyless {
		return "`Login`"
	}
	if len(methods) == 0 {
		return "none yet"
	}
	texts := make([]string, len(methods))
	for i, m := range methods {
		texts[i] = "`" + m.String() + "`"
	}
	return strings.Join(texts, " ")
}

func shown(op *api.Operation) string {
	switch {
	case op.Mark == api.Documented:
		return "in its documentation"
	case op.Mark == api.Observed:
		return "in its own client"
	case op.Words:
		return "in words"
	default:
		return "no"
	}
}
