module github.com/connic-go/connic/examples/contrib

go 1.25.0

require (
	github.com/connic-go/connic v0.0.0
	github.com/connic-go/connic/contrib/chat v0.0.0
	github.com/connic-go/connic/contrib/otel v0.0.0
	github.com/connic-go/connic/contrib/redisquota v0.0.0
	github.com/redis/go-redis/v9 v9.22.0
	go.opentelemetry.io/otel/exporters/stdout/stdouttrace v1.46.0
	go.opentelemetry.io/otel/sdk v1.46.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/coder/websocket v1.8.15 // indirect
	github.com/go-logr/logr v1.4.4 // indirect
	github.com/go-logr/stdr v1.2.2 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	github.com/hashicorp/go-retryablehttp v0.7.8 // indirect
	go.opentelemetry.io/auto/sdk v1.2.1 // indirect
	go.opentelemetry.io/otel v1.46.0 // indirect
	go.opentelemetry.io/otel/metric v1.46.0 // indirect
	go.opentelemetry.io/otel/trace v1.46.0 // indirect
	go.uber.org/atomic v1.11.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
	golang.org/x/time v0.15.0 // indirect
)

replace (
	github.com/connic-go/connic => ../..
	github.com/connic-go/connic/contrib/chat => ../../contrib/chat
	github.com/connic-go/connic/contrib/otel => ../../contrib/otel
	github.com/connic-go/connic/contrib/redisquota => ../../contrib/redisquota
)
