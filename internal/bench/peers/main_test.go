package main

import (
	"go/version"
	"runtime"
	"testing"

	"github.com/connic-go/connic/internal/bench/cases"
	"github.com/connic-go/connic/internal/bench/measure"
)

// Times are left to the command: they depend on what else the machine does.
// Allocations are compared on the lines of Go that the demands are made for and
// before: later ones decode into fewer, for the floor and for all who use the
// standard decoder.
func TestAheadOfEveryPeerInMemory(t *testing.T) { //nolint:paralleltest // it counts what the process allocates
	if raceDetector {
		t.Skip("the race detector allocates, and empties pools at random")
	}
	allocs := version.Compare(version.Lang(runtime.Version()), cases.DemandLine) <= 0
	table, err := allContests(allPeers())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range table {
		ratios := make([]measure.Ratio, len(c.who))
		for i := range c.who {
			floor, err := measure.Count(50, c.calls[2*i])
			if err != nil {
				t.Fatal(err)
			}
			client, err := measure.Count(50, c.calls[2*i+1])
			if err != nil {
				t.Fatal(err)
			}
			ratios[i] = client.Over(floor)
		}
		for i, r := range ratios[1:] {
			if r.Bytes <= ratios[0].Bytes || (allocs && r.Allocs <= ratios[0].Allocs) {
				t.Errorf("%s: %.2f of the floor's bytes and %.2f of its allocations, connic %.2f and %.2f",
					c.name+", "+c.who[i+1], r.Bytes, r.Allocs, ratios[0].Bytes, ratios[0].Allocs)
			}
		}
		if len(c.who) < 3 {
			t.Errorf("%s: %d peers", c.name, len(c.who)-1)
		}
	}
}
