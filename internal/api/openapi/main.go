// Command openapi writes docs/openapi.json: the API as this package knows it,
// from the operation table, the comments of the methods and the types. Run it in
// the root of the module, as go generate does.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

var document = filepath.Join("docs", "openapi.json")

func main() {
	if err := write("."); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1) //nolint:forbidigo // it is a program
	}
}

func write(root string) error {
	text, err := render(root)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, document), text, 0o644) //nolint:gosec // as everything in a repository
}

// A spec is the document. A struct keeps its parts in reading order.
type spec struct {
	OpenAPI    string            `json:"openapi"`
	Info       object            `json:"info"`
	Servers    []object          `json:"servers"`
	Security   []object          `json:"security"`
	Tags       []object          `json:"tags"`
	Paths      map[string]object `json:"paths"`
	Components object            `json:"components"`
}

// object is a JSON object whose keys are written in alphabetical order.
type object = map[string]any

const preface = `The REST API of Connic as the Go client github.com/connic-go/connic understands it. This is not the vendor's document: ` +
	`the schemas of the API are not public, and most of this document is assumed. Each operation and each field says how it is known: ` +
	`x-status is documented (the vendor's documentation of this API shows it), observed (the vendor's own command-line client uses it) or ` +
	`assumed (a convention of the client). x-source names the source.

Responses are described as the client reads them: no member is required, null is equivalent to absent, other members are ignored, and ` +
	`a list may be in any of the envelopes shown. x-alias-of marks another name that the client accepts for a member. Beyond what a schema says, ` +
	`the client accepts numbers in strings, numbers in place of strings, and times in every form of ISO 8601. Requests are described as the client sends them.

x-permission is the section and the access that a key needs. x-retry is the effect of a repeated request: safe ones change ` +
	`nothing, idempotent ones have the same effect again, and unsafe ones do their work again. x-go lists the methods of the client.`

func render(root string) ([]byte, error) {
	g, err := newGenerator(root)
	if err != nil {
		return nil, err
	}
	doc := spec{
		OpenAPI: "3.1.0",
		Info: object{
			"title": "Connic REST API, as github.com/connic-go/connic knows it", "version": "1", "description": preface,
			"license": object{"name": "MIT", "identifier": "MIT"},
		},
		Servers:  []object{{"url": "https://api.connic.co/v1", "x-status": "documented"}},
		Security: []object{{"apiKey": []string{}}},
		Tags:     []object{},
		Paths:    make(map[string]object),
	}
	if err := g.operations(&doc); err != nil {
		return nil, err
	}
	schemas, err := g.schemas()
	if err != nil {
		return nil, err
	}
	doc.Components = object{
		"schemas":    schemas,
		"responses":  g.responses(),
		"parameters": object{"project": projectParameter},
		"securitySchemes": object{"apiKey": object{
			"type": "http", "scheme": "bearer", "bearerFormat": "cnc_…", "x-status": "documented",
			"description": "An API key of the project. It begins with cnc_.",
		}},
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(doc); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
