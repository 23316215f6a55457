package cases

import (
	"fmt"
	"strings"

	"github.com/connic-go/connic/internal/bench/measure"
)

// Budget is what a case may cost.
type Budget struct {
	Name string
	// Demand is in units of the floor, as Go 1.26 runs it; 0 for none. Its bytes
	// and allocations are tested, its time is only reported: that depends on what
	// else the machine does. The floor is another one on other lines of Go, whose
	// decoder allocates more (1.25) or less (1.27).
	Demand measure.Ratio
	// Bytes and Allocs are what a call of the client takes on any line of Go, with
	// 3 % of the bytes to spare and next to nothing of the allocations. More than
	// that fails the test; whoever means it raises them here.
	Bytes, Allocs float64
}

// DemandLine is the line of Go that the demands are made for.
const DemandLine = "go1.26"

// Budgets are the budgets of [All] and [Large], by the beginning of their names:
// a case that comes in several forms has one budget, for the worst.
var Budgets = []Budget{
	{"GET 1 KB, memory", measure.Ratio{Time: 0.85, Bytes: 0.62, Allocs: 0.70}, 2_800, 20.1},
	{"GET with 30 spans, memory", measure.Ratio{Time: 0.85, Bytes: 0.62, Allocs: 0.70}, 26_500, 104},
	{"list of 100, memory", measure.Ratio{Time: 0.88, Bytes: 0.43, Allocs: 0.85}, 101_000, 640},
	{"POST, memory", measure.Ratio{Time: 0.95, Bytes: 0.70, Allocs: 1.00}, 2_160, 24.1},
	{"POST with a payload, memory", measure.Ratio{Time: 1.05, Bytes: 1.00, Allocs: 1.00}, 2_475, 27.1},
	{"404 with its message, memory", measure.Ratio{Time: 1.10, Bytes: 0.90, Allocs: 1.00}, 2_325, 22.1},
	{"GET 1 KB, loopback", measure.Ratio{Time: 0.95, Bytes: 0.75, Allocs: 0.97}, 6_200, 73.5},
	{"10,000 items on 100 pages", measure.Ratio{Bytes: 0.42}, 10_500_000, 64_200},
	{"upload of a file of 25 MiB", measure.Ratio{Time: 1.10}, 6_500, 95},
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

// Further budgets. Those that are texts are only reported.
const (
	Connections    = 64      // opened by 64 goroutines
	CrowdTime      = 1.10    // of the floor's, reported
	LargePeak      = 0.60    // heap of a run of 10 MB, of the floor's
	UploadPeak     = 4 << 20 // heap of the upload, in bytes
	LivePagesMost  = 2.0     // pages in use while a list is iterated over
	NewAllocs      = 19
	NewTime        = "2µs"
	AdmitTime      = "300ns" // and no allocation, which is tested
	AdmitCrowdTime = "10µs"
	LinkedModules  = 3 // beside the client's own
	ListedModules  = 8 // by go list -m all, beside the program's and the client's own
	BuildTime      = "1.5s"
	// BinaryRatio is that of two stripped programs that read a run, with the client
	// and with net/http and encoding/json. The demand is 1.08; go-retryablehttp
	// alone, which links regexp and log/slog, takes 1.05.
	BinaryRatio = 1.16
)
