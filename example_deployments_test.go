package connic_test

import (
	"context"
	"errors"
	"fmt"
	"testing/fstest"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// UploadFS packs and deploys a project folder. For files on disk, use
// os.DirFS("my-project").
func ExampleDeploymentsService_UploadFS() {
	srv := connictest.New()
	defer srv.Close()
	srv.PhaseTime(0) // makes this example fast
	client := srv.Client()
	ctx := context.Background()

	project := fstest.MapFS{
		"agents/support.yaml": {Data: []byte("name: support")},
		"tools/orders.py":     {Data: []byte("def orders(): ...")},
		".env":                {Data: []byte("stays at home")},
	}
	deployment, err := client.Deployments.UploadFS(ctx, project, nil)
	if err != nil {
		fmt.Println(err) // an *ArchiveError lists every offending file
		return
	}
	deployment, err = client.Deployments.Wait(ctx, deployment.ID)
	fmt.Println(deployment.Status, deployment.Agents, deployment.Active, err)
	// Output: deployed [support] true <nil>
}

// A pipeline runs the tests of a project before it deploys the project.
func ExampleTestRunsService_Wait() {
	srv := connictest.New()
	defer srv.Close()
	srv.PhaseTime(0)
	srv.Tests(func(connictest.UploadedProject) []connic.TestCase {
		return []connic.TestCase{{AgentName: "support", TestName: "refunds", Successes: 1, Runs: 4, FailureReason: "no order number"}}
	})
	client := srv.Client()
	ctx := context.Background()

	run, err := client.TestRuns.Create(ctx, connic.TestRunCreate{
		Project: fstest.MapFS{"tests/refunds.yaml": {Data: []byte("agent: support")}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = client.TestRuns.Wait(ctx, run.ID)
	var failed *connic.TestRunError
	if errors.As(err, &failed) {
		for _, c := range failed.TestRun.Failed() {
			fmt.Printf("%s/%s: %d %% of %d runs: %s\n", c.AgentName, c.TestName, c.PassRate(), c.Runs, c.FailureReason)
		}
	}
	// Output: support/refunds: 25 % of 4 runs: no order number
}
