package doctor

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/connic-go/connic/docs"
	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/mask"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/oasdiff/oasdiff/checker"
	"github.com/oasdiff/oasdiff/diff"
	"github.com/oasdiff/oasdiff/load"
)

// Drift compares the client's document with one downloaded from the service, in
// JSON or YAML, OpenAPI 3.0 or 3.1.
func Drift(theirs []byte) (*Report, error) {
	ours, err := own()
	if err != nil {
		return nil, fmt.Errorf("our document: %w", err)
	}
	return compare(ours, theirs)
}

// own is the client's document. It is not modified.
var own = sync.OnceValues(func() (*document, error) { return parse(docs.OpenAPI()) })

func compare(ours *document, theirText []byte) (*Report, error) {
	theirs, err := parse(theirText)
	if err != nil {
		return nil, err
	}
	c := &comparison{report: new(Report), ours: ours, theirs: theirs, found: match(ours, theirs)}
	c.run()
	if err := c.differences(); err != nil {
		return nil, err
	}
	c.states()
	c.report.sort()
	return c.report, nil
}

// A comparison collects the intermediate results.
type comparison struct {
	report       *Report
	ours, theirs *document
	found        map[*operation]*operation
	results      map[string]*Result
	// base and revision are the operations to compare, each under its own path:
	// ours, and theirs in the canonical form.
	base, revision object
	// told records fields that already have a finding: "runs.get cost".
	told map[string]bool
}

func (c *comparison) run() {
	c.results = make(map[string]*Result)
	c.base, c.revision, c.told = object{}, object{}, make(map[string]bool)
	c.compareBase()
	taken := make(map[*operation]bool)
	for i := range api.Table {
		op := &api.Table[i]
		c.results[op.Name] = &Result{Operation: op.Name, Ours: op.Method + " " + op.Route, State: Missing}
		at := slices.IndexFunc(c.ours.operations, func(o *operation) bool { return o.id() == op.Name })
		if at < 0 {
			continue
		}
		a := c.ours.operations[at]
		b := c.found[a]
		if b == nil {
			c.add(op, Error, "operation-missing", "", "Their document has no such operation. It may not be part of the public API; calls of it fail with a 403 or 404.", "")
			continue
		}
		taken[b] = true
		c.results[op.Name].State = Same
		c.place(op, a, b)
		c.contents(op, a, b)
	}
	for _, b := range c.theirs.operations {
		if !taken[b] {
			c.report.add(Finding{
				Severity: Info, ID: "operation-more", Subject: b.name(),
				Text: "The client does not offer " + b.name() + ". Client.Do can call it if it is below /projects/{project}.",
			})
		}
	}
}

func (c *comparison) add(op *api.Operation, severity Severity, id, subject, text, remedy string) {
	c.report.add(Finding{
		Severity: severity, ID: id, Operation: op.Name, Subject: subject, Text: text, Remedy: remedy, Mark: string(op.Mark),
	})
}

// compareBase reports if the document's paths are below another URL.
func (c *comparison) compareBase() {
	ours, theirs := c.ours.base, c.theirs.base
	if !strings.Contains(theirs, "://") { // the document does not name a host
		ours = ours[strings.LastIndex(ours, "/"):]
	}
	if theirs != ours {
		c.report.add(Finding{
			Severity: Warning, ID: "base-url", Subject: theirs, Mark: string(api.Documented),
			Text:   fmt.Sprintf("Their paths begin at %q, ours at %q.", theirs, ours),
			Remedy: "See connic.WithBaseURL, if calls end in a 404.",
		})
	}
}

// place reports where an operation is found.
func (c *comparison) place(op *api.Operation, a, b *operation) {
	if a.method == b.method && normal(a.path) == normal(b.path) {
		return
	}
	result := c.results[op.Name]
	result.State, result.Theirs = Moved, b.name()
	if a.method != b.method {
		c.add(op, Error, "method-changed", b.name(), fmt.Sprintf("Their method is %s, ours %s.", b.method, a.method),
			"Client.Do calls it with another method.")
	}
	if normal(a.path) != normal(b.path) {
		route := rename(b.path, a.path)
		c.add(op, Error, "path-moved", b.name(), "It is at "+b.path+" in their document.",
			fmt.Sprintf("connic.WithRoute(%q, %q)", op.Name, route))
	}
}

// rename renames the placeholders of a path to ours, in order.
func rename(theirs, ours string) string {
	names := placeholder.FindAllString(ours, -1)
	return placeholder.ReplaceAllStringFunc(theirs, func(name string) string {
		if len(names) > 0 {
			name, names = names[0], names[1:]
		}
		return name
	})
}

// contents converts the request and response of an operation to the canonical
// form, and adds them to the comparison.
func (c *comparison) contents(op *api.Operation, a, b *operation) {
	form := func(o *operation, answer object) object {
		operation := object{
			"operationId": op.Name, "parameters": queries(o),
			"responses": object{"200": object{"description": "", "content": object{"application/json": object{"schema": answer}}}},
		}
		if body := bodyOf(o); body != nil {
			operation["requestBody"] = body
		}
		return object{strings.ToLower(op.Method): operation}
	}
	ours, theirs := answerOf(a), answerOf(b)
	switch {
	case ours == nil:
		theirs = nil // nothing is read
	case theirs == nil:
		c.add(op, Error, "answer-missing", "", "Their document describes no JSON response, and the client reads one.", "")
		ours = nil
	default:
		ours, theirs = c.answers(op, ours, theirs)
	}
	if first, second := form(a, ours), form(b, theirs); !same(first, second) {
		c.base["/"+op.Name], c.revision["/"+op.Name] = first, second
	}
	c.repeated(op, a, b)
	c.paging(op, b)
	c.errors(op, b)
}

