package connictest_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// Inside a testing/synctest bubble an agent may work for an hour, and a call may
// wait for the quota, and the test still takes milliseconds. Call
// [connictest.New] inside the bubble, so that the fake uses its clock.
func Example_virtualTime() {
	runTest("Example_virtualTime", func(t *testing.T) { // func TestResearch(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			srv := connictest.New(t)
			srv.Agent("research", func(context.Context, connictest.Input) (any, error) {
				time.Sleep(time.Hour)
				return "found", nil
			})

			client, start := srv.Client(), time.Now()
			run, err := client.Agents.TriggerAndWait(t.Context(), "research", connic.TriggerRequest{Message: "look"})
			if err != nil {
				t.Fatal(err)
			}
			fmt.Println(run.Output, "after", time.Since(start).Truncate(time.Hour))

			start = time.Now()
			for range 61 { // one more than the quota
				if _, err := client.Project.Get(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			fmt.Println("61 calls took", time.Since(start).Truncate(time.Minute))
		})
	})
	// Output:
	// found after 1h0m0s
	// 61 calls took 1m0s
}

// runTest runs a test, which an example cannot start otherwise. The name is that
// of the example, so that -run and -skip treat both alike. What package testing
// prints goes to standard error, so that the output is that of the test alone.
func runTest(name string, test func(*testing.T)) {
	output := os.Stdout
	defer func() { os.Stdout = output }()
	os.Stdout = os.Stderr
	var once sync.Once // -count applies to the example, and again to RunTests
	testing.RunTests(regexp.MatchString, []testing.InternalTest{{Name: name, F: func(t *testing.T) {
		once.Do(func() {
			os.Stdout = output
			defer func() { os.Stdout = os.Stderr }()
			test(t)
		})
	}}})
}
