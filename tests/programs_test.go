package tests

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic/internal/leaktest"
)

// programKey is the key of programs whose service repeats it.
const programKey = "cnc_CANARY-9f8e7d6c5b4a"

// programs are those that take the key from the environment, with arguments that
// make them use the service.
var programs = map[string][][]string{
	"examples/quickstart": {{"-agent", "a", "-timeout", "5s"}},
	"examples/approve":    {nil},
	"examples/costs":      {nil},
	"examples/deploy":     {{"project"}},
	"examples/knowledge":  {{"folder", "question"}},
	"examples/team":       {nil},
	"examples/typed":      {nil},
	"examples/worker":     {nil},
	"examples/bulk":       {{"-agent", "a", "inputs.jsonl"}},
	"cmd/connicctl": {
		{"agents", "trigger", "a", "x", "--timeout", "5s"},
		{"agents", "list"},
		{"runs", "list", "--debug"},
		{"runs", "get", "r", "-o", "json"},
		{"runs", "watch", "r", "--timeout", "5s"},
		{"audit", "export", "--file", "out.jsonl", "--timeout", "5s"},
		{"cost", "--csv", "costs.csv", "--html", "costs.html", "--timeout", "5s"},
		{"doctor"},
		{"doctor", "drift", "--live", "-o", "json"},
		{"gate", "cases.yaml", "--junit", "junit.xml", "--summary", "summary.md", "--journal", "state", "--timeout", "5s"},
		{"kb", "sync", "folder", "--timeout", "5s"},
		{"kb", "search", "x"},
	},
	"contrib/doctor/cmd/connic-doctor": {{"drift", "-live", "-yes"}, {"check"}, {"check", "-json"}},
}

// S12: no program prints or writes the key that its service repeats in errors.
func TestProgramsShowNoKey(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it builds all programs")
	}
	search := leaktest.For(programKey)
	cases, err := os.ReadFile("../cmd/connicctl/internal/gate/testdata/support.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for program, runs := range programs {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			binary := filepath.Join(t.TempDir(), "program")
			build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".")
			build.Dir = filepath.Join("..", program)
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			for name, answer := range map[string]struct {
				status int
				body   string
			}{
				"unauthorized": {401, `{"detail": "the key KEY is unknown, and so is BARE"}`}, "a list": {422, `{"detail": [{"loc": ["BARE"], "msg": "KEY", "type": "BARE"}]}`},
				"text": {403, "no \"BARE\"\n\x1b[31mKEY"}, "no JSON": {200, "BARE KEY"}, "another document": {200, `{"error": "BARE", "detail": "KEY"}`}, "not found": {404, "BARE"},
			} {
				fill := strings.NewReplacer("KEY", programKey, "BARE", programKey[4:])
				srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("X-Request-Id", programKey[4:])
					w.WriteHeader(answer.status)
					_, _ = io.WriteString(w, fill.Replace(answer.body))
				}))
				dir := t.TempDir()
				for file, text := range map[string]string{"cases.yaml": string(cases), "folder/a.txt": "text", "folder/a.md": "text", "inputs.jsonl": `{"id": "order-1", "message": "m"}`, "project/agents/a.yaml": "name: a"} {
					if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o700); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				var shown bytes.Buffer
				for _, args := range runs {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					run := exec.CommandContext(ctx, binary, args...)
					run.Dir = dir
					run.Env = append(os.Environ(), "CONNIC_API_KEY="+programKey, "CONNIC_PROJECT_ID=p-1", "CONNIC_API_URL="+srv.URL+"/v1", "CONNIC_ENVIRONMENT=e-1")
					before := shown.Len()
					run.Stdout, run.Stderr = &shown, &shown
					failed := run.Run()
					cancel()
					warns := strings.HasSuffix(program, "-doctor") || slices.Contains(args, "doctor") // and succeeds
					if failed == nil && !warns || shown.Len() == before {
						t.Errorf("%s: it says nothing of what failed: %v: %s", name, failed, shown.Bytes())
					}
				}
				srv.Close()
				err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
					if err != nil || d.IsDir() {
						return err
					}
					text, err := os.ReadFile(path)
					shown.Write(text)
					return err
				})
				if err != nil {
					t.Error(err)
				}
				if where := search.In(shown.String()); where != "" {
					t.Errorf("%s: %s", name, where)
				}
			}
		})
	}
}
