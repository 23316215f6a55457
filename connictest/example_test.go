package connictest_test

import (
	"context"
	"errors"
	"fmt"
	"testing/fstest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// quickly is for these examples, which run in real time.
var quickly = connic.WithPoll(time.Millisecond, 10*time.Millisecond)

// An agent is a function. In a test, use connictest.New(t): the fake is then
// closed automatically, and requests that break the rules fail the test.
func Example() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("support", func(_ context.Context, in connictest.Input) (any, error) {
		return "You said: " + in.Message, nil
	})

	run, err := srv.Client().Agents.TriggerAndWait(context.Background(), "support", connic.TriggerRequest{Message: "hello"}, quickly)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(run.Output)
	fmt.Println(srv.Executions("agents.trigger"), "trigger")
	// Output:
	// You said: hello
	// 1 trigger
}

// A key without a permission is refused as the service would refuse it.
func ExampleServer_Key() {
	srv := connictest.New()
	defer srv.Close()
	client := srv.ClientWithKey(srv.Key("runs:read"))

	_, err := client.Agents.List(context.Background(), nil)
	fmt.Println(errors.Is(err, connic.ErrForbidden))
	_, err = client.Runs.List(context.Background(), nil)
	fmt.Println(err)
	// Output:
	// true
	// <nil>
}

// Another program has used up the quota. With FailFast a call does not wait for
// it.
func ExampleServer_Spend() {
	srv := connictest.New()
	defer srv.Close()
	srv.RateLimit(60, time.Minute, connictest.SlidingWindow)
	srv.Spend(60)

	_, err := srv.Client().Runs.List(context.Background(), nil, connic.FailFast())
	fmt.Println(errors.Is(err, connic.ErrRateLimited))
	fmt.Println(srv.State().Quota.Left, "requests are left")
	// Output:
	// true
	// 0 requests are left
}

// The error of an agent becomes the error of its run.
func ExampleServer_Agent_fails() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("support", func(context.Context, connictest.Input) (any, error) {
		return nil, errors.New("the model is overloaded")
	})

	run, err := srv.Client().Agents.TriggerAndWait(context.Background(), "support", connic.TriggerRequest{Message: "hello"}, quickly)
	var failed *connic.RunError
	fmt.Println(errors.As(err, &failed), run.Status, run.Error)
	// Output:
	// true failed the model is overloaded
}

// A run waits until it is approved.
func ExampleServer_Approve() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("payments", func(ctx context.Context, in connictest.Input) (any, error) {
		if err := in.AwaitApproval(ctx); err != nil {
			return nil, err
		}
		return "paid", nil
	})
	client, ctx := srv.Client(), context.Background()

	run, err := client.Agents.TriggerAndWait(ctx, "payments", connic.TriggerRequest{Message: "pay"}, quickly, connic.StopAtApproval())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(run.Status)
	srv.Approve(run.ID)
	run, err = client.Runs.Wait(ctx, run.ID, quickly)
	fmt.Println(run.Output, err)
	// Output:
	// awaiting_approval
	// paid <nil>
}

// An upload can be found once its ingestion has completed.
func ExampleServer_IngestionTime() {
	srv := connictest.New()
	defer srv.Close()
	srv.IngestionTime(30 * time.Millisecond)
	client, ctx := srv.Client(connic.WithEnvironment("env-production")), context.Background()

	ingestion, err := client.Knowledge.UploadText(ctx, connic.TextUpload{Content: "Refunds take five days.", EntryID: "refunds"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(ingestion.Status.Finished(), len(srv.State().Entries))
	job, err := client.Knowledge.WaitJob(ctx, ingestion.JobID, nil, quickly)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(job.Status, len(srv.State().Entries))
	// Output:
	// false 0
	// completed 1
}

// The cases of a project's test suites pass unless a function says otherwise.
func ExampleServer_Tests() {
	srv := connictest.New()
	defer srv.Close()
	srv.PhaseTime(0)
	srv.Tests(func(p connictest.UploadedProject) []connic.TestCase {
		for i := range p.Cases {
			if c := &p.Cases[i]; c.TestName == "refunds" {
				c.Passed, c.Successes, c.FailureReason = false, 0, "no order number"
			}
		}
		return p.Cases
	})
	project := fstest.MapFS{
		"agents/support.yaml": {Data: []byte("name: support\n")},
		"tests/support.yaml":  {Data: []byte("tests:\n  - name: greets\n    payload: hello\n  - name: refunds\n    payload: refund\n")},
	}

	client, ctx := srv.Client(), context.Background()
	deployment, err := client.Deployments.UploadFS(ctx, project, &connic.UploadParams{EnvironmentID: "env-production"})
	if err != nil {
		fmt.Println(err)
		return
	}
	deployment, err = client.Deployments.Wait(ctx, deployment.ID, quickly)
	var failed *connic.DeploymentError
	fmt.Println(errors.As(err, &failed), deployment.Status, deployment.Error)
	// Output:
	// true failed The test refunds failed
}

// A used-up budget keeps new runs queued.
func ExampleInput_Cost() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("support", func(_ context.Context, in connictest.Input) (any, error) {
		in.Cost("0.60", connic.EUR)
		return "done", nil
	})
	client, ctx := srv.Client(), context.Background()
	amount, err := connic.ParseDecimal("0.50")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = client.Budgets.Create(ctx, connic.BudgetCreate{
		Name: "daily", Kind: connic.BudgetLimit, Scope: connic.BudgetGlobal, Period: connic.BudgetDaily, Amount: amount, Currency: connic.EUR,
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	run, err := client.Agents.TriggerAndWait(ctx, "support", connic.TriggerRequest{Message: "first"}, quickly)
	fmt.Println(run.Status, err)
	second, err := client.Agents.Trigger(ctx, "support", connic.TriggerRequest{Message: "second"})
	if err != nil {
		fmt.Println(err)
		return
	}
	time.Sleep(10 * time.Millisecond)
	run, err = client.Runs.Get(ctx, second.RunID)
	fmt.Println(run.Status, err)
	// Output:
	// completed <nil>
	// queued <nil>
}

// The trigger is executed, but its response is lost. The client does not send
// it again, and reports that the outcome is unknown.
func ExampleServer_Fault() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("support", func(context.Context, connictest.Input) (any, error) { return "done", nil })
	srv.Fault(connictest.Fault{Op: "agents.trigger", After: true, Drop: true})

	_, err := srv.Client().Agents.Trigger(context.Background(), "support", connic.TriggerRequest{Message: "hello"})
	fmt.Println(errors.Is(err, connic.ErrOutcomeUnknown))
	fmt.Println(srv.Executions("agents.trigger"), "run was started")
	// Output:
	// true
	// 1 run was started
}

// A successful response has an unknown status.
func ExampleServer_Fault_alter() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("support", func(context.Context, connictest.Input) (any, error) { return "done", nil })
	srv.Fault(connictest.Fault{Op: "agents.trigger", Set: map[string]any{"status": "pondering"}, Remove: []string{"agent_name"}})

	result, err := srv.Client().Agents.Trigger(context.Background(), "support", connic.TriggerRequest{Message: "hello"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(result.Status, result.Status.Known())
	// Output:
	// pondering false
}
