package main

import (
	"fmt"
	"log"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/contrib/chat/chattest"
	"github.com/connic-go/connic/examples/internal/service"
)

// fake starts a fake of a WebSocket connector, and sets the variables that the
// program reads. It lasts as long as the process.
func fake() {
	srv := connictest.Start()
	service.Furnish(srv)
	hook := srv.Connector("support")
	server := chattest.New(hook)
	server.Pause = 150 * time.Millisecond
	url := httptest.NewServer(server).URL
	for name, value := range map[string]string{"CHAT_URL": "ws" + strings.TrimPrefix(url, "http"), "CHAT_SECRET": string(hook.Secret())} {
		if err := os.Setenv(name, value); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Fprintln(os.Stderr, "(This is a fake of the service: nothing costs money. Ctrl-D ends the conversation.)")
}
