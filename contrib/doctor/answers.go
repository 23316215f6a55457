package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/connic-go/connic/internal/api"
)

// answers removes the envelopes from the responses of both sides, reports what
// is unusual about theirs, and renames their fields to ours.
func (c *comparison) answers(op *api.Operation, ours, theirs object) (object, object) {
	result := c.results[op.Name]
	if names := list(ours["x-list-names"]); len(names) > 0 {
		items, e, ok := unlist(theirs, names)
		if !ok {
			c.add(op, Error, "list-missing", "", "Their response has no list where the client expects one.", "connic.CaptureResponse returns the response as it was received.")
			return object{}, object{}
		}
		result.Envelope = e.text
		switch {
		case !e.known:
			c.add(op, Error, "envelope", e.text, "Their list is under "+e.text+", which the client does not read.",
				"Client.Do decodes it into your own type.")
		case e.text != "":
			c.add(op, Info, "envelope", e.text, "Their list has the form "+e.text+". The client understands it.", "")
		}
		ours, _, _ = unlist(ours, names)
		theirs = items
	} else {
		ours, theirs = c.unwrap(op, ours, theirs)
	}
	ours, theirs = c.names(op, "", ours, theirs)
	return ours, theirs
}

// unwrap takes an object out of another one.
func (c *comparison) unwrap(op *api.Operation, ours, theirs object) (object, object) {
	name := text(ours["x-member"])
	if name != "" {
		if own := theirs["x-member"]; own == name { // a copy of ours
			theirs, _ = list(theirs["anyOf"])[0].(object)
		}
		ours, _ = list(ours["anyOf"])[0].(object)
	}
	want := member(ours, "properties")
	if theirs["type"] == "array" {
		c.add(op, Error, "list-unexpected", "", "Their response is a list, and the client reads one object.", "Client.Do decodes it into your own type.")
		return object{}, object{}
	}
	properties := member(theirs, "properties")
	if p := member(properties, name); name != "" && p["properties"] != nil && len(properties) == 1 {
		c.add(op, Info, "wrapped", name, "Their object is under "+name+". The client understands it.", "")
		return ours, p
	}
	most, at := shared(want, properties), ""
	for key, p := range sorted(properties) {
		p, _ := p.(object)
		if want[key] != nil && text(member(want, key)["x-alias-of"]) == "" {
			continue // a field that is an object
		}
		if n := shared(want, member(p, "properties")); n > most && n*2 > len(want)/2 {
			most, at = n, key
		}
	}
	if at != "" {
		c.add(op, Error, "wrapped", at, "Their object is under "+at+", which the client does not read.", "Client.Do decodes it into your own type.")
		return ours, member(properties, at)
	}
	return ours, theirs
}

// shared counts the names that two sets of properties have in common.
func shared(a, b object) (n int) {
	for name := range b {
		if a[name] != nil {
			n++
		}
	}
	return n
}

// names renames their fields to ours where the client accepts another name, and
// removes our other aliases. It returns which fields are nested one level
// deeper.
func (c *comparison) names(op *api.Operation, path string, ours, theirs object) (object, object) {
	ours, theirs = maps.Clone(ours), maps.Clone(theirs)
	if items := member(ours, "items"); items["properties"] != nil && member(theirs, "items") != nil {
		ours["items"], theirs["items"] = c.names(op, path, items, member(theirs, "items"))
		return ours, theirs
	}
	want, have := maps.Clone(member(ours, "properties")), maps.Clone(member(theirs, "properties"))
	if want == nil || have == nil {
		return ours, theirs
	}
	where := func(name string) string {
		if path == "" {
			return name
		}
		return path + "." + name
	}
	copied := len(want) > 0
	for name := range want {
		copied = copied && have[name] != nil // our copy also has all the aliases
	}
	for name, p := range sorted(member(ours, "properties")) {
		p, _ := p.(object)
		of := text(p["x-alias-of"])
		if of == "" {
			continue
		}
		delete(want, name)
		theirOwn := member(have, name)
		if have[name] == nil {
			continue
		}
		if copied || have[of] != nil {
			delete(have, name)
			continue
		}
		found, how := theirOwn, name
		switch p["type"] {
		case "array":
			found, how = member(theirOwn, "items"), name+"[]"
		case "object":
			inner := member(p, "properties")
			at := ""
			for key := range sorted(inner) {
				if member(theirOwn, "properties")[key] != nil {
					at = key
				}
			}
			if at == "" {
				continue
			}
			found, how = member(member(theirOwn, "properties"), at), name+"."+at
		}
		delete(have, name)
		have[of] = found
		c.add(op, Info, "field-alias", where(of), fmt.Sprintf("Their %s is what the client calls %s. It understands both.", where(how), where(of)), "")
	}
	for name, p := range sorted(want) {
		if have[name] != nil {
			continue
		}
		for outer, q := range sorted(have) {
			q, _ := q.(object)
			if inner := member(q, "properties"); want[outer] == nil && inner[name] != nil {
				c.addField(op, p, Warning, "field-moved", where(name),
					fmt.Sprintf("The field %s is under %s in their response, which the client does not read.", where(name), where(outer+"."+name)))
				delete(want, name)
				break
			}
		}
		if want[name] == nil {
			continue
		}
		if other := c.alike(name, p, want, have); other != "" {
			c.addField(op, p, Warning, "field-renamed", where(name),
				fmt.Sprintf("Their response has no field %s. It may be %s, which the client does not read.", where(name), where(other)))
			delete(want, name)
			delete(have, other)
		}
	}
	for name, p := range want {
		if q := member(have, name); q != nil {
			want[name], have[name] = alignTypes(p, q)
		}
	}
	for name, p := range want {
		if p, _ := p.(object); p["properties"] != nil || member(p, "items")["properties"] != nil {
			if q := member(have, name); q != nil {
				want[name], have[name] = c.names(op, where(name), p, q)
			}
		}
	}
	ours["properties"], theirs["properties"] = want, have
	return ours, theirs
}

