// Bench compares the client with the same calls written by hand, and prints the
// table of ratios: time, bytes and allocations. Demands stand in parentheses, with
// an exclamation mark where they are missed.
//
//	go run ./internal/bench
package main

import (
	"fmt"
	"os"
	"runtime"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	fmt.Printf("%s, %d processors\n", runtime.Version(), runtime.GOMAXPROCS(0))
	fmt.Printf("%-30s %10s %10s  %-13s %9s %9s %-13s %7s %7s %s\n", "", "floor", "client", "time", "bytes", "bytes", "ratio", "allocs", "allocs", "ratio")
	pairs, err := memoryPairs()
	if err != nil {
		return err
	}
	loopback, err := wirePair()
	if err != nil {
		return err
	}
	pages, err := pagesPair()
	if err != nil {
		return err
	}
	for _, p := range append(pairs, loopback, pages) {
		a, b, err := compare(p.floor, p.sdk)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Println(row(p.name, a, b, p))
		if p.close != nil {
			p.close()
		}
	}
	fmt.Println()
	for _, f := range []func() (string, error){crowd, largeRun, construction, admission} {
		line, err := f()
		if err != nil {
			return err
		}
		fmt.Println(line)
	}
	return nil
}
