package doctor

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// A pair is an operation of ours and the operation of theirs that seems to
// match.
type pair struct {
	ours, theirs *operation
	score        float64
}

// match finds each of our operations among theirs: under its own path, under
// its path with another method, or under another path, if requests and
// responses are similar.
func match(ours, theirs *document) map[*operation]*operation {
	found := make(map[*operation]*operation)
	taken := make(map[*operation]bool)
	take := func(a, b *operation) { found[a], taken[b] = b, true }
	byPath := make(map[string]*operation)
	for _, b := range theirs.operations {
		byPath[b.method+" "+normal(b.path)] = b
	}
	for _, a := range ours.operations {
		if b := byPath[a.method+" "+normal(a.path)]; b != nil {
			take(a, b)
		}
	}
	var pairs []pair
	for _, a := range ours.operations {
		if found[a] != nil {
			continue
		}
		for _, b := range theirs.operations {
			if taken[b] {
				continue
			}
			if score := likeness(a, b); score >= 0.5 {
				pairs = append(pairs, pair{a, b, score})
			}
		}
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return cmp.Compare(b.score, a.score) })
	for _, p := range pairs {
		if found[p.ours] == nil && !taken[p.theirs] {
			take(p.ours, p.theirs)
		}
	}
	return found
}

// likeness returns a value from 0 to 1. Half of it is the path, the other half
// the request and response.
func likeness(a, b *operation) float64 {
	samePath := normal(a.path) == normal(b.path)
	reads := func(o *operation) bool { return o.method == "GET" }
	switch {
	case samePath && reads(a) == reads(b):
		return 1 // with another method
	case a.method != b.method:
		return 0
	}
	shape := 0.0
	if strings.HasSuffix(a.path, "}") == strings.HasSuffix(b.path, "}") {
		shape = 1
	}
	if n, m := strings.Count(a.path, "{"), strings.Count(b.path, "{"); n != m {
		shape = 0
	}
	inside, known := overlap(names(a), names(b))
	if !known {
		inside = overlapOnly(words(a.id()), words(b.id()))
	}
	return shape * (0.5*overlapOnly(words(a.path), words(b.path)) + 0.5*inside)
}

// words returns the words of a path or a name, in the singular.
func words(s string) map[string]bool {
	set := make(map[string]bool)
	for word := range strings.FieldsFuncSeq(placeholder.ReplaceAllString(strings.ToLower(s), ""), func(r rune) bool {
		return r == '/' || r == '-' || r == '_' || r == '.'
	}) {
		if word = strings.TrimSuffix(word, "s"); word != "project" && word != "" {
			set[word] = true
		}
	}
	return set
}

// names returns the fields and parameters of an operation.
func names(o *operation) map[string]bool {
	set := make(map[string]bool)
	for _, p := range list(o.raw["parameters"]) {
		if p, ok := p.(object); ok && p["in"] == "query" {
			set["?"+text(p["name"])] = true
		}
	}
	collect := func(prefix string, content object) {
		for _, media := range content {
			m, _ := media.(object)
			s := canonical(m["schema"], false)
			if items, _, ok := unlist(s, list(s["x-list-names"])); ok && items != nil {
				s = items
			}
			if options := list(s["anyOf"]); len(options) > 0 && s["x-member"] != nil {
				s, _ = options[0].(object)
			}
			for name, p := range member(s, "properties") {
				if p, _ := p.(object); p["x-alias-of"] == nil {
					set[prefix+name] = true
				}
			}
		}
	}
	collect(">", member(member(o.raw, "requestBody"), "content"))
	for status, response := range member(o.raw, "responses") {
		if strings.HasPrefix(status, "2") {
			r, _ := response.(object)
			collect("<", member(r, "content"))
		}
	}
	return set
}

// overlap returns the fraction of the smaller set that is in the other one.
// known is false if there is too little to compare.
func overlap(a, b map[string]bool) (share float64, known bool) {
	if min(len(a), len(b)) < 2 {
		return 0, false
	}
	return overlapOnly(a, b), true
}

func overlapOnly(a, b map[string]bool) float64 {
	both := 0
	for name := range maps.Keys(a) {
		if b[name] {
			both++
		}
	}
	if len(a)+len(b) == 0 {
		return 1
	}
	return 2 * float64(both) / float64(len(a)+len(b))
}
