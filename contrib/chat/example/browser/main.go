// Browser hands a conversation with an agent on to a web page, as server-sent events.
//
// Without configuration it brings its own service, the fake of package connictest, with two
// agents in it, which answer at the same time:
//
//	go run ./example/browser
//
// With CONNIC_CHAT_URL and CONNIC_CHAT_SECRET set it talks to a real connector, where runs
// cost money.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/contrib/chat"
	"github.com/connic-go/connic/contrib/chat/chattest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "browser:", err)
		os.Exit(1) //nolint:forbidigo // a program
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("browser", flag.ContinueOnError)
	flags.SetOutput(stderr)
	addr := flags.String("addr", "127.0.0.1:8080", "address to listen on")
	if err := flags.Parse(args); err != nil {
		return err
	}
	url, secret := os.Getenv("CONNIC_CHAT_URL"), connector.Secret(os.Getenv("CONNIC_CHAT_SECRET"))
	if url == "" {
		srv := connictest.New()
		defer srv.Close()
		srv.Agent("echo", func(_ context.Context, in connictest.Input) (any, error) {
			in.Tokens(connic.TokenUsage{Input: int64(len(strings.Fields(in.Message))), Output: 4})
			return "You said: " + in.Message, nil
		})
		srv.Agent("count", func(_ context.Context, in connictest.Input) (any, error) {
			words := len(strings.Fields(in.Message))
			in.Tokens(connic.TokenUsage{Input: int64(words), Output: 8})
			return fmt.Sprintf("That has %d words, and %d letters.", words, len([]rune(in.Message))), nil
		})
		hook := srv.Connector("echo")
		fake := chattest.New(hook, srv.Connector("count"))
		fake.Agents, fake.Pause = []string{"echo", "count"}, 50*time.Millisecond
		fake.Events = func(agent, _ string) []chattest.Event {
			if agent == "echo" {
				return nil
			}
			return []chattest.Event{{Type: "tool_call", Pause: time.Second, Data: map[string]any{"tool": "count_words"}}}
		}
		service := httptest.NewServer(fake)
		defer service.Close()
		defer service.CloseClientConnections()
		url, secret = "ws"+strings.TrimPrefix(service.URL, "http"), hook.Secret()
	}

	base, end := context.WithCancel(ctx)
	defer end()
	logger := slog.New(slog.NewTextHandler(stderr, nil))
	f := &forwarder{
		dial: func(ctx context.Context) (*chat.Session, error) {
			return chat.Dial(ctx, url, secret, chat.WithTelemetry(connic.WithLogger(logger)))
		},
		logger: logger, base: base, visitors: make(map[string]*visitor),
	}
	server := &http.Server{Handler: f.routes(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second}
	server.RegisterOnShutdown(end)
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *addr)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(stdout, "http://%s/\n", listener.Addr())
	stopped := context.AfterFunc(ctx, func() {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(bounded)
	})
	defer stopped()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
