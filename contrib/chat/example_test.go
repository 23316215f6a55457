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

// An answer is printed to the terminal while it comes. The fake plays the service; a real
// connector has its URL and its secret from the dashboard.
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
