package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/bench/cases"
	"github.com/connic-go/connic/internal/bench/measure"
)

// acrossRounds is the number of turns of each toolchain.
const acrossRounds = 5

// floorAndClient holds the results of one case.
type floorAndClient struct {
	Floor  measure.Cost `json:"floor"`
	Client measure.Cost `json:"client"`
}

// turn measures the small reads and writes the results to standard output as
// JSON.
func turn() error {
	found := make(map[string]floorAndClient)
	var all []cases.Case
	for _, form := range cases.Forms {
		all = append(all, cases.Get(form), cases.List(form))
	}
	for _, c := range all {
		costs, err := measure.Compare(c.Floor, c.Client)
		if err != nil {
			return err
		}
		found[c.Name] = floorAndClient{costs[0], costs[1]}
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}

// across runs the same program with several toolchains in turn, and prints
// their times relative to the floor with the first one.
func across(toolchains []string) (err error) {
	folder, err := os.MkdirTemp("", "connic-bench-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	ctx := context.Background()
	for _, toolchain := range toolchains {
		build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(folder, toolchain), "github.com/connic-go/connic/internal/bench")
		build.Env, build.Stderr = append(os.Environ(), "GOTOOLCHAIN="+toolchain), os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("%s: %w", toolchain, err)
		}
	}
	best := make(map[string]floorAndClient)
	for range acrossRounds {
		for _, toolchain := range toolchains {
			out, err := exec.CommandContext(ctx, filepath.Join(folder, toolchain), "-turn").Output()
			if err != nil {
				return fmt.Errorf("%s: %w", toolchain, err)
			}
			var found map[string]floorAndClient
			if err := json.Unmarshal(out, &found); err != nil {
				return err
			}
			for name, f := range found {
				name = toolchain + " " + name
				if old, ok := best[name]; ok {
					f.Floor.Time, f.Client.Time = min(f.Floor.Time, old.Floor.Time), min(f.Client.Time, old.Client.Time)
				}
				best[name] = f
			}
		}
	}
	fmt.Printf("times in units of the floor's on %s\n%-42s %10s %10s %7s %7s\n", toolchains[0], "", "floor", "client", "floor", "client")
	var names []string
	for _, read := range []string{"GET 1 KB, memory, ", "list of 100, memory, "} {
		for _, form := range cases.Forms {
			names = append(names, read+form.Name)
		}
	}
	for _, name := range names {
		unit := float64(best[toolchains[0]+" "+name].Floor.Time)
		for _, toolchain := range toolchains {
			f := best[toolchain+" "+name]
			fmt.Printf("%-42s %10v %10v %7.2f %7.2f\n", strings.Join([]string{name, toolchain}, ", "),
				f.Floor.Time.Round(10*time.Nanosecond), f.Client.Time.Round(10*time.Nanosecond), float64(f.Floor.Time)/unit, float64(f.Client.Time)/unit)
		}
	}
	return nil
}
