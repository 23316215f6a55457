package connictest

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// below reports whether a namespace equals root or is below it. All namespaces
// are below "".
func below(namespace, root string) bool {
	return root == "" || namespace == root || strings.HasPrefix(namespace, root+".")
}

// fullOf refuses an entry that is too much for the fake, with what is stored
// and what is being ingested.
func (s *Server) fullOf(e *entry) *answer {
	n, size := len(s.entries), e.size
	for _, other := range s.entries {
		size += other.size
	}
	for _, j := range s.jobs {
		if j.entry != nil {
			n, size = n+1, size+j.entry.size
		}
	}
	if complaint := full(size, maxEntryBytes, "bytes of entries"); complaint != nil {
		return complaint
	}
	return full(n, maxResources, "entries")
}

// listEntries lists the entries of a namespace and those below it.
func (s *Server) listEntries(x *exchange) answer {
	environment, complaint := s.knowledge(x)
	if complaint != nil {
		return *complaint
	}
	var items []object
	for _, e := range slices.Backward(s.entries) {
		if e.environment == environment && below(e.namespace, x.param("namespace")) {
			items = append(items, e.object(false))
		}
	}
	return x.page(items)
}

// wanted returns a predicate for the entry that a request names. Without a
// namespace, it matches in all of them.
func (x *exchange) wanted(environment string) func(*entry) bool {
	namespace := x.param("namespace")
	return func(e *entry) bool {
		return e.environment == environment && e.id == x.id && (namespace == "" || e.namespace == namespace)
	}
}

// pick returns the single matching entry, or nil.
func (s *Server) pick(wanted func(*entry) bool) (*entry, *answer) {
	var found *entry
	for _, e := range s.entries {
		if !wanted(e) {
			continue
		}
		if found != nil {
			a := problem(http.StatusConflict, "Several namespaces have an entry with this id; name one")
			return nil, &a
		}
		found = e
	}
	return found, nil
}

func (s *Server) getEntry(x *exchange) answer {
	environment, complaint := s.knowledge(x)
	if complaint != nil {
		return *complaint
	}
	e, complaint := s.pick(x.wanted(environment))
	switch {
	case complaint != nil:
		return *complaint
	case e == nil:
		return notFound("Entry")
	}
	return ok(e.object(true))
}

// deleteEntry deletes an entry, and abandons ingestions that would restore it.
func (s *Server) deleteEntry(x *exchange) answer {
	environment, complaint := s.knowledge(x)
	if complaint != nil {
		return *complaint
	}
	wanted := x.wanted(environment)
	e, complaint := s.pick(wanted)
	if complaint != nil {
		return *complaint
	}
	abandoned := s.abandon(wanted)
	if e == nil && !abandoned {
		return notFound("Entry")
	}
	before := object{"entry_id": x.id}
	if e != nil {
		before = e.object(false)
		s.entries = slices.DeleteFunc(s.entries, func(other *entry) bool { return other == e })
	}
	s.changed(x, "knowledge_entry", x.id, before, nil)
	return noContent()
}

func (s *Server) deleteNamespace(x *exchange) answer {
	environment, complaint := s.knowledge(x)
	if complaint != nil {
		return *complaint
	}
	root := x.param("namespace")
	if root == "" {
		return *invalid("Field required", "missing", "query", "namespace")
	}
	wanted := func(e *entry) bool { return e.environment == environment && below(e.namespace, root) }
	abandoned := s.abandon(wanted)
	had := len(s.entries)
	s.entries = slices.DeleteFunc(s.entries, wanted)
	deleted := had - len(s.entries)
	if deleted == 0 && !abandoned {
		return notFound("Namespace")
	}
	s.changed(x, "knowledge_namespace", root, object{"name": root, "total_entry_count": deleted}, nil)
	return ok(object{"deleted": deleted})
}

// listNamespaces lists the tree below a parent to the requested depth, level by
// level.
func (s *Server) listNamespaces(x *exchange) answer {
	environment, complaint := s.knowledge(x)
	if complaint != nil {
		return *complaint
	}
	parent, depth := x.param("parent"), 1
	if complaint := checkPlace(parent, "query", "parent"); complaint != nil {
		return *complaint
	}
	if x.has("depth") {
		var err error
		if depth, err = strconv.Atoi(x.param("depth")); err != nil || depth < 0 {
			return *invalid("Input should be an integer, 0 or more", "int_parsing", "query", "depth")
		}
	}
	own, total := make(map[string]int), make(map[string]int)
	for _, e := range s.entries {
		if e.environment != environment || e.namespace == "" {
			continue
		}
		own[e.namespace]++
		for name := e.namespace; name != ""; name = above(name) {
			total[name]++
		}
	}
	levels := func(name string) int {
		if name == "" {
			return 0
		}
		return strings.Count(name, ".") + 1
	}
	children := make(map[string]bool)
	for name := range total {
		children[above(name)] = true
	}
	items := []object{}
	for _, name := range slices.Sorted(maps.Keys(total)) {
		down := levels(name) - levels(parent)
		if name == parent || !below(name, parent) || (depth > 0 && down > depth) {
			continue
		}
		items = append(items, object{
			"name": name, "entry_count": own[name], "total_entry_count": total[name], "has_children": children[name],
		})
	}
	return ok(object{"namespaces": items, "total": len(items)})
}

// above returns the parent of a namespace, or "" for one at the root.
func above(name string) string {
	i := strings.LastIndexByte(name, '.')
	return name[:max(i, 0)]
}