// alignTypes removes differences that do not matter to the client: a field that
// it passes through, one of several types, a time in another format.
func alignTypes(p any, theirs object) (object, object) {
	ours, _ := p.(object)
	ours, theirs = maps.Clone(ours), maps.Clone(theirs)
	delete(ours, "format")
	delete(theirs, "format")
	types := list(ours["type"])
	if len(types) == 0 && ours["properties"] == nil && ours["anyOf"] == nil {
		return ours, maps.Clone(ours)
	}
	own := list(theirs["type"])
	if len(own) > 0 && len(types) > len(own) && !slices.ContainsFunc(own, func(t any) bool { return !slices.Contains(types, t) }) {
		theirs["type"] = ours["type"]
	}
	if len(own) == 1 && own[0] == "integer" && slices.Contains(types, any("number")) {
		theirs["type"] = ours["type"]
	}
	return ours, theirs
}

func (c *comparison) addField(op *api.Operation, p any, severity Severity, id, subject, text string) {
	o, _ := p.(object)
	mark := stringOr(o["x-status"], string(op.Mark))
	c.report.add(Finding{
		Severity: severity, ID: id, Operation: op.Name, Subject: subject, Text: text, Mark: mark,
		Remedy: "connic.CaptureResponse returns the response as it was received.",
	})
}

func stringOr(v any, other string) string {
	if s := text(v); s != "" {
		return s
	}
	return other
}

// alike finds a field of theirs that may be ours under another name: of the
// same type, unknown to the client, and with a word in common.
func (c *comparison) alike(name string, p any, want, have object) string {
	of, _ := p.(object)
	for other, q := range sorted(have) {
		if q, _ := q.(object); want[other] == nil && same(q["type"], of["type"]) && overlapOnly(words(name), words(other)) >= 0.5 {
			return other
		}
	}
	return ""
}

// paging reports how their list is paged.
func (c *comparison) paging(op *api.Operation, b *operation) {
	if !slices.Contains(op.Query, "offset") {
		return
	}
	has := make(map[string]bool)
	for _, p := range queries(b) {
		has[strings.ToLower(text(p.(object)["name"]))] = true
	}
	answered := map[string]bool{}
	if s := answerOf(b); s != nil {
		if s["x-list"] != nil {
			return
		}
		_, e, _ := unlist(s, list("items"))
		for _, name := range e.paged {
			answered[name] = true
		}
	}
	result := c.results[op.Name]
	switch {
	case has["offset"]:
		result.Paging = "offset"
	case has["cursor"] || has["after"] || has["page_token"] || has["starting_after"]:
		result.Paging = "cursor"
		severity, text := Error, "Their list is paged by a cursor that the client does not know how to follow."
		if has["cursor"] && (answered["next_cursor"] || answered["next"]) {
			severity, text = Warning, "Their list is paged by a cursor: All follows it, and offsets are ignored."
		}
		c.add(op, severity, "paging", "cursor", text, "")
	case has["page"] || has["page_number"]:
		result.Paging = "page"
		c.add(op, Error, "paging", "page", "Their list is paged by page numbers, and the client sends offsets: All ends after the first page.",
			`connic.WithQuery("page", "2") asks for another page.`)
	default:
		result.Paging = "none"
	}
}

// errors checks whether their errors have a detail.
func (c *comparison) errors(op *api.Operation, b *operation) {
	for status, response := range sorted(member(b.raw, "responses")) {
		if !strings.HasPrefix(status, "4") {
			continue
		}
		r, _ := response.(object)
		for _, media := range sorted(member(r, "content")) {
			m, _ := media.(object)
			s := canonical(m["schema"], false)
			if properties := member(s, "properties"); len(properties) > 0 && properties["detail"] == nil {
				c.add(op, Warning, "error-shape", status, fmt.Sprintf("Their %s has no detail, so Error.Detail is empty. Error.Body has the whole response.", status), "")
				return
			}
		}
	}
}
