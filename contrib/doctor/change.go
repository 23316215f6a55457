package doctor

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/connic-go/connic/internal/api"
	"github.com/oasdiff/oasdiff/checker"
)

// change converts a change found by oasdiff to a finding. Our document is the
// old one and theirs the new one, so a breaking change breaks the client.
func (c *comparison) change(op *api.Operation, change checker.Change, english string) {
	id := change.GetId()
	if ignored(id) {
		return
	}
	f := Finding{
		Severity: severityOf(change), ID: id, Operation: op.Name, Subject: subjectOf(change), Mark: c.mark(op, subjectOf(change)),
		Text: "Theirs, compared with ours: " + plain(english) + ".",
	}
	switch id {
	case "response-optional-property-removed":
		f.Text = fmt.Sprintf("Their response has no field %s, so it keeps its default.", f.Subject)
	case "response-optional-property-added", "response-required-property-added":
		f.Text = fmt.Sprintf("Their response has a field %s, which the client does not read.", f.Subject)
		f.Remedy = "connic.CaptureResponse returns the response as it was received."
	case "request-parameter-removed":
		f.Severity = Warning
		f.Text = fmt.Sprintf("They have no parameter %s. It may be refused, or ignored.", f.Subject)
	case "new-required-request-parameter":
		f.Text = fmt.Sprintf("They need the parameter %s, which the client does not send.", f.Subject)
		f.Remedy = fmt.Sprintf("connic.WithQuery(%q, …) sends it.", f.Subject)
	case "new-optional-request-parameter":
		f.Text = fmt.Sprintf("They have a parameter %s, which the client does not offer.", f.Subject)
		f.Remedy = fmt.Sprintf("connic.WithQuery(%q, …) sends it.", f.Subject)
	case "request-property-removed":
		if c.open(op) {
			return // they accept any key
		}
		f.Severity = Warning
		f.Text = fmt.Sprintf("They have no key %s in the body. It may be refused, or ignored.", f.Subject)
	case "new-required-request-property":
		f.Text = fmt.Sprintf("They need the key %s in the body, which the client does not send.", f.Subject)
		f.Remedy = "Client.Do sends a body of your own."
	case "new-optional-request-property":
		f.Text = fmt.Sprintf("They have a key %s in the body, which the client does not offer.", f.Subject)
	}
	c.report.add(f)
}

// ignored lists changes that do not matter: they allow more than the client
// sends, or are artifacts of the comparison.
func ignored(id string) bool {
	for _, end := range []string{
		"-pattern-removed", "-pattern-generalized", "-min-length-decreased", "-max-length-increased", "-max-increased", "-min-decreased",
		"-min-items-decreased", "-became-optional", "-exclusive-min-decreased", "-exclusive-max-increased", "-min-length-unset",
		"-type-generalized", "-type-compatible",
	} {
		if strings.HasSuffix(id, end) && strings.HasPrefix(id, "request") {
			return true
		}
	}
	for _, part := range []string{"api-tag", "api-operation-id", "api-security", "api-schema", "description", "deprecat", "stability", "version"} {
		if strings.Contains(id, part) {
			return true
		}
	}
	// The content and size of a response are up to the service.
	return strings.HasPrefix(id, "response") && slices.ContainsFunc([]string{
		"-min-", "-max-", "-pattern-", "-became-optional", "-became-required", "-required-property-became",
		"-enum-value-removed", "-became-enum", "-became-not-enum", "nullable", "-exclusive-",
	}, func(part string) bool { return strings.Contains(id, part) })
}

func severityOf(change checker.Change) Severity {
	id := change.GetId()
	switch {
	case id == "response-property-enum-value-added":
		return Warning // the client preserves it without knowing its meaning
	case strings.HasPrefix(id, "response-property") && strings.Contains(id, "type") && convertible(change):
		return Warning
	case id == "response-optional-property-removed", id == "response-required-property-removed":
		return Warning
	}
	switch change.GetLevel() {
	case checker.ERR:
		return Error
	case checker.WARN:
		return Warning
	default:
		return Info
	}
}

// open reports whether their body accepts any key.
func (c *comparison) open(op *api.Operation) bool {
	for _, o := range member(c.revision, "/"+op.Name) {
		operation, _ := o.(object)
		for _, media := range member(member(operation, "requestBody"), "content") {
			m, _ := media.(object)
			s := member(m, "schema")
			return s["additionalProperties"] == true || s["properties"] == nil
		}
	}
	return false
}

// convertible reports whether the client converts between the types: between
// numbers and strings if that is lossless, and from anything to a string, as
// its JSON.
func convertible(change checker.Change) bool {
	args := change.GetArgs()
	texts := make([]string, len(args))
	for i := range args {
		texts[i] = strings.Trim(fmt.Sprint(args[i]), "`'\"")
	}
	if slices.Contains(texts, "string") && len(texts) > 2 && texts[2] == "string" {
		return true
	}
	all := strings.Join(texts, " ")
	return !slices.ContainsFunc([]string{"object", "array", "boolean", "any"}, func(of string) bool { return strings.Contains(all, of) })
}

// subjectOf returns the parameter or field that a change concerns.
func subjectOf(change checker.Change) string {
	args := change.GetArgs()
	texts := make([]string, len(args))
	for i := range args {
		texts[i] = strings.Trim(fmt.Sprint(args[i]), "`'\"")
	}
	if len(texts) == 0 {
		return ""
	}
	at := 0
	id := change.GetId()
	switch {
	case strings.HasPrefix(id, "request-parameter"), strings.Contains(id, "request-parameter"):
		at = slices.IndexFunc(texts, func(s string) bool { return s == "query" || s == "header" }) + 1
	case strings.Contains(id, "enum-value"), strings.Contains(id, "pattern-added"):
		at = 1
	case strings.Contains(id, "type-changed"):
		at = 0
	}
	if at >= len(texts) {
		at = 0
	}
	return strings.ReplaceAll(strings.TrimPrefix(strings.ReplaceAll(texts[at], "/items", ""), "/"), "/", ".")
}

// plain removes the names of the canonical form from a text.
func plain(s string) string {
	for _, part := range []string{
		" for the response status `200`", " with the `200` status", " for the status `200`", " for status `200`", " for the response with the status `200`",
	} {
		s = strings.ReplaceAll(s, part, "")
	}
	return strings.TrimSuffix(ofMedia.ReplaceAllString(s, ""), ".")
}

var ofMedia = regexp.MustCompile(" (to|from|of|in) (the )?media type `[^`]*`( (of|for) (the )?response `200`)?")

// mark returns how the field or parameter is known.
func (c *comparison) mark(op *api.Operation, subject string) string {
	methods := member(c.base, "/"+op.Name)
	for _, o := range methods {
		o, _ := o.(object)
		for _, p := range list(o["parameters"]) {
			if p := p.(object); p["name"] == subject {
				return stringOr(p["x-status"], string(op.Mark))
			}
		}
		s := member(member(member(member(member(o, "responses"), "200"), "content"), "application/json"), "schema")
		for part := range strings.SplitSeq(subject, ".") {
			if items := member(s, "items"); items != nil {
				s = items
			}
			s = member(member(s, "properties"), part)
		}
		if s != nil {
			return stringOr(s["x-status"], string(op.Mark))
		}
	}
	return string(op.Mark)
}
