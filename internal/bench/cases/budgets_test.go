package cases

import (
	"runtime"
	"strings"
	"testing"

	"github.com/connic-go/connic/internal/bench/measure"
)

// The tests of this file count what the whole process allocates, so they run one
// after the other.

// callsOf is how many calls a case is counted by.
func callsOf(name string) int {
	switch budget, _ := BudgetOf(name); budget.Name {
	case "10,000 items on 100 pages", "upload of a file of 25 MiB", "run of 10 MB":
		return 3
	case "list of 100, memory", "GET with 30 spans, memory":
		return 30
	case "GET 1 KB, loopback":
		return 200
	}
	return 1000
}

func TestBudgets(t *testing.T) { //nolint:paralleltest // it counts what the process allocates
	if raceDetector {
		t.Skip("the race detector allocates, and empties pools at random")
	}
	cases, err := All()
	if err != nil {
		t.Fatal(err)
	}
	large, err := Large()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range append(cases, large) { //nolint:paralleltest // as above
		t.Run(c.Name, func(t *testing.T) {
			defer c.Close()
			budget, err := BudgetOf(c.Name)
			if err != nil {
				t.Fatal(err)
			}
			floor, err := measure.Count(callsOf(c.Name), c.Floor)
			if err != nil {
				t.Fatal(err)
			}
			client, err := measure.Count(callsOf(c.Name), c.Client)
			if err != nil {
				t.Fatal(err)
			}
			got, want := client.Over(floor), budget.Demand
			t.Logf("%.0f bytes (%.2f of the floor's), %.1f allocations (%.2f)", client.Bytes, got.Bytes, client.Allocs, got.Allocs)
			if !strings.HasPrefix(runtime.Version(), DemandLine) {
				want = measure.Ratio{}
			}
			if want.Bytes > 0 && got.Bytes > want.Bytes {
				t.Errorf("%.3f of the floor's bytes, demanded are %.2f", got.Bytes, want.Bytes)
			}
			if want.Allocs > 0 && got.Allocs > want.Allocs {
				t.Errorf("%.3f of the floor's allocations, demanded are %.2f", got.Allocs, want.Allocs)
			}
			if client.Bytes > budget.Bytes {
				t.Errorf("%.0f bytes, the budget is %.0f", client.Bytes, budget.Bytes)
			}
			if client.Allocs > budget.Allocs {
				t.Errorf("%.1f allocations, the budget is %.1f", client.Allocs, budget.Allocs)
			}
		})
	}
}

// TestConnectionsOfManyGoroutines tries again where there were more: net/http gives a
// connection up if the goroutine that wrote to it is not scheduled for 50 ms
// after the answer, which a busy machine brings about now and then.
func TestConnectionsOfManyGoroutines(t *testing.T) { //nolint:paralleltest // it opens 128 connections
	var opened []int64
	for range 3 {
		_, client, err := Concurrent(1)
		if err != nil {
			t.Fatal(err)
		}
		if client.Connections <= Connections {
			return
		}
		opened = append(opened, client.Connections)
	}
	t.Errorf("64 goroutines opened %d connections, the budget is %d", opened, Connections)
}

func TestHeapBudgets(t *testing.T) { //nolint:paralleltest // it samples the heap of the process
	if raceDetector {
		t.Skip("the race detector allocates, and empties pools at random")
	}
	large, err := Large()
	if err != nil {
		t.Fatal(err)
	}
	floor, client, err := large.Peaks(3)
	if err != nil {
		t.Fatal(err)
	}
	if got := float64(client) / float64(floor); got > LargePeak {
		t.Errorf("%s: %.2f of the floor's peak heap, demanded are %.2f", large.Name, got, LargePeak)
	}
	up, err := Upload()
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	if _, client, err = up.Peaks(3); err != nil || client > UploadPeak {
		t.Errorf("%s: the heap grew by %d bytes, the budget is %d: %v", up.Name, client, UploadPeak, err)
	}
	one, most, err := LivePages()
	if err != nil || float64(most) > LivePagesMost*float64(one) {
		t.Errorf("%d bytes in use while a list is iterated over, and %d for one page: %v", most, one, err)
	}
}

func TestConstructionBudget(t *testing.T) { //nolint:paralleltest // it counts what the process allocates
	if raceDetector {
		t.Skip("the race detector allocates, and empties pools at random")
	}
	cost, err := measure.Count(1000, Construct)
	if err != nil || cost.Allocs > NewAllocs {
		t.Errorf("New: %.1f allocations, the budget is %d: %v", cost.Allocs, NewAllocs, err)
	}
	if n, err := ConstructGoroutines(); err != nil || n > 0 {
		t.Errorf("New started %d goroutines: %v", n, err)
	}
	// Less than one in a thousand calls: the limiter's ring grows once.
	if cost, err = measure.Count(1000, Admit()); err != nil || cost.Allocs > 0.01 {
		t.Errorf("admission: %.3f allocations: %v", cost.Allocs, err)
	}
}
