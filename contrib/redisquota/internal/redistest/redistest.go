// Package redistest starts a real Redis server for tests.
package redistest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrMissing means that no redis-server is installed.
var ErrMissing = errors.New("no redis-server in PATH (Debian: apt-get install redis-server)")

// Server is a Redis server on a free port of the loopback interface, without
// persistence: one that is started again has lost its data.
type Server struct {
	Addr string

	tls  *tls.Config // nil: plain text
	args []string
	dir  string
	cmd  *exec.Cmd
}

// Start starts a server. Stop it.
func Start(args ...string) (*Server, error) {
	return start(func(s *Server, port string) ([]string, error) { return append([]string{"--port", port}, args...), nil })
}

// start starts a server with the arguments for a port.
func start(args func(s *Server, port string) ([]string, error)) (*Server, error) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return nil, ErrMissing
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "redistest")
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: net.JoinHostPort("127.0.0.1", port), dir: dir}
	s.args, err = args(s, port)
	if err == nil {
		s.args = append([]string{"--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir}, s.args...)
		err = s.Run()
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return s, nil
}

func freePort() (string, error) {
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil
}

// Options are those of a client of the server.
func (s *Server) Options() *redis.Options { return &redis.Options{Addr: s.Addr, TLSConfig: s.tls} }

// Run starts the server again, after Kill.
func (s *Server) Run() error {
	s.cmd = exec.CommandContext(context.Background(), "redis-server", s.args...) //nolint:gosec // the arguments are those of a test
	if err := s.cmd.Start(); err != nil {
		return err
	}
	opts := s.Options()
	opts.MaxRetries, opts.DialerRetries = -1, 1
	rdb := redis.NewClient(opts)
	defer func() { _ = rdb.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "tcp", s.Addr) // the driver would write to standard error
		if err == nil {
			_ = conn.Close()
			if err = rdb.Ping(ctx).Err(); err == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			s.Kill()
			return fmt.Errorf("redis-server does not answer: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Kill ends the server at once.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// Stop ends the server for good.
func (s *Server) Stop() {
	s.Kill()
	_ = os.RemoveAll(s.dir)
}
