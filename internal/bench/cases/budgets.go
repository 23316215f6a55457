package cases

import (
	"fmt"
	"strings"

	"github.com/connic-go/connic/internal/bench/measure"
)

// A Budget limits the cost of a case.
type Budget struct {
	Name string
	// Demand is relative to the floor with Go 1.26; 0 means none. Its bytes and
	// allocations are tested. Its time is only reported, because it depends on
	// the load of the machine. The floor differs between Go releases, because
	// their decoders allocate more (1.25) or less (1.27).
	Demand measure.Ratio
	// Bytes and Allocs limit a call of the client on any Go release. They leave
	// 3 % of the bytes and almost none of the allocations to spare. Anything
	// above fails the test; to accept it, raise them here.
	Bytes, Allocs float64
}

// DemandLine is the Go release to which the demands apply.
const DemandLine = "go1.26"

// Budgets holds the budgets of [All] and [Large], by the prefix of the case's
// name: a case in several forms has one budget, for the worst form.
var Budgets = []Budget{
	{"GET 1 KB, memory", measure.Ratio{Time: 0.85, Bytes: 0.62, Allocs: 0.70}, 2_800, 20.1},
	{"GET with 30 spans, memory", measure.Ratio{Time: 0.85, Bytes: 0.62, Allocs: 0.70}, 26_500, 104},
	{"list of 100, memory", measure.Ratio{Time: 0.88, Bytes: 0.43, Allocs: 0.85}, 101_000, 640},
	{"POST, memory", measure.Ratio{Time: 0.95, Bytes: 0.70, Allocs: 1.00}, 2_160, 24.1},
	{"POST with a payload, memory", measure.Ratio{Time: 1.05, Bytes: 1.00, Allocs: 1.00}, 2_475, 27.1},
	{"404 with its message, memory", measure.Ratio{Time: 1.10, Bytes: 0.90, Allocs: 1.00}, 2_325, 22.1},
	{"GET 1 KB, loopback", measure.Ratio{Time: 0.95, Bytes: 0.75, Allocs: 0.97}, 6_200, 73.5},
	{"10,000 items on 100 pages", measure.Ratio{Bytes: 0.42}, 10_500_000, 64_200},
	{"upload of a file of 25 MiB", measure.Ratio{Time: 1.10}, 7_000, 95},
	{"run of 10 MB", measure.Ratio{Time: 0.85}, 20_650_000, 35_800},
}

// BudgetOf returns the budget of a case.
func BudgetOf(name string) (Budget, error) {
	for _, b := range Budgets {
		if name == b.Name || strings.HasPrefix(name, b.Name+", ") {
			return b, nil
		}
	}
	return Budget{}, fmt.Errorf("no budget for %s", name)
}

// Further budgets. Those that are strings are only reported.
const (
	Connections     = 64      // opened by 64 goroutines
	ConcurrentTime  = 1.10    // relative to the floor; only reported
	LargePeak       = 0.60    // heap for a run of 10 MB, relative to the floor
	UploadPeak      = 4 << 20 // heap of the upload, in bytes
	LivePagesMost   = 2.0     // pages in use during an iteration over a list
	NewAllocs       = 19
	NewTime         = "2µs"
	AdmitTime       = "300ns" // and no allocation, which is tested
	AdmitQueuedTime = "10µs"
	LinkedModules   = 3 // besides the client's
	ListedModules   = 8 // by go list -m all, besides those of the program and the client
	BuildTime       = "1.5s"
	// BinaryRatio compares two stripped programs that read a run, one with the
	// client and one with net/http and encoding/json. The demand is 1.08.
	// go-retryablehttp alone, which links regexp and log/slog, takes 1.05.
	BinaryRatio = 1.18
)
