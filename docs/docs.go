// Package docs holds the API as a document, for programs that read it: the fake
// serves it, and connic-doctor compares it with the service's own.
package docs

import _ "embed"

//go:embed openapi.json
var openAPI string

// OpenAPI returns docs/openapi.json: the API as package connic knows it, in
// OpenAPI 3.1. It is not the vendor's document. The extension x-status says of
// each operation and field how surely it is known.
func OpenAPI() []byte { return []byte(openAPI) }
