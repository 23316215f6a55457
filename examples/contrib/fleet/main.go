// Fleet makes calls within a quota that several processes share. Start it two or
// three times within a minute: the third one waits for its turn.
//
//	go run ./fleet
//
// The processes share the quota through the Redis server at REDIS_ADDR, which is
// localhost:6379 if it is not set. Without the server, each keeps to its half.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/contrib/redisquota"
	"github.com/connic-go/connic/examples/internal/service"
	"github.com/redis/go-redis/v9"
)

func main() {
	service.Fake() // Delete this line to use Connic.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, cmp.Or(os.Getenv("REDIS_ADDR"), "localhost:6379"), os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, redisAddr string, w io.Writer) error {
	project := os.Getenv("CONNIC_PROJECT_ID")
	if project == "" {
		return errors.New("set CONNIC_PROJECT_ID and CONNIC_API_KEY: the quota is that of the project")
	}
	rdb := redis.NewClient(&redis.Options{Addr: redisAddr})
	limiter, err := redisquota.New(rdb, project, redisquota.WithProcesses(2))
	if err != nil {
		return errors.Join(err, rdb.Close())
	}
	client, err := connic.NewFromEnv(connic.WithLimiter(limiter), connic.WithApplication("fleet", "1.0"))
	if err != nil {
		return errors.Join(err, rdb.Close())
	}
	return errors.Join(work(ctx, client, w), client.Close(), rdb.Close())
}

// work makes some calls; those beyond the quota wait for their turn.
func work(ctx context.Context, client *connic.Client, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	began := time.Now()
	for range 25 {
		if _, err := client.Project.Get(ctx); err != nil {
			return err
		}
	}
	quota, by := client.RateLimit(), "all processes"
	if quota.Fallback != "" { // the calls are made all the same
		by = "this process, which keeps to its half: " + quota.Fallback
	}
	_, err := fmt.Fprintf(w, "25 calls in %v; %d of %d requests a minute are used by %s\n",
		time.Since(began).Round(time.Second), quota.Used, quota.Limit, by)
	return err
}
