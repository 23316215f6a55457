// Command fleet measures how the processes of a service share one quota: it starts
// real processes against the fake and a real Redis server, and prints a table.
//
//	apt-get install redis-server
//	go run . -for 60s
//
// The window is compressed: 60 requests in 6 s instead of a minute, and the
// latency of the network with it (2 to 32 ms).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/contrib/redisquota/internal/redistest"
)

var models = []struct {
	name   string
	window connictest.Window
}{
	{"fixed window", connictest.FixedWindow},
	{"sliding window", connictest.SlidingWindow},
	{"token bucket", connictest.TokenBucket},
	{"rejects counted", connictest.SlidingWindowRejects},
}

func main() {
	if spec := os.Getenv(workerEnv); spec != "" {
		if err := work(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	period := flag.Duration("for", time.Minute, "how long each run lasts")
	sizes := flag.String("processes", "1 4 20", "sizes of the fleet")
	limiters := flag.String("limiters", "redisquota none redis_rate", "limiters")
	only := flag.String("server", "", "only the server models with this in their name")
	flag.Parse()
	if err := table(*period, strings.Fields(*sizes), strings.Fields(*limiters), *only); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func table(period time.Duration, sizes, limiters []string, only string) error {
	store, err := redistest.Start()
	if err != nil {
		return err
	}
	defer store.Stop()
	fmt.Println("| limiter | processes | server | accepted | 429s | of the quota | fairness | store operations per admission | failed |")
	fmt.Println("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, limiter := range limiters {
		for _, size := range sizes {
			var n int
			if _, err := fmt.Sscan(size, &n); err != nil {
				return errors.New("processes are numbers")
			}
			for _, model := range models {
				if !strings.Contains(model.name, only) {
					continue
				}
				r, err := run(context.Background(), fleet{
					Processes: n, Window: model.window, Limiter: limiter, Redis: store.Addr, For: period,
				}, nil)
				if err != nil {
					return err
				}
				fmt.Printf("| %s | %d | %s | %d | %.2f %% | %.1f %% | %.3f | %.2f | %d |\n", limiter, n, model.name,
					r.Accepted, 100*r.Refused, 100*r.Share, r.Fairness, r.Operations, r.Failed)
			}
		}
	}
	return nil
}
