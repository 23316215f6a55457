package connicotel_test

import (
	"context"
	"log"

	"github.com/connic-go/connic"
	connicotel "github.com/connic-go/connic/contrib/otel"
	"go.opentelemetry.io/otel"
)

func Example() {
	client, err := connic.New("my-project", "cnc_0123456789abcdef", connicotel.Options()...)
	if err != nil {
		log.Fatal(err)
	}
	quota, err := connicotel.ObserveQuota(client, "main")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = quota.Unregister() }()
	ctx := context.Background()
	run, err := client.Agents.TriggerAndWait(ctx, "support", connic.TriggerRequest{Message: "hello"})
	if err != nil {
		log.Print(err)
		return
	}
	connicotel.ExportRun(ctx, otel.Tracer("support"), run)
}
