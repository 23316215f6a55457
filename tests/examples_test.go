package tests

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// fakeLine is the line of a short example that makes it use a fake.
var fakeLine = regexp.MustCompile(`(?m)^.*// Delete this line to use Connic\.\n`)

// Whoever copies a short example deletes one line, and the import that becomes
// unused. The program then needs credentials, and says which.
func TestExamplesWithoutTheFake(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it builds the examples")
	}
	for module, atLeast := range map[string]int{"../examples": 10, "../examples/contrib": 3} {
		t.Run(module, func(t *testing.T) {
			t.Parallel()
			files, err := filepath.Glob(module + "/*/main.go")
			if err != nil {
				t.Fatal(err)
			}
			bin, overlay := t.TempDir(), make(map[string]string)
			args := []string{"build", "-overlay", filepath.Join(bin, "overlay.json"), "-o", filepath.Join(bin, "bin") + "/"}
			var names []string
			for _, file := range files {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if len(fakeLine.FindAll(text, -1)) != 1 {
					continue // a larger program
				}
				name := filepath.Base(filepath.Dir(file))
				names, args = append(names, name), append(args, "./"+name)
				own := strings.Replace(fakeLine.ReplaceAllString(string(text), ""), "\t\"github.com/connic-go/connic/examples/internal/service\"\n", "", 1)
				copied, original := filepath.Join(bin, name+".go"), absolute(t, file)
				overlay[original] = copied
				if err := os.WriteFile(copied, []byte(own), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if len(names) < atLeast {
				t.Fatal("few examples have the line: ", names)
			}
			text, err := json.Marshal(map[string]any{"Replace": overlay})
			if err == nil {
				err = os.WriteFile(filepath.Join(bin, "overlay.json"), text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			build := exec.CommandContext(t.Context(), "go", args...)
			build.Dir = module
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			for _, name := range names {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				run := exec.CommandContext(ctx, filepath.Join(bin, "bin", name))
				run.Dir = t.TempDir()
				for _, v := range os.Environ() {
					if !strings.HasPrefix(v, "CONNIC_") && !strings.HasPrefix(v, "CHAT_") {
						run.Env = append(run.Env, v)
					}
				}
				out, err := run.CombinedOutput()
				cancel()
				if run.ProcessState.ExitCode() != 1 || !regexp.MustCompile(`^`+name+`: .*(CONNIC_API_KEY|CONNIC_SIGNING_SECRET|CHAT_URL)`).Match(out) {
					t.Errorf("%s: %v: %s", name, err, out)
				}
			}
		})
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
