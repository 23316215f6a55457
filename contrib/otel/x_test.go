package connicotel
import (
 _ "go.opentelemetry.io/otel"
 _ "go.opentelemetry.io/otel/metric"
 _ "go.opentelemetry.io/otel/trace"
 _ "go.opentelemetry.io/otel/sdk/trace"
 _ "go.opentelemetry.io/otel/sdk/metric"
 _ "go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
 _ "go.opentelemetry.io/proto/otlp/collector/trace/v1"
 _ "google.golang.org/protobuf/proto"
 _ "github.com/connic-go/connic"
)
