package conformance

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

func steps(path string) []string {
	if path == "" {
		return nil
	}
	return strings.Split(path, ".")
}

// absent stands where a path leads nowhere.
type absent struct{}

// at returns what a path leads to: one value, or one for each element of a list.
func at(value any, path []string) []any {
	if len(path) == 0 {
		return []any{value}
	}
	switch v := value.(type) {
	case map[string]any:
		if inner, ok := v[path[0]]; ok {
			return at(inner, path[1:])
		}
	case []any:
		if path[0] == "*" {
			var all []any
			for _, inner := range v {
				all = append(all, at(inner, path[1:])...)
			}
			return all
		}
		if i, err := strconv.Atoi(path[0]); err == nil {
			if i < len(v) {
				return at(v[i], path[1:])
			}
			return nil
		}
	}
	return []any{absent{}}
}

func typeOf(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "bool"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return "absent"
}

// compare says how the values at a path differ from the types that are expected.
func compare(value any, path, types string) []string {
	var seen []string
	for _, v := range at(value, steps(path)) {
		if kind := typeOf(v); !slices.Contains(strings.Split(types, "|"), kind) && !slices.Contains(seen, kind) {
			seen = append(seen, kind)
		}
	}
	for i, kind := range seen {
		seen[i] = fmt.Sprintf("%q is %s, expected %s", path, kind, types)
	}
	return seen
}

// reached reports whether every key has one of its values.
func reached(value any, until map[string][]string) bool {
	for path, wanted := range until {
		found := at(value, steps(path))
		if len(found) == 0 || slices.ContainsFunc(found, func(v any) bool {
			text, ok := v.(string)
			return !ok || !slices.Contains(wanted, text)
		}) {
			return false
		}
	}
	return true
}

// Table is a report of what came of the cases; with all unset, only of those that
// differ.
func Table(rows []Row, all bool) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "operation\tcase\tstatus\tresult")
	for _, row := range rows {
		result := "as expected"
		switch {
		case row.Skipped != "":
			result = "skipped: " + row.Skipped
		case len(row.Differs) > 0:
			result = strings.Join(row.Differs, "; ")
		}
		if all || len(row.Differs) > 0 {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", row.Case.Op, row.Case.Name, row.Status, result)
		}
	}
	_ = w.Flush()
	return text.String()
}
