// Package service has the fake of the service that the short examples use: they
// run without a key, and cost nothing.
package service

import (
	"context"
	"fmt"
	"log"
	"net/url"
	"os"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// Fake starts a fake of the service with the agents of [Furnish], and makes
// [connic.NewFromEnv] return clients of it, whatever is configured. The fake
// lasts as long as the process.
//
// A service on this machine stays: if CONNIC_API_URL has the scheme http, which
// is accepted for loopback addresses only, it is that of connic-fake or the like.
func Fake() {
	if u, err := url.Parse(os.Getenv("CONNIC_API_URL")); err == nil && u.Scheme == "http" {
		say("This is the service at " + u.Host + ".")
		return
	}
	srv := connictest.Start()
	Furnish(srv)
	set("CONNIC_API_KEY", string(srv.Key()))
	set("CONNIC_PROJECT_ID", connictest.ProjectID)
	set("CONNIC_API_URL", srv.URL())
	set("CONNIC_ENVIRONMENT", "env-production")
	say("This is a fake of the service: nothing costs money.")
}

// DeliverRuns starts a fake that posts a completed run to a URL every few seconds,
// and sets CONNIC_SIGNING_SECRET. The fake lasts as long as the process.
func DeliverRuns(target string) { deliver(target, trigger) }

// DeliverEvents is DeliverRuns with events of other kinds between the runs.
func DeliverEvents(target string) {
	deliver(target, trigger,
		func(_ *connictest.Server, out *connictest.Outbound) {
			out.Send(map[string]any{"type": "refund", "order": 1207})
		},
		func(_ *connictest.Server, out *connictest.Outbound) {
			out.Notify(&connic.Approval{ID: "approval-1", AgentName: "payments", ToolName: "pay", RequestedAt: time.Now()})
		},
		func(_ *connictest.Server, out *connictest.Outbound) {
			out.Send(map[string]any{"type": "greeting"})
		})
}

func deliver(target string, events ...func(*connictest.Server, *connictest.Outbound)) {
	srv := connictest.Start()
	Furnish(srv)
	out := srv.Outbound(target, nil)
	set("CONNIC_SIGNING_SECRET", string(out.Secret()))
	say("This is a fake of the service, which posts to " + target + ".")
	go func() {
		for {
			for _, event := range events {
				time.Sleep(time.Second)
				event(srv, out)
			}
		}
	}()
}

// trigger starts a run, which is delivered when it has completed.
func trigger(srv *connictest.Server, _ *connictest.Outbound) {
	_, err := srv.Client().Agents.Trigger(context.Background(), "support", connic.TriggerRequest{Message: "May I return the goods?"})
	if err != nil {
		log.Print(err)
	}
}

func say(what string) { fmt.Fprintf(os.Stderr, "(%s)\n", what) }

func set(name, value string) {
	if err := os.Setenv(name, value); err != nil {
		log.Fatal(err)
	}
}
