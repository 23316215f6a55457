module github.com/connic-go/connic/contrib/connicgen

go 1.25.0

require (
	github.com/google/jsonschema-go v0.4.3
	go.yaml.in/yaml/v3 v3.0.6
)
