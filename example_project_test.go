package connic_test

import (
	"context"
	"fmt"
	"testing/fstest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func ExampleProjectService_Get() {
	srv := connictest.New()
	defer srv.Close()
	client := srv.Client()

	project, err := client.Project.Get(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(project.ID == connictest.ProjectID)
	// Output: true
}

// An environment is found by its name. Environments of type test are ignored.
func ExampleEnvironmentsService_Find() {
	srv := connictest.New()
	defer srv.Close()
	client := srv.Client()
	ctx := context.Background()

	environment, err := client.Environments.Find(ctx, "production")
	if err != nil {
		fmt.Println(err)
		return
	}
	production := client.ForEnvironment(environment.ID) // shares the rate limit and the connections
	upload, err := production.Knowledge.UploadText(ctx, connic.TextUpload{Content: "Returns are free.", EntryID: "returns"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(environment.ID, upload.EntryID)
	// Output: env-production returns
}

// One client per environment. They share the rate limit and the connections.
func ExampleClient_ForEnvironment() {
	srv := connictest.New()
	defer srv.Close()
	srv.IngestionTime(0)
	client := srv.Client()
	staging, production := client.ForEnvironment("env-test"), client.ForEnvironment("env-production")
	ctx := context.Background()

	_, err := staging.Knowledge.UploadText(ctx, connic.TextUpload{Content: "Returns are free.", EntryID: "returns"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range []*connic.Client{staging, production} {
		found, err := c.Knowledge.Query(ctx, connic.KnowledgeQuery{Query: "returns"})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(len(found.Items))
	}
	fmt.Println("requests counted by either:", staging.RateLimit().Used, production.RateLimit().Used)
	// Output:
	// 1
	// 0
	// requests counted by either: 3 3
}

// A project folder is sent to a dev session again after each change.
func ExampleDevSessionsService_Sync() {
	srv := connictest.New()
	defer srv.Close()
	srv.PhaseTime(0)
	client := srv.Client()
	ctx := context.Background()

	session, err := client.DevSessions.Create(ctx, connic.DevSessionCreate{Name: "ada"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _, _ = client.DevSessions.Delete(ctx, session.ID) }() // a session costs money while it runs
	quick := connic.WithPoll(time.Millisecond, time.Millisecond)
	if session, err = client.DevSessions.Wait(ctx, session.ID, quick); err != nil {
		fmt.Println(err)
		return
	}
	project := fstest.MapFS{"agents/support.yaml": {Data: []byte("name: support")}}
	if session, err = client.DevSessions.Sync(ctx, *session, project, quick); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(session.Container, len(srv.DevSessionFiles(session.ID)))
	// Output: running 1
}

// SetRoutes replaces all routes of a bridge.
func ExampleBridgesService_SetRoutes() {
	srv := connictest.New()
	defer srv.Close()
	srv.Bridge("office")
	client := srv.Client()
	ctx := context.Background()

	routes := []connic.BridgeRoute{{MatchType: connic.BridgeExact, Target: "db.internal", Port: 5432}}
	if err := client.Bridges.SetRoutes(ctx, "office", routes); err != nil {
		fmt.Println(err)
		return
	}
	routes, err := client.Bridges.Routes(ctx, "office")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range routes {
		fmt.Println(r.MatchType, r.Target, r.Port)
	}
	// Output: exact db.internal 5432
}

// Diff shows what an update would change before it is sent.
func ExampleBudget_Diff() {
	budget := &connic.Budget{Name: "a month", Amount: connic.MustDecimal("10.00"), Enabled: true}
	update := connic.BudgetUpdate{Amount: connic.Set(connic.MustDecimal("12.50")), Enabled: connic.Set(true)}
	for _, change := range budget.Diff(update) {
		fmt.Println(change.Field, string(change.From), string(change.To))
	}
	// Output: amount "10.00" "12.50"
}

// Sums keeps currencies apart.
func ExampleSums() {
	var sums connic.Sums
	sums = sums.Add(connic.Money{Amount: connic.MustDecimal("0.1"), Currency: connic.EUR})
	sums = sums.Add(connic.Money{Amount: connic.MustDecimal("0.2"), Currency: connic.EUR})
	sums = sums.Add(connic.Money{Amount: connic.MustDecimal("1.25"), Currency: connic.USD})
	fmt.Println(sums)
	fmt.Println(sums.In(connic.EUR))
	// Output:
	// 0.3 EUR, 1.25 USD
	// 0.3 EUR
}
