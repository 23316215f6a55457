package main

import (
	"fmt"
	"slices"

	"github.com/connic-go/connic/internal/api"
)

// bodies holds the Go types that are sent unmodified.
var bodies = map[api.Op]string{
	api.JudgesCreate:  "JudgeCreate",
	api.JudgesUpdate:  "JudgeUpdate",
	api.BudgetsCreate: "BudgetCreate",
	api.BudgetsUpdate: "BudgetUpdate",

	api.ConnectorsCreate: "ConnectorCreate",
	api.ConnectorsUpdate: "ConnectorUpdate",

	api.BridgesSetRoutes: "bridgeRoutes",
}

// required lists the required keys of the other bodies.
var required = []string{"content", "query", "run_id", "file", "files_data", "hostname", "device_code", "decision"}

// A key is the schema of a key of the other bodies.
func (g *generator) key(op *api.Operation, name string) (object, error) {
	text := object{"type": "string"}
	switch name {
	case "content", "query":
		return object{"type": "string", "minLength": 1, "pattern": `\S`}, nil
	case "namespace":
		return namespace(), nil
	case "entry_id":
		return object{"type": "string", "minLength": 1, "pattern": `^[^/\\]+$`}, nil
	case "metadata":
		if op.Op == api.KnowledgeUploadFile {
			return object{"type": "string", "contentMediaType": "application/json", "description": "The JSON text of an object."}, nil
		}
		return g.schema("map[string]any", request)
	case "metadata_filter":
		return object{"type": "object"}, nil
	case "min_score":
		return object{"type": "number", "minimum": 0, "maximum": 1, "default": 0.3}, nil
	case "max_results":
		return object{"type": "integer", "minimum": 1, "maximum": 20, "default": 3}, nil
	case "file":
		return object{"type": "string", "contentMediaType": "application/octet-stream"}, nil
	case "files_data":
		return object{"type": "string", "contentEncoding": "base64", "contentMediaType": "application/gzip", "description": "A tar.gz of the project."}, nil
	case "files_hash":
		return object{"type": "string", "description": "The first 12 hexadecimal digits of the archive's SHA-256."}, nil
	case "skip_tests":
		return object{"type": "boolean"}, nil
	case "run_id":
		return object{"type": "string", "minLength": 1}, nil
	case "device_code":
		return object{"type": "string", "minLength": 1}, nil
	case "decision":
		return object{"type": "string", "enum": []string{"approve", "reject"}}, nil
	case "response":
		return object{"type": "string", "pattern": `\S`, "maxLength": 16384}, nil
	case "environment_id", "test_filter", "name", "hostname", "reason":
		return text, nil
	}
	return nil, fmt.Errorf("%s: the key %s of the body has no schema", op.Name, name)
}

func namespace() object {
	return object{
		"type": "string", "description": "Dot-separated levels, at most 10.",
		"pattern": `^([^./\\\x00-\x1f]+(\.[^./\\\x00-\x1f]+){0,9})?$`,
	}
}

// mark returns how a key of a request is known: like its operation, unless more
// is known about it.
func mark(op *api.Operation, name string) (api.Mark, string) {
	known, from := op.Mark, sources[op.Mark]
	switch {
	case name == "environment_id" && op.Section == "knowledge":
		known, from = api.Documented, sources[api.Documented]
	case name == "metadata" && known == api.Documented, name == "files" && known == api.Documented:
		known, from = api.Assumed, inWords
	case known == api.Assumed && op.Words:
		from = inWords
	}
	return known, from
}

// body returns the request body of an operation, or nil if it has none.
func (g *generator) body(op *api.Operation) (object, error) {
	if len(op.Body) == 0 {
		return nil, nil
	}
	content := func(media string, s any) object {
		return object{"required": true, "content": object{media: object{"schema": s}}}
	}
	if name := bodies[op.Op]; name != "" {
		s, err := g.reference(name, request)
		return content("application/json", s), err
	}
	if op.Op == api.AgentsTrigger {
		files, err := g.schema("[]File", request)
		if err != nil {
			return nil, err
		}
		message := object{"type": "string"}
		for name, s := range map[string]object{"message": message, "files": files} {
			known, from := mark(op, name)
			s["x-status"], s["x-source"] = string(known), from
		}
		return content("application/json", object{
			"type": []string{"object", "array", "string", "number", "boolean"}, "properties": object{"message": message, "files": files},
			"additionalProperties": true, "description": "Other members are the agent's structured payload. A value of another type is the whole payload.",
		}), nil
	}
	properties, needed := object{}, []string{}
	for _, name := range op.Body {
		s, err := g.key(op, name)
		if err != nil {
			return nil, err
		}
		known, from := mark(op, name)
		s["x-status"], s["x-source"] = string(known), from
		properties[name] = s
		if slices.Contains(required, name) || (name == "files_hash") {
			needed = append(needed, name)
		}
	}
	s := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(needed) > 0 {
		s["required"] = needed
	}
	media := "application/json"
	if op.Op == api.KnowledgeUploadFile || op.Op == api.DevSessionsUpload {
		media = "multipart/form-data"
	}
	return content(media, s), nil
}
