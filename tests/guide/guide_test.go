// Package guide compiles and runs the code of the README, of docs/guide and of
// docs/llms.txt.
package guide

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// A block is a piece of Go in a document. What a program prints stands in a
// block of text right behind it.
type block struct {
	at, code, output string
	kind             int
}

const (
	program    = iota // starts with a package clause: built, and run
	test              // declares tests: they are run
	other             // declares something else: compiled
	statements        // what stands in a function: compiled
)

// parameters are what a block of statements may use without declaring it.
const parameters = `ctx context.Context, client *connic.Client, req connic.TriggerRequest, err error, run *connic.Run,
	w http.ResponseWriter, r *http.Request, projectID string, key connic.APIKey, secret connector.Secret`

var fence = regexp.MustCompile("(?ms)^```go\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?")

// blocks returns the Go in a document.
func blocks(t *testing.T, path string) (found []block) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, m := range fence.FindAllStringSubmatchIndex(text, -1) {
		b := block{at: fmt.Sprintf("%s:%d", filepath.Base(path), 2+strings.Count(text[:m[0]], "\n")), code: text[m[2]:m[3]]}
		if m[4] >= 0 {
			b.output = text[m[4]:m[5]]
		}
		file, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+b.code, 0)
		switch {
		case strings.HasPrefix(b.code, "package "):
			b.kind = program
		case err != nil:
			b.kind = statements
		case slices.ContainsFunc(file.Decls, func(d ast.Decl) bool {
			f, ok := d.(*ast.FuncDecl)
			return ok && strings.HasPrefix(f.Name.Name, "Test")
		}):
			b.kind = test
		default:
			b.kind = other
		}
		found = append(found, b)
	}
	return found
}

// packages are those that code in the documents may use without an import
// declaration.
var packages = map[string]string{
	"connic": "github.com/connic-go/connic", "connector": "github.com/connic-go/connic/connector",
	"connictest": "github.com/connic-go/connic/connictest", "redisquota": "github.com/connic-go/connic/contrib/redisquota",
	"connicotel": "github.com/connic-go/connic/contrib/otel", "chat": "github.com/connic-go/connic/contrib/chat",
	"redis": "github.com/redis/go-redis/v9", "synctest": "testing/synctest", "http": "net/http", "httptest": "net/http/httptest", "json": "encoding/json",
	"sql": "database/sql", "slog": "log/slog", "url": "net/url", "rand": "crypto/rand", "fs": "io/fs", "filepath": "path/filepath", "fstest": "testing/fstest",
	"tls": "crypto/tls", "x509": "crypto/x509",
}

// source returns a block as a file that stands by itself.
func (b block) source(t *testing.T) string {
	t.Helper()
	code := b.code
	switch b.kind {
	case program:
		return code
	case statements:
		code = "func _(" + parameters + ") error {\n{\n//line " + b.at + "\n" + code + "}\nreturn nil\n}\n"
	default:
		code = "//line " + b.at + "\n" + code
	}
	file, err := parser.ParseFile(token.NewFileSet(), "", "package guide\n"+code, 0)
	if err != nil {
		t.Fatalf("%s: %v", b.at, err)
	}
	imports := make(map[string]bool)
	for _, name := range file.Unresolved {
		if path := packages[name.Name]; path != "" {
			imports[path] = true
		} else if _, err := os.Stat(filepath.Join(goroot(), "src", name.Name)); err == nil && strings.Contains(b.code, name.Name+".") {
			imports[name.Name] = true
		}
	}
	head := "package guide\n\n"
	for _, path := range slices.Sorted(maps.Keys(imports)) {
		head += fmt.Sprintf("import %q\n", path)
	}
	if b.kind == statements {
		for _, path := range []string{"context", "net/http", packages["connic"], packages["connector"]} {
			if !imports[path] {
				head += fmt.Sprintf("import %q\n", path)
			}
		}
	}
	return head + code
}

func goroot() string {
	out, err := exec.CommandContext(context.Background(), "go", "env", "GOROOT").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// workspace makes a module in which the documents' code finds the modules of
// this repository, and writes the code there, each block that declares names in a
// folder of its own.
func workspace(t *testing.T, found []block) string {
	t.Helper()
	top, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	newest := "1.25.0"
	use := "use .\n"
	for _, module := range []string{".", "contrib/chat", "contrib/otel", "contrib/redisquota"} {
		mod, err := os.ReadFile(filepath.Join(top, module, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		if m := regexp.MustCompile(`(?m)^go (\S+)`).FindSubmatch(mod); m != nil {
			newest = max(newest, string(m[1])) // all of the form 1.2x.y
		}
		use += fmt.Sprintf("use %q\n", filepath.Join(top, module))
	}
	write("go.work", "go "+newest+"\n\n"+use)
	write("go.mod", "module guide\n\ngo 1.25.0\n")
	for i, b := range found {
		name := fmt.Sprintf("b%d/%s", i, [...]string{program: "main.go", test: "code_test.go", other: "code.go", statements: ""}[b.kind])
		if b.kind == statements { // they declare no name, and one package is compiled faster than many
			name = fmt.Sprintf("statements/b%d.go", i)
		}
		write(name, b.source(t))
	}
	return dir
}

// command runs a command in a folder and returns what it prints.
func command(t *testing.T, dir string, environ []string, args ...string) (stdout string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), environ...)
	var out, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errors
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w\n%s%s", strings.Join(args, " "), err, out.String(), errors.String())
	}
	return out.String(), nil
}

