package cases

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Consumer and Plain are programs that read a run: the first imports only the
// client, the second does it by hand.
const (
	Consumer = "consumer"
	Plain    = "plain"
)

// programs is the folder of both.
func programs() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "testdata")
}

// goTool runs the go command in the folder of the programs. It returns the
// output and the processor time.
func goTool(env []string, args ...string) (said string, worked time.Duration, err error) {
	cmd := exec.CommandContext(context.Background(), "go", args...)
	cmd.Dir, cmd.Env = programs(), append(os.Environ(), env...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, exit.Stderr)
	}
	if s := cmd.ProcessState; s != nil {
		worked = s.UserTime() + s.SystemTime()
	}
	return string(out), worked, err
}

// Built is the result of a build.
type Built struct {
	Size   int64         // of the binary, in bytes
	Took   time.Duration // wall-clock time
	Worked time.Duration // processor time, which depends less on the load of the machine
}

// Build builds a stripped program.
func Build(program, folder string, env ...string) (b Built, err error) {
	binary := filepath.Join(folder, program)
	start := time.Now()
	if _, b.Worked, err = goTool(env, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", binary, "./"+program); err != nil {
		return b, err
	}
	b.Took = time.Since(start)
	info, err := os.Stat(binary)
	if err != nil {
		return b, err
	}
	b.Size = info.Size()
	return b, nil
}

// BuildWarm builds the consumer with only the standard library in the build
// cache. The times are the minimum of several tries.
func BuildWarm(tries int) (best Built, err error) {
	folder, err := os.MkdirTemp("", "connic-bench-*")
	if err != nil {
		return best, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	cache := filepath.Join(folder, "cache")
	// The parts of the standard library that the consumer needs, with the flags
	// of Build.
	deps, _, err := goTool(nil, "list", "-deps", "-f", "{{if .Standard}}{{.ImportPath}}{{end}}", "./"+Consumer)
	if err != nil {
		return best, err
	}
	warm := append([]string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w"}, strings.Fields(deps)...)
	if _, _, err := goTool([]string{"GOCACHE=" + cache}, warm...); err != nil {
		return best, err
	}
	for i := range tries {
		copied := fmt.Sprint(cache, i)
		if err := os.CopyFS(copied, os.DirFS(cache)); err != nil {
			return best, err
		}
		b, err := Build(Consumer, folder, "GOCACHE="+copied)
		if err != nil {
			return best, err
		}
		if i > 0 {
			b.Took, b.Worked = min(b.Took, best.Took), min(b.Worked, best.Worked)
		}
		best = b
	}
	return best, nil
}

// LinkedBesides returns the modules that a program links besides the client's.
func LinkedBesides() ([]string, error) {
	const own = "github.com/connic-go/connic"
	out, _, err := goTool(nil, "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./"+Consumer)
	if err != nil {
		return nil, err
	}
	return distinct(strings.Fields(out), own), nil
}

// ListedBesides returns the modules that go list -m all shows for a program
// with the client, besides these two. They are those in go.sum, which go mod
// tidy keeps exact. The command itself would download files that no build
// needs.
func ListedBesides() ([]string, error) {
	sums, err := os.ReadFile(filepath.Join(programs(), "..", "..", "..", "..", "go.sum"))
	if err != nil {
		return nil, err
	}
	var modules []string
	for line := range strings.Lines(string(sums)) {
		module, _, _ := strings.Cut(line, " ")
		modules = append(modules, module)
	}
	return distinct(modules, ""), nil
}

func distinct(all []string, without string) []string {
	seen := map[string]bool{without: true}
	var once []string
	for _, s := range all {
		if !seen[s] {
			seen[s] = true
			once = append(once, s)
		}
	}
	return once
}
