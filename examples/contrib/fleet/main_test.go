package main

import (
	"bytes"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/contrib/redisquota"
	"github.com/redis/go-redis/v9"
)

// process is one of the processes that share a quota.
func process(t *testing.T, srv *connictest.Server, options *redis.Options) string {
	t.Helper()
	rdb := redis.NewClient(options)
	t.Cleanup(func() { rdb.Close() })
	limiter, err := redisquota.New(rdb, "project", redisquota.WithProcesses(2))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := work(t.Context(), srv.Client(connic.WithLimiter(limiter)), &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestFleetWithoutRedis(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	got := process(t, connictest.New(t), &redis.Options{Addr: listener.Addr().String()})
	if !strings.Contains(got, "25 of 60 requests a minute are used by this process, which keeps to its half: ") {
		t.Error(got)
	}
}

func TestFleet(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("left out: ", err)
	}
	socket := filepath.Join(t.TempDir(), "redis")
	server := exec.CommandContext(t.Context(), program, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", filepath.Dir(socket))
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Wait() }) // t.Context has ended then
	options := &redis.Options{Network: "unix", Addr: socket}
	rdb := redis.NewClient(options)
	defer rdb.Close()
	for rdb.Ping(t.Context()).Err() != nil {
		time.Sleep(10 * time.Millisecond)
	}
	srv := connictest.New(t)
	process(t, srv, options)
	if got := process(t, srv, options); !strings.Contains(got, "50 of 60 requests a minute are used by all processes\n") {
		t.Error(got)
	}
}
