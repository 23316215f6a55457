// Command mutate tests the tests: it changes one operator or constant at a time,
// runs the tests that ought to fail, and prints the mutants that survive. It
// modifies no file of the tree: each mutant is a build overlay.
//
//	go run ./internal/bench/mutate -n 40 -seed 7
//	go run ./internal/bench/mutate -only internal/governor -n 0
//
// Mutants are drawn evenly from the groups. One that does not compile is replaced
// by another. Run it in the root of the module.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A group is a set of files and the tests for them: each a list of arguments of
// go test, the fastest first.
type group struct {
	files string // a pattern of filepath.Glob
	tests [][]string
}

const rates = "TestR[1-8]|TestP1[01]|Limit|Lane|Paus|Share|Refus|Spare|Place|Attack|RunsAway|Observer"

var groups = []group{
	{"internal/governor/*.go", [][]string{{"./internal/governor"}, {".", "-run", rates}}},
	{"internal/lenient/*.go", [][]string{{"./internal/lenient"}, {".", "-run", "Decode|Golden|S7|S6|Envelope|Salvage|Host|Answer|Retain|Diff|Null|Money|Whole"}}},
	{"internal/mask/*.go", [][]string{{"./internal/mask"}, {".", "-run", "S1|Mask|Key|Secret|Error"}}},
	{"retry.go", [][]string{{".", "-run", "Retry|Backoff|Budget|R4|R5|F1|Attempt|Status|Dial|TLS|Outage"}}},
	{"attempt.go", [][]string{{".", "-run", "Attempt|Retry|R4|R5|F1|F4|S2|Delete|Key|Runaway|RunAway|RunsAway|Slash|Timeout|Time|Event|Observer|Host"}}},
	{"watch.go", [][]string{{".", "-run", "Wait|Watch|Look|R6|R8|P11|Cancel|Progress|Trigger|Poll|Lists"}}},
	{"look.go", [][]string{{".", "-run", "Wait|Watch|Look|R6|R8|P11|Cancel|Progress|Trigger|Poll|Lists"}}},
	{"sighting.go", [][]string{{".", "-run", "Wait|Watch|Look|R6|R8|Progress|Poll|Lists"}}},
	{"deadline.go", [][]string{{".", "-run", "Deadline|Attempt|F4|Upload|RunAway|Time|Nested"}}},
	{"wire.go", [][]string{{".", "-run", "Wire|F1|Transports|Stale|Unsent|Dial|Reuse|Conn"}, {"-C", "tests", ".", "-run", "HTTP2"}}},
}

func main() {
	n := flag.Int("n", 30, "how many mutants to try; 0 tries all")
	seed := flag.Uint64("seed", 1, "of the sample")
	timeout := flag.Duration("timeout", 2*time.Minute, "of the tests of one mutant; one that does not end counts as noticed")
	only := flag.String("only", "", "the beginning of the paths to change")
	list := flag.Bool("list", false, "print the mutants and run nothing")
	flag.Parse()
	if err := run(*n, *seed, *timeout, *only, *list); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(n int, seed uint64, timeout time.Duration, only string, list bool) error {
	random := rand.New(rand.NewPCG(seed, 0))
	var lots [][]mutant
	for _, g := range groups {
		if !strings.HasPrefix(g.files, only) {
			continue
		}
		all, err := mutants(g)
		if err != nil {
			return err
		}
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		lots = append(lots, all)
	}
	total := 0
	for _, lot := range lots {
		total += len(lot)
	}
	fmt.Printf("%d mutants in %d groups, seed %d\n", total, len(lots), seed)
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	counts, passed := make(map[verdict]int), make(map[string]bool)
	var survivors []mutant
	for tried := 0; n == 0 || tried < n; {
		// One of each group in turn.
		lots = slices.DeleteFunc(lots, func(lot []mutant) bool { return len(lot) == 0 })
		if len(lots) == 0 {
			break
		}
		lot := lots[0]
		m := lot[0]
		lots = append(lots[1:], lot[1:])
		if list {
			fmt.Println(m)
			tried++
			continue
		}
		if err := baseline(m, passed, timeout); err != nil {
			return err
		}
		v, err := m.try(dir, timeout)
		if err != nil {
			return err
		}
		counts[v]++
		if v != invalid {
			tried++
		}
		fmt.Printf("%-9s %s\n", v, m)
		if v == survived {
			survivors = append(survivors, m)
		}
	}
	fmt.Printf("%d noticed, %d not in time, %d not noticed, %d do not compile\n", counts[noticed], counts[hung], counts[survived], counts[invalid])
	slices.SortFunc(survivors, func(a, b mutant) int { return cmp.Or(cmp.Compare(a.file, b.file), a.line-b.line) })
	for _, m := range survivors {
		fmt.Println(m)
	}
	return nil
}

// baseline fails if the tests of a mutant fail without the mutation. passed
// records those that passed.
func baseline(m mutant, passed map[string]bool, timeout time.Duration) error {
	for _, test := range m.tests {
		name := strings.Join(test, " ")
		if passed[name] {
			continue
		}
		if v, err := runTests("", test, timeout); err != nil || v != survived {
			return errors.Join(fmt.Errorf("go test %s fails without a change: %s", name, v), err)
		}
		passed[name] = true
	}
	return nil
}

// A verdict is the result of testing a mutant.
type verdict string

const (
	noticed  verdict = "noticed"
	hung     verdict = "hung"
	survived verdict = "SURVIVED"
	invalid  verdict = "invalid"
)

// try runs the tests of a mutant.
func (m *mutant) try(dir string, timeout time.Duration) (verdict, error) {
	source, err := os.ReadFile(m.file)
	if err != nil {
		return "", err
	}
	changed := filepath.Join(dir, "mutant.go")
	text := string(source[:m.from]) + m.after + string(source[m.to:])
	if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
		return "", err
	}
	original, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	encoded, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(overlay, encoded, 0o600); err != nil {
		return "", err
	}
	build := exec.CommandContext(context.Background(), "go", "build", "-overlay", overlay, "./"+filepath.Dir(m.file))
	if build.Run() != nil {
		return invalid, nil //nolint:nilerr // a mutant that does not compile is no finding
	}
	for _, test := range m.tests {
		v, err := runTests(overlay, test, timeout)
		if v != survived {
			return v, err
		}
	}
	return survived, nil
}

// runTests runs go test. A test that hangs leaves no process behind: go test
// kills it a minute after its time limit, unless it ends by itself.
func runTests(overlay string, test []string, timeout time.Duration) (verdict, error) {
	args := []string{"test"}
	if test[0] == "-C" {
		args, test = append(args, test[:2]...), test[2:]
	}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	args = append(args, "-count=1", "-failfast", "-vet=off", "-timeout", timeout.String())
	start := time.Now()
	err := exec.CommandContext(context.Background(), "go", append(args, test...)...).Run()
	var failed *exec.ExitError
	switch {
	case err == nil:
		return survived, nil
	case time.Since(start) >= timeout:
		return hung, nil
	case errors.As(err, &failed):
		return noticed, nil
	}
	return "", err
}
