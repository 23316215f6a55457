package doctorcmd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/docs"
	"github.com/connic-go/connic/internal/api"
)

// The exit statuses.
const (
	well    = 0
	unwell  = 1
	unknown = 2
)

// programOf returns the program with a client that a test makes.
func programOf(in io.Reader, out, err io.Writer, client func(...connic.Option) (*connic.Client, error)) *Program {
	p := &Program{In: in, Out: out, Err: err, Client: func(_ context.Context, opts ...connic.Option) (*connic.Client, string, error) {
		c, err := client(opts...)
		return c, "", err
	}}
	p.Agree = p.agree
	return p
}

// console runs the program against a fake and returns what it prints.
func console(t *testing.T, srv *connictest.Server, in string, args ...string) (status int, out, complaints string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := programOf(strings.NewReader(in), &stdout, &stderr, func(opts ...connic.Option) (*connic.Client, error) { return srv.Client(opts...), nil })
	status = p.run(t.Context(), args)
	return status, stdout.String(), stderr.String()
}

func TestCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	same, other := filepath.Join(dir, "same.json"), filepath.Join(dir, "other.json")
	moved := bytes.Replace(docs.OpenAPI(), []byte(`"/projects/{project}/runs": {`), []byte(`"/projects/{project}/agent-runs": {`), 1)
	more := bytes.Replace(docs.OpenAPI(), []byte(`"/projects/{project}/runs": {`), []byte(`"/projects/{project}/compliance/systems": {"get": {}}, "/projects/{project}/runs": {`), 1)
	info := filepath.Join(dir, "more.json")
	for path, text := range map[string][]byte{same: docs.OpenAPI(), other: moved, info: more} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all := fmt.Sprintf("%d operations: %[1]d the same", len(api.Table))
	for _, test := range []struct {
		args   string
		in     string
		status int
		out    string // a part of it
		err    string // a part of it
	}{
		{"", "", well, "Requests sent: 9, all of them reads.", ""},
		{"-json", "", well, `"name": "project"`, ""},
		{"check -json", "", well, `"verdict": "ok"`, ""},
		{"drift " + same, "", well, all, ""},
		{"drift " + other, "", unwell, `connic.WithRoute("runs.list", "/projects/{project}/agent-runs")`, ""},
		{"drift -format json " + other, "", unwell, `"id": "path-moved"`, ""},
		{"drift " + info, "", well, "operation-more", ""},
		{"drift -fail info " + info, "", unwell, "operation-more", ""},
		{"drift -", string(docs.OpenAPI()), well, all, ""},
		{"drift -live", "", well, fmt.Sprintf("%d not requested", len(api.Table)-12), "At most 20 requests"},
		{"drift -live -items 3 -yes", "", well, "not requested", "At most 36 requests"},
		{"drift -live -items 3", "y\n", well, "not requested", "Continue?"},
		{"drift -live -items 3", "\n", unknown, "", "nothing was sent"},
		{"drift -live -items 3", "", unknown, "", "nothing was sent"},
		{"drift", "", unknown, "", "one document, or --live"},
		{"drift -live " + same, "", unknown, "", "one document, or --live"},
		{"drift -fail never " + same, "", unknown, "", "must be info"},
		{"drift -format html " + same, "", unknown, "", "must be markdown or json"},
		{"drift https://example.com/openapi.json", "", unknown, "", "takes a file"},
		{"drift " + dir + "/none.json", "", unknown, "", "no such file"},
		{"drift -", "<html>", unknown, "", "neither JSON nor YAML"},
		{"case", "", unknown, "", "takes one fixture"},
		{"case ../testdata/fixtures/runs.get.json", "", well, `"want": {`, ""},
		{"case " + same, "", unknown, "", "not a fixture"},
		{"dirft", "", unknown, "", "unknown command"},
		{"-help", "", well, "", "-json"},
	} {
		srv := connictest.New()
		status, out, complaints := console(t, srv, test.in, strings.Fields(test.args)...)
		srv.Close()
		if status != test.status || !strings.Contains(out, test.out) || !strings.Contains(complaints, test.err) {
			t.Errorf("%s: status %d, want %d\n%.2000s\n%s", test.args, status, test.status, out, complaints)
		}
	}
}

// A terminal or a pipe that says nothing ends with the program's context.
func TestInputThatHangs(t *testing.T) {
	t.Parallel()
	srv := connictest.New()
	defer srv.Close()
	for _, args := range []string{"drift -", "drift -live -items 3"} {
		ctx, interrupt := context.WithCancel(t.Context())
		in, write := io.Pipe()
		var stderr bytes.Buffer
		p := programOf(in, io.Discard, &stderr, func(opts ...connic.Option) (*connic.Client, error) { return srv.Client(opts...), nil })
		interrupt()
		if status := p.run(ctx, strings.Fields(args)); status != unknown || len(srv.Requests()) > 0 {
			t.Errorf("%s: status %d, %d requests", args, status, len(srv.Requests()))
		}
		write.Close()
	}
}

func TestFixturesAreKept(t *testing.T) {
	t.Parallel()
	srv := connictest.New()
	defer srv.Close()
	dir := filepath.Join(t.TempDir(), "fixtures")
	if status, _, complaints := console(t, srv, "", "drift", "-live", "-fixtures", dir); status != well {
		t.Fatal(complaints)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) != 12 { // the lists, the project, the environments, the usage
		t.Errorf("%d fixtures, %v", len(files), err)
	}
}

func TestWithoutAKey(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	p := programOf(nil, &bytes.Buffer{}, &stderr, func(...connic.Option) (*connic.Client, error) { return connic.New("p", "cnc_broken\nkey") })
	if status := p.run(t.Context(), nil); status != unknown || !strings.Contains(stderr.String(), "key") || strings.Contains(stderr.String(), "cnc_broken") {
		t.Errorf("status %d: %s", status, stderr.String())
	}
}
