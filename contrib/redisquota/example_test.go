package redisquota_test

import (
	"context"
	"log"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/contrib/redisquota"
	"github.com/redis/go-redis/v9"
)

func Example() {
	rdb := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{"localhost:6379"}})
	const project = "my-project"
	limiter, err := redisquota.New(rdb, project,
		redisquota.WithQuota(60, time.Minute),
		redisquota.WithObserver(func(e redisquota.Event) { log.Printf("quota: %s %v", e.Kind, e.Err) }),
	)
	if err != nil {
		log.Fatal(err)
	}
	client, err := connic.New(project, "cnc_0123456789abcdef", connic.WithLimiter(limiter))
	if err != nil {
		log.Fatal(err)
	}
	run, err := client.Agents.TriggerAndWait(context.Background(), "support", connic.TriggerRequest{Message: "hello"})
	if err != nil {
		log.Fatal(err)
	}
	log.Print(run.Output)
}
