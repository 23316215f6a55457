module github.com/connic-go/connic/examples/apps

go 1.25.0

replace github.com/connic-go/connic => ../..

require (
	github.com/connic-go/connic v0.0.0
	github.com/jstemmer/go-junit-report/v2 v2.1.0
	github.com/theory/jsonpath v0.12.3
	go.yaml.in/yaml/v3 v3.0.6
)

require (
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	github.com/hashicorp/go-retryablehttp v0.7.8 // indirect
	golang.org/x/time v0.15.0 // indirect
)
