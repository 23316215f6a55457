// Connic-fake is the program of that name in package connictest with a WebSocket
// connector, whose address and secret it prints as CHAT_URL and CHAT_SECRET.
//
//	go run -C contrib/chat ./cmd/connic-fake -addr 127.0.0.1:8080
package main

import (
	"os"

	"github.com/connic-go/connic/contrib/chat/chattest"
	"github.com/connic-go/connic/internal/fakecmd"
)

func main() { os.Exit(fakecmd.Main(fakecmd.WebSocket(chattest.New))) } //nolint:forbidigo // a program