// repeated reports parameters that the client sends several times but the
// service accepts once.
func (c *comparison) repeated(op *api.Operation, a, b *operation) {
	theirs := make(map[string]object)
	for _, q := range queries(b) {
		p, _ := q.(object)
		theirs[text(p["name"])] = member(p, "schema")
	}
	for _, q := range queries(a) {
		p, _ := q.(object)
		name := text(p["name"])
		if s := theirs[name]; member(p, "schema")["type"] == "array" && s["type"] != nil && s["type"] != "array" {
			c.add(op, Warning, "parameter-single", name, fmt.Sprintf("They take one %s, and the client can send several.", name), "")
		}
	}
}

// queries returns the parameters of an operation, except for those of its path
// and those of every request.
func queries(o *operation) []any {
	all := []any{}
	for _, v := range list(o.raw["parameters"]) {
		p, ok := v.(object)
		if !ok {
			continue
		}
		name := text(p["name"])
		where := text(p["in"])
		switch {
		case where == "path", where == "cookie":
			continue
		case where == "header" && (p["required"] != true || slices.Contains([]string{"authorization", "accept", "content-type"}, strings.ToLower(name))):
			continue
		}
		q := object{"name": name, "in": where, "schema": canonical(p["schema"], false)}
		if p["required"] == true {
			q["required"] = true
		}
		for _, word := range []string{"style", "explode", "x-status"} {
			if p[word] != nil {
				q[word] = p[word]
			}
		}
		all = append(all, q)
	}
	return all
}

// bodyOf returns the body of an operation, or nil.
func bodyOf(o *operation) object {
	content := member(member(o.raw, "requestBody"), "content")
	if len(content) == 0 {
		return nil
	}
	media := object{}
	for name, m := range content {
		of, _ := m.(object)
		media[name] = object{"schema": withNull(canonical(of["schema"], o.method == "PATCH"))}
	}
	return object{"content": media, "required": member(o.raw, "requestBody")["required"] == true}
}

// withNull restores null as a type where it matters.
func withNull(s object) object {
	s = maps.Clone(s)
	if s["x-null"] == true {
		if types := list(s["type"]); len(types) > 0 {
			s["type"] = append(types, "null")
		}
		if values, ok := s["enum"].([]any); ok {
			s["enum"] = append(slices.Clone(values), nil)
		}
	}
	delete(s, "x-null")
	if properties := member(s, "properties"); properties != nil {
		all := object{}
		for name, p := range properties {
			inner, _ := p.(object)
			all[name] = withNull(inner)
		}
		s["properties"] = all
	}
	if items, ok := s["items"].(object); ok {
		s["items"] = withNull(items)
	}
	return s
}

// answerOf returns the schema of an operation's response, or nil.
func answerOf(o *operation) object {
	for status, response := range sorted(member(o.raw, "responses")) {
		if !strings.HasPrefix(status, "2") {
			continue
		}
		r, _ := response.(object)
		for name, media := range sorted(member(r, "content")) {
			if m, ok := media.(object); ok && strings.Contains(name, "json") && m["schema"] != nil {
				return canonical(m["schema"], false)
			}
		}
	}
	return nil
}

// differences compares the collected operations with oasdiff.
func (c *comparison) differences() error {
	if len(c.base) == 0 {
		return nil
	}
	base, err := specOf(c.base)
	if err != nil {
		return fmt.Errorf("our document: %w", err)
	}
	revision, err := specOf(c.revision)
	if err != nil {
		return fmt.Errorf("their document: %w", err)
	}
	found, sources, err := diff.GetWithOperationsSourcesMap(diff.NewConfig(), base, revision)
	if err != nil {
		return err
	}
	if found == nil {
		return nil
	}
	english := checker.NewDefaultLocalizer()
	config := checker.NewConfig(checker.GetAllChecks(), checker.WithStabilityLevel("draft"))
	for _, change := range checker.CheckBackwardCompatibilityUntilLevel(config, found, sources, checker.INFO) {
		op, ok := api.Lookup(strings.TrimPrefix(change.GetPath(), "/"))
		if !ok {
			continue
		}
		c.change(op, change, change.GetUncolorizedText(english))
	}
	return nil
}

// specOf returns a document with the given operations.
func specOf(paths object) (*load.SpecInfo, error) {
	data, err := json.Marshal(object{
		"openapi": "3.1.0", "info": object{"title": "", "version": "1"}, "paths": paths,
	})
	if err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		return nil, err
	}
	return &load.SpecInfo{Spec: doc, Url: "document", Version: "1"}, nil
}

// states sets the state of each operation from its findings.
func (c *comparison) states() {
	for _, f := range c.report.Findings {
		if r := c.results[f.Operation]; r != nil && r.State == Same && f.Severity > Info {
			r.State = Differs
		}
	}
	for i := range api.Table {
		r := *c.results[api.Table[i].Name]
		for _, s := range []*string{&r.Theirs, &r.Envelope, &r.Paging} {
			*s = mask.Line(*s, maxText) // it belongs to the service only
		}
		c.report.Operations = append(c.report.Operations, r)
	}
}

func same(a, b any) bool { return reflect.DeepEqual(a, b) }
