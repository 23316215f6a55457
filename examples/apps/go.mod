module github.com/connic-go/connic/examples/apps

go 1.25.0

replace github.com/connic-go/connic => ../..

require (
	github.com/connic-go/connic v0.0.0
	github.com/go-echarts/go-echarts/v2 v2.6.7
)

require (
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	github.com/hashicorp/go-retryablehttp v0.7.8 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	golang.org/x/time v0.15.0 // indirect
)