// TestTheGuide compiles each block of Go in the documents, runs the tests among
// them, and runs the programs against a fake.
func TestTheGuide(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../../docs/guide/*.md")
	if err != nil {
		t.Fatal(err)
	}
	var found []block
	kinds := make(map[int]int)
	for _, page := range append(pages, "../../README.md", "../../docs/choosing.md", "../../docs/doctor.md", "../../docs/llms.txt") {
		for _, b := range blocks(t, page) {
			found = append(found, b)
			kinds[b.kind]++
		}
	}
	if len(found) < 25 || kinds[program] < 5 || kinds[test] < 3 {
		t.Errorf("%d blocks, %d programs, %d with tests", len(found), kinds[program], kinds[test])
	}
	dir := workspace(t, found)
	// The packages are named after the blocks only; //line names the documents.
	build := []string{"GOFLAGS=-buildvcs=false -ldflags=-w", "GOWORK=" + filepath.Join(dir, "go.work")}
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := command(t, dir, build, "go", "test", "./..."); err != nil {
		t.Fatal(err)
	}
	if _, err := command(t, dir, build, "go", "build", "-o", "bin/", "./..."); err != nil {
		t.Fatal(err)
	}
	for i, b := range found {
		if b.kind != program {
			continue
		}
		bin := filepath.Join(dir, "bin", fmt.Sprintf("b%d", i))
		for name, awkward := range map[string]func(*testing.T, *connictest.Server){
			"plain": nil, "namespaces below": namespacesBelow, "slow ingestion": slowIngestion, "no ids of jobs": noJobs,
		} {
			t.Run(b.at+", "+name, func(t *testing.T) {
				t.Parallel()
				work := t.TempDir()
				srv := service(t, work)
				if awkward != nil {
					awkward(t, srv)
				}
				out, err := command(t, work, variables(srv, srv.Key()), bin)
				if err != nil {
					t.Fatal(err)
				}
				if out != b.output {
					t.Errorf("it prints\n%s\nand the page says\n%s", out, cmp.Or(b.output, "nothing"))
				}
			})
		}
		t.Run(b.at+", a key that may do nothing", func(t *testing.T) {
			t.Parallel()
			work := t.TempDir()
			srv := service(t, work)
			_, err := command(t, work, variables(srv, srv.Key("audit-logs:read")), bin)
			if err == nil || !strings.Contains(err.Error(), "403 Forbidden: Key lacks permission") || strings.Contains(err.Error(), "panic") || changes(srv) > 0 {
				t.Errorf("%d changes, %v", changes(srv), err)
			}
		})
	}
}

// namespacesBelow adds entries to a namespace below that of the guide: one with the
// id of a document there, and others.
func namespacesBelow(t *testing.T, srv *connictest.Server) {
	t.Helper()
	client := srv.Client(connic.WithEnvironment("env-production"))
	for _, id := range []string{"refunds.md", "orders~returns.md", "only-german.md"} {
		if _, err := client.Knowledge.UploadText(t.Context(), connic.TextUpload{EntryID: id, Namespace: "handbook.de", Content: "Auf Deutsch."}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		n := 0
		for _, e := range srv.State().Entries {
			if e.Namespace == "handbook.de" {
				n++
			}
		}
		if n != 3 {
			t.Errorf("%d entries of another namespace are left", n)
		}
	})
}

func slowIngestion(_ *testing.T, srv *connictest.Server) { srv.IngestionTime(3 * time.Second) }

func noJobs(_ *testing.T, srv *connictest.Server) {
	srv.Fault(connictest.Fault{Op: "knowledge.upload_text", Times: -1, Remove: []string{"job_id"}})
}

// changes counts the requests that were executed and are no reads.
func changes(srv *connictest.Server) (n int) {
	for _, r := range srv.Requests() {
		if r.Method != http.MethodGet && r.Status < 300 {
			n++
		}
	}
	return n
}

// service starts a fake for a program of the guide, and puts a folder of documents
// and one of agents where it works.
func service(t *testing.T, work string) *connictest.Server {
	t.Helper()
	srv := connictest.NewServer(t)
	srv.IngestionTime(0)
	answer := func(cost string) connictest.AgentFunc {
		return func(_ context.Context, in connictest.Input) (any, error) {
			in.Cost(cost, "EUR")
			return in.Message, nil
		}
	}
	srv.Agent("echo", answer("0.10"))
	srv.Agent("research", answer("2.50"))
	srv.Agent("payments", func(ctx context.Context, in connictest.Input) (any, error) {
		return in.RequestApproval(ctx, connictest.ApprovalRequest{ToolName: "pay", Arguments: map[string]any{"to": "DE02120300000000202051", "amount": 49.90}})
	})
	srv.Agent("slow", func(ctx context.Context, _ connictest.Input) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	for name, text := range map[string]string{
		"handbook/refunds.md": "Refunds are paid within 14 days.\n", "handbook/orders/returns.md": "Returns are free.\n",
		"agents-project/agents/greeter.yaml": "version: \"1.0\"\nname: greeter\ntype: llm\n",
	} {
		path := filepath.Join(work, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return srv
}

// variables lead a program to a fake.
func variables(srv *connictest.Server, key connic.APIKey) []string {
	return []string{
		"CONNIC_API_KEY=" + string(key), "CONNIC_PROJECT_ID=" + connictest.ProjectID,
		"CONNIC_API_URL=" + srv.URL(), "CONNIC_ENVIRONMENT=env-production",
	}
}
