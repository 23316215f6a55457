package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/clitest"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

// A Receiver on the loopback network accepts what listen posts. In real time,
// because sockets are outside of virtual time.
func TestListen(t *testing.T) {
	t.Parallel()
	fake := connictest.New(t)
	fake.Agent("echo", func(_ context.Context, in connictest.Input) (any, error) {
		in.Tokens(connic.TokenUsage{Input: 3, Output: 4})
		if in.Message == "object" {
			return map[string]any{"total": 12.5}, nil
		}
		return in.Message, nil
	})
	addAgents(fake)
	client := fake.Client()
	defer client.Close()
	for _, message := range []string{"text", "object", "fail"} {
		agent := "echo"
		if message == "fail" {
			agent = message
		}
		_, _ = client.Agents.TriggerAndWait(t.Context(), agent, connic.TriggerRequest{Message: message}, connic.WithPoll(time.Millisecond, time.Millisecond))
	}
	for _, variable := range []bool{true, false} {
		const secret = "whsec-0123456789"
		ctx, interrupt := context.WithCancel(t.Context())
		got := make(chan connector.Delivery, 10)
		handler := connector.Handler(func(_ context.Context, d connector.Delivery) error {
			got <- d
			if len(got) == 2 {
				time.AfterFunc(50*time.Millisecond, interrupt) // when it is acknowledged
			}
			return nil
		}, secret)
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		p := clitest.New(t, fake, commands()...)
		args := []string{"listen", "--forward", server.URL + "/hooks?x=1", "--since", "1h", "-o", "jsonl"}
		if variable {
			p.Env["CONNIC_WEBHOOK_SECRET"] = secret
		} else {
			p.Files["secret"] = secret + "\n"
			args = append(args, "--secret-file", "secret")
		}
		r := p.RunContext(ctx, args...)
		interrupt()
		if r.Status != 130 || strings.Count(r.Out, `"delivered":true,"http_status":204,"attempts":1`) != 2 || strings.Contains(r.Out+r.Err, secret) ||
			!strings.Contains(r.Err, "delivered: 2, not delivered: 0; to go on from here: --since 20") {
			t.Errorf("%+v", r)
		}
		if len(got) != 2 {
			t.Fatalf("%d deliveries", len(got))
		}
		text, object := <-got, <-got
		if text.Kind != connector.KindRun || text.Output != "text" || text.TokenUsage.Output != 4 || text.EndedAt.IsZero() || !strings.Contains(string(object.Body), `"output":{"total":12.5}`) {
			t.Errorf("%+v, %+v", text, object)
		}
	}
}

func TestListenUsage(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, fake *connictest.Server, p *clitest.Program) {
		p.Files["empty"], p.Files["printed"] = "\n", "…cdef"
		before := len(fake.Requests())
		for _, args := range [][]string{
			{},
			{"--forward", "localhost:8080"},
			{"--forward", "http://"},
			{"--forward", "ftp://localhost/"},
			{"--forward", "http://user:word@localhost/"},
			{"--forward", "http://example.com/"},
			{"--forward", "http://10.0.0.1/"},
			{"--forward", "http://localhost.example.com/"},
			{"--forward", "http://0.0.0.0/"},
			{"--forward", "http://localhost/", "--retries", "-1"},
			{"--forward", "http://localhost/", "--secret-file", "nothing"},
			{"--forward", "http://localhost/", "--secret-file", "empty"},
			{"--forward", "http://localhost/", "--secret-file", "printed"},
			{"--forward", "http://localhost/", "--status", "done"},
		} {
			if r := p.Run(append([]string{"listen"}, args...)...); r.Status != 2 || r.Out != "" {
				t.Errorf("%q: %+v", args, r)
			}
		}
		if after := len(fake.Requests()); after != before {
			t.Errorf("%d requests", after-before)
		}
	})
}

// A redirect is not followed: it may lead to another machine.
func TestListenRedirect(t *testing.T) {
	t.Parallel()
	fake := connictest.New(t)
	addAgents(fake)
	client := fake.Client()
	defer client.Close()
	_, _ = client.Agents.TriggerAndWait(t.Context(), "fail", connic.TriggerRequest{Message: "x"}, connic.WithPoll(time.Millisecond, time.Millisecond))
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		time.AfterFunc(50*time.Millisecond, interrupt)
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	p := clitest.New(t, fake, commands()...)
	r := p.RunContext(ctx, "listen", "--forward", server.URL, "--since", "1h", "--status", "failed", "-o", "jsonl")
	if r.Status != 130 || asked != 1 || !strings.Contains(r.Out, `"delivered":false,"http_status":307,"attempts":1`) {
		t.Errorf("%d: %+v", asked, r)
	}
	secret, _, _ := strings.Cut(strings.TrimPrefix(r.Err, "the signing secret until this command ends: "), "\n")
	if !strings.HasPrefix(secret, "whsec_") || strings.Contains(r.Out, secret) || strings.Count(r.Err, secret) != 1 {
		t.Errorf("%+v", r)
	}
}
