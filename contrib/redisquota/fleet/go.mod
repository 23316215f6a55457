module github.com/connic-go/connic/contrib/redisquota/fleet

go 1.25.0

require (
	github.com/connic-go/connic v0.0.0
	github.com/connic-go/connic/contrib/redisquota v0.0.0
	github.com/go-redis/redis_rate/v10 v10.0.1
	github.com/redis/go-redis/v9 v9.22.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	github.com/hashicorp/go-retryablehttp v0.7.8 // indirect
	go.uber.org/atomic v1.11.0 // indirect
	golang.org/x/sys v0.30.0 // indirect
	golang.org/x/time v0.15.0 // indirect
)

replace (
	github.com/connic-go/connic => ../../..
	github.com/connic-go/connic/contrib/redisquota => ..
)
