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
	"strings"
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
	done chan struct{} // closed when cmd has exited
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
	dir, err := os.MkdirTemp("", "redistest")
	if err != nil {
		return nil, err
	}
	for range 3 {
		s := &Server{dir: dir}
		if err = s.start(args); err == nil {
			return s, nil
		}
		if !errors.Is(err, errExited) {
			break
		}
	}
	_ = os.RemoveAll(dir)
	return nil, err
}

func (s *Server) start(args func(s *Server, port string) ([]string, error)) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	s.Addr = net.JoinHostPort("127.0.0.1", port)
	if s.args, err = args(s, port); err != nil {
		return err
	}
	s.args = append([]string{"--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", s.dir}, s.args...)
	return s.Run()
}

// errExited is that of a port that something else has taken meanwhile.
var errExited = errors.New("redis-server has exited")

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
	s.done = make(chan struct{})
	go func() {
		_ = s.cmd.Wait()
		close(s.done)
	}()
	id := fmt.Sprintf("process_id:%d\r\n", s.cmd.Process.Pid)
	opts := s.Options()
	opts.MaxRetries, opts.DialerRetries = -1, 1
	rdb := redis.NewClient(opts)
	defer func() { _ = rdb.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "tcp", s.Addr) // the driver would write to standard error
		if err == nil {
			_ = conn.Close()
			var info string
			if info, err = rdb.Info(ctx, "server").Result(); err == nil && strings.Contains(info, id) {
				return nil
			}
		}
		select {
		case <-s.done:
			return errExited
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
	<-s.done
}

// Stop ends the server for good.
func (s *Server) Stop() {
	s.Kill()
	_ = os.RemoveAll(s.dir)
}
