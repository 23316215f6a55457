package tests

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/connic-go/connic/internal/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestShapesCoverTheTable fails when an operation has no shape, or when none of
// its shapes sends one of the parameters or keys that the table has for it, or
// when one sends another.
func TestShapesCoverTheTable(t *testing.T) {
	t.Parallel()
	byOp := make(map[string][]shape)
	for _, cases := range shapes {
		for _, s := range cases {
			byOp[s.op] = append(byOp[s.op], s)
		}
	}
	for i := range api.Table {
		op := &api.Table[i]
		if op.Keyless {
			continue // Login has its own tests
		}
		section, _, _ := strings.Cut(op.Name, ".")
		query, body := make(map[string]bool), make(map[string]bool)
		formed := false // a body that is not JSON checks its own keys
		for _, s := range byOp[op.Name] {
			assert.Equal(t, op.Method, s.method, "%s/%s", section, s.name)
			for name := range s.query {
				query[name] = true
			}
			formed = formed || s.form != nil
			if s.body == "" {
				continue
			}
			var keys map[string]json.RawMessage
			require.NoError(t, json.Unmarshal([]byte(s.body), &keys), "%s/%s", section, s.name)
			for name := range keys {
				body[name] = true
			}
		}
		assert.NotEmpty(t, byOp[op.Name], "%s has no shape", op.Name)
		assert.ElementsMatch(t, op.Query, slices.Collect(maps.Keys(query)), "the parameters of %s", op.Name)
		if !formed && !slices.Contains(op.Body, "*") {
			assert.ElementsMatch(t, op.Body, slices.Collect(maps.Keys(body)), "the body keys of %s", op.Name)
		}
	}
	for name := range byOp {
		_, ok := api.Lookup(name)
		assert.True(t, ok, "there is no operation %s", name)
	}
}
