package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/contrib/exporter"
)

// The program serves metrics until it is interrupted. A request is answered without
// its body: the test hangs if the server waits for it.
func TestServe(t *testing.T) {
	t.Parallel()
	srv := connictest.New(t)
	said, stderr := io.Pipe()
	e, err := exporter.New(func(opts ...connic.Option) (*connic.Client, error) {
		return srv.ClientWithKey("cnc_revoked_0123456789", append(opts, connic.WithObserver(failures(stderr)))...), nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, e, listener) }()
	for request, want := range map[string]string{"GET /metrics": " 200 ", "POST /nowhere": " 404 "} {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", request)
		got, err := io.ReadAll(conn)
		_ = conn.Close()
		head, body, _ := strings.Cut(string(got), "\r\n")
		if err != nil || !strings.Contains(head, want) || want == " 200 " && !strings.Contains(body, "connic_exporter_up") {
			t.Errorf("%s: %q, %v", request, got, err)
		}
	}
	if line, err := bufio.NewReader(said).ReadString('\n'); err != nil || !strings.HasPrefix(line, "connic-exporter: ") || !strings.Contains(line, "401") || strings.Contains(line, "0123456789") {
		t.Errorf("of a revoked key it says %q, %v", line, err)
	}
	interrupt()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := http.Get("http://" + listener.Addr().String()); err == nil {
		t.Error("it still listens")
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
