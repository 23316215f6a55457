package chat_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/contrib/chat"
	"github.com/connic-go/connic/contrib/chat/chattest"
)

// An answer is printed to the terminal as it is received. The service is a fake; the URL and
// the secret of a real connector are in the dashboard.
func ExampleSession_Send() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("support", func(_ context.Context, in connictest.Input) (any, error) {
		in.Tokens(connic.TokenUsage{Input: 6, Output: 5})
		return "We refund within 14 days.", nil
	})
	hook := srv.Connector("support")
	service := httptest.NewServer(chattest.New(hook))
	defer service.Close()

	ctx := context.Background()
	session, err := chat.Dial(ctx, "ws"+strings.TrimPrefix(service.URL, "http"), hook.Secret())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer session.Close()
	reply, err := session.Send(ctx, chat.Message{Text: "How does a refund work?"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for chunk, err := range reply.Chunks() {
		if err != nil {
			fmt.Println("\nbroke off:", err)
			return
		}
		fmt.Print(chunk)
	}
	answer, err := reply.Wait()
	fmt.Printf("\n%d tokens, %v\n", answer.TokenUsage.Total, err)
	// Output:
	// We refund within 14 days.
	// 11 tokens, <nil>
}

// A connector is linked to two agents, which answer each message at the same
// time, and sends progress events.
func ExampleReply_Events() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("support", func(context.Context, connictest.Input) (any, error) { return "We refund within 14 days.", nil })
	srv.Agent("billing", func(context.Context, connictest.Input) (any, error) { return "The invoice is paid.", nil })
	hook := srv.Connector("support")
	fake := chattest.New(hook, srv.Connector("billing"))
	fake.Agents = []string{"support", "billing"}
	fake.Events = func(agent, _ string) []chattest.Event {
		if agent == "support" {
			return nil
		}
		return []chattest.Event{{Type: "tool_call", Data: map[string]any{"tool": "find_invoice"}}}
	}
	service := httptest.NewServer(fake)
	defer service.Close()

	ctx := context.Background()
	session, err := chat.Dial(ctx, "ws"+strings.TrimPrefix(service.URL, "http"), hook.Secret())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer session.Close()
	reply, err := session.Send(ctx, chat.Message{Text: "Has my invoice been paid?"})
	if err != nil {
		fmt.Println(err)
		return
	}
	texts := make(map[string]string)
	for event, err := range reply.Events() {
		if err != nil {
			fmt.Println("broke off:", err)
			break
		}
		texts[event.Agent] += event.Text // of a chunk
		if event.Type == "tool_call" {
			fmt.Println(event.Agent, "calls a tool")
		}
	}
	for _, agent := range reply.Agents() {
		fmt.Printf("%s: %s\n", agent, texts[agent])
	}
	// Output:
	// billing calls a tool
	// support: We refund within 14 days.
	// billing: The invoice is paid.
}
