// Connic-fake is the program of that name in package connictest with a WebSocket
// connector, whose address and secret it prints as CHAT_URL and CHAT_SECRET.
//
//	go run -C contrib/chat ./cmd/connic-fake -addr 127.0.0.1:8080
package main

import (
	"net/http"
	"os"

	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/contrib/chat/chattest"
	"github.com/connic-go/connic/internal/fakecmd"
)

func main() { os.Exit(fakecmd.Main(webSocket())) } //nolint:forbidigo // a program

// webSocket is a WebSocket connector.
func webSocket() fakecmd.Connector {
	return fakecmd.Connector{Name: "CHAT", Scheme: "ws", Handler: func(c *connictest.Connector) http.Handler { return chattest.New(c) }}
}
