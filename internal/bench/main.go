// Bench compares the client with the same calls written by hand, and prints a
// table of ratios: time, bytes and allocations. Demands are in parentheses, with
// an exclamation mark if they are missed.
//
//	go run ./internal/bench
//
// Other measurements replace the table:
//
//	go run ./internal/bench -build                       modules, binary, build
//	go run ./internal/bench -across go1.26.8,go1.27.4    two toolchains in turn
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/bench/cases"
	"github.com/connic-go/connic/internal/bench/measure"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	programs := flag.Bool("build", false, "measure modules, binary size and build time")
	toolchains := flag.String("across", "", "measure the small reads under these `toolchains` in turn")
	one := flag.Bool("turn", false, "one turn of -across")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flag.Arg(0))
	}
	switch {
	case *one:
		return turn()
	case *toolchains != "":
		return across(strings.Split(*toolchains, ","))
	}
	fmt.Printf("%s, %d processors\n", runtime.Version(), runtime.GOMAXPROCS(0))
	if *programs {
		return build()
	}
	return table()
}

// build measures a program with the client. Its size has a demand; the build
// time has none, because it depends on the load of the machine.
func build() error {
	folder, err := os.MkdirTemp("", "connic-bench-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	linked, err := cases.LinkedBesides()
	if err != nil {
		return err
	}
	listed, err := cases.ListedBesides()
	if err != nil {
		return err
	}
	client, err := cases.Build(cases.Consumer, folder)
	if err != nil {
		return err
	}
	plain, err := cases.Build(cases.Plain, folder)
	if err != nil {
		return err
	}
	warm, err := cases.BuildWarm(3)
	if err != nil {
		return err
	}
	r := float64(client.Size) / float64(plain.Size)
	fmt.Printf("modules: %d linked (%d), %d listed (%d)\n", len(linked), cases.LinkedModules, len(listed), cases.ListedModules)
	fmt.Printf("stripped binary: %d and %d bytes, ratio %.3f%s\n", plain.Size, client.Size, r, mark(r, cases.BinaryRatio))
	fmt.Printf("build with a warm standard library: %v (%s), %v of the processors\n",
		warm.Took.Round(10*time.Millisecond), cases.BuildTime, warm.Worked.Round(10*time.Millisecond))
	if r > cases.BinaryRatio || len(linked) > cases.LinkedModules || len(listed) > cases.ListedModules {
		return errors.New("a program with the client weighs more than it may")
	}
	return nil
}

func table() error {
	fmt.Printf("%-34s %10s %10s  %-13s %9s %9s %-13s %7s %7s %s\n", "", "floor", "client", "time", "bytes", "bytes", "ratio", "allocs", "allocs", "ratio")
	all, err := cases.All()
	if err != nil {
		return err
	}
	for _, c := range all {
		err := row(c)
		c.Close()
		if err != nil {
			return err
		}
	}
	fmt.Println()
	for _, line := range []func() error{livePages, concurrent, heap, construction, admission} {
		if err := line(); err != nil {
			return err
		}
	}
	return nil
}

// mark returns a demand, with an exclamation mark if it is missed.
func mark(got, want float64) string {
	switch {
	case want == 0:
		return ""
	case got <= want:
		return fmt.Sprintf(" (%.2f)", want)
	default:
		return fmt.Sprintf(" (%.2f!)", want)
	}
}

func row(c cases.Case) error {
	budget, err := cases.BudgetOf(c.Name)
	if err != nil {
		return err
	}
	costs, err := measure.Compare(c.Floor, c.Client)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	a, b, want := costs[0], costs[1], budget.Demand
	r := b.Over(a)
	fmt.Printf("%-34s %10v %10v  %5.2f%-8s %9.0f %9.0f %5.2f%-8s %7.0f %7.0f %5.2f%s\n", c.Name,
		a.Time.Round(100*time.Nanosecond), b.Time.Round(100*time.Nanosecond), r.Time, mark(r.Time, want.Time),
		a.Bytes, b.Bytes, r.Bytes, mark(r.Bytes, want.Bytes), a.Allocs, b.Allocs, r.Allocs, mark(r.Allocs, want.Allocs))
	return nil
}

func livePages() error {
	one, most, err := cases.LivePages()
	if err != nil {
		return err
	}
	pages := float64(most) / float64(one)
	fmt.Printf("heap in use while 10,000 items are iterated over: %.2f pages%s of %d kB\n", pages, mark(pages, cases.LivePagesMost), one>>10)
	return nil
}

func concurrent() error {
	floor, client, err := cases.Concurrent(10)
	if err != nil {
		return err
	}
	r := float64(client.Time) / float64(floor.Time)
	fmt.Printf("64 goroutines, loopback: %v and %v for %d requests, ratio %.2f%s; %d connections (%d)\n",
		floor.Time.Round(time.Millisecond), client.Time.Round(time.Millisecond), measure.ConcurrentRequests,
		r, mark(r, cases.ConcurrentTime), client.Connections, cases.Connections)
	return nil
}

// heap measures the large cases.
func heap() error {
	const mb = 1 << 20
	large, err := cases.Large()
	if err != nil {
		return err
	}
	if err := row(large); err != nil {
		return err
	}
	a, b, err := large.Peaks(3)
	if err != nil {
		return err
	}
	r := float64(b) / float64(a)
	fmt.Printf("%s: peak heap %.1f and %.1f MB, ratio %.2f%s\n", large.Name, float64(a)/mb, float64(b)/mb, r, mark(r, cases.LargePeak))
	up, err := cases.Upload()
	if err != nil {
		return err
	}
	defer up.Close()
	if a, b, err = up.Peaks(3); err != nil {
		return err
	}
	fmt.Printf("%s: peak heap %.2f and %.2f MB%s\n", up.Name, float64(a)/mb, float64(b)/mb, mark(float64(b)/mb, cases.UploadPeak/mb))
	return nil
}

func construction() error {
	costs, err := measure.Compare(cases.Construct)
	if err != nil {
		return err
	}
	goroutines, err := cases.ConstructGoroutines()
	if err != nil {
		return err
	}
	c := costs[0]
	fmt.Printf("New: %v (%s), %.0f bytes, %.0f allocations (%d), %d goroutines (0)\n", c.Time, cases.NewTime, c.Bytes, c.Allocs, cases.NewAllocs, goroutines)
	return nil
}

func admission() error {
	costs, err := measure.Compare(cases.Admit())
	if err != nil {
		return err
	}
	fmt.Printf("admission: %v (%s), %.0f allocations (0); with 1,000 in line %v (%s)\n",
		costs[0].Time, cases.AdmitTime, costs[0].Allocs, cases.AdmitQueued(), cases.AdmitQueuedTime)
	return nil
}
