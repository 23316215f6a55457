// Package connicgen ties Go types to the schemas of an agent project.
//
// From schemas to Go, the program connicgen reads the folder of a project and writes
// a constant for each agent and the types of its schemas:
//
//	go run github.com/connic-go/connic/contrib/connicgen/cmd/connicgen@latest ./agents-project -o agents_gen.go -package agents
//
// A caller uses them with package connic:
//
//	invoice, run, err := agents.InvoiceExtractor.TriggerAndWait(ctx, client, agents.InvoiceExtractorInput{CustomerID: 7})
//
// With -check it writes nothing and exits with 1 if the file is not what it would
// write, for CI. A change of a schema then breaks the build of its callers. A file
// that it has not generated is never overwritten.
//
// The output of an agent has the type of its output_schema. Without one it is a
// string, and for a sequence it is that of the last agent. The service knows no
// schema of inputs: a file contracts/AGENT.input.json is one by the convention of
// this program, and the input is a connic.TriggerRequest without it. A file
// contracts/AGENT.output.json is the schema of the output of a tool agent. The
// service sees neither: that folder is not part of a deployment.
//
//	schema                              Go
//	required, not null                  T, with the tag connic:"required"
//	required, may be null               *T, with the tag
//	optional                            *T, with omitzero
//	string, number, boolean             string, float64, bool
//	integer                             int64; uint64 if minimum >= 0 and maximum >= 2^63
//	enum or const of strings            a string type with constants and a method Known
//	object with properties              a struct
//	object with additionalProperties    map[string]T, otherwise map[string]any
//	array                               []T
//	$ref to a definition in the file    its type
//	anything else                       json.RawMessage
//
// Names never depend on what else the project has: two that collide are an error,
// and -name chooses one of them.
//
// From Go to schemas, [Golden] compares a schema file with a type in a test.
package connicgen
