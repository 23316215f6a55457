package list

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/connic-go/connic/internal/lenient"
)

// A entry is an item of the lists of these tests.
type entry struct {
	ID    string   `json:"id"`
	Run   string   `json:"run_id"`
	Score *float64 `json:"score"`
	Inner struct {
		Costs []int `json:"costs"`
	} `json:"inner"`
}

func entries(keepBad bool) *Kind[entry] {
	return &Kind[entry]{
		Name: "entries", KeepBad: keepBad,
		ID: func(v *entry) string { return v.ID },
		Item: func(d *lenient.Decoder, like *entry) (*entry, error) {
			v := new(entry)
			return v, d.Like(v, like)
		},
	}
}

// rows returns entries with the ids from first to last.
func rows(first, last int) string {
	var ids []string
	for i := first; i <= last; i++ {
		ids = append(ids, fmt.Sprintf(`{"id": "%d"}`, i))
	}
	return "[" + strings.Join(ids, ", ") + "]"
}

// walk reads a list of which answer returns the pages, and returns the ids and
// the number of requests.
func walk(limit int, answer func(at Position, n int) string) (ids []string, requests int, err error) {
	k := entries(false)
	err = NewWalk(k.ID, Position{}).All(func(at Position) (*Page[entry], error) {
		requests++
		p, err := k.Decode(lenient.New([]byte(answer(at, requests))), at, limit)
		return &p, err
	}, func(v *entry) bool {
		ids = append(ids, v.ID)
		return true
	})
	return ids, requests, err
}

func TestListsEndWhereTheyEnd(t *testing.T) {
	t.Parallel()
	const total = 7
	slice := func(at Position, most int) string { return rows(at.Offset+1, min(at.Offset+most, total)) }
	tests := map[string]struct {
		answer   func(at Position, n int) string
		requests int
	}{
		"bare array":       {func(at Position, _ int) string { return slice(at, 3) }, 4},
		"total":            {func(at Position, _ int) string { return fmt.Sprintf(`{"items": %s, "total": 7}`, slice(at, 3)) }, 3},
		"total as text":    {func(at Position, _ int) string { return fmt.Sprintf(`{"total": "7", "data": %s}`, slice(at, 3)) }, 3},
		"total, pages cut": {func(at Position, _ int) string { return fmt.Sprintf(`{"items": %s, "total": 7}`, slice(at, 2)) }, 4},
		"has_more": {func(at Position, _ int) string {
			return fmt.Sprintf(`{"results": %s, "has_more": %v}`, slice(at, 3), at.Offset+3 < total)
		}, 3},
		"has_more and total": {func(at Position, _ int) string {
			return fmt.Sprintf(`{"results": %s, "has_more": %v, "total": 7}`, slice(at, 3), at.Offset+3 < total)
		}, 3},
		"cursor": {func(at Position, n int) string {
			if n > 1 && at.Cursor != fmt.Sprintf("c%d", n-1) {
				return `{"items": [], "error": "wrong cursor"}`
			}
			next := fmt.Sprintf(`, "next_cursor": "c%d"`, n)
			if n == 3 {
				next = ""
			}
			return fmt.Sprintf(`{"entries": %s%s}`, rows(3*n-2, min(3*n, total)), next)
		}, 3},
		"null cursor": {func(_ Position, n int) string {
			next := fmt.Sprintf(`"c%d"`, n)
			if n == 3 {
				next = "null"
			}
			return fmt.Sprintf(`{"entries": %s, "next_cursor": %s}`, rows(3*n-2, min(3*n, total)), next)
		}, 3},
		"next as URL": {func(at Position, _ int) string {
			next := `"https://elsewhere.example/runs?offset=3"`
			if at.Offset+3 >= total {
				next = "null"
			}
			return fmt.Sprintf(`{"next": %s, "items": %s}`, next, slice(at, 3))
		}, 3},
		"pages": {func(at Position, n int) string {
			return fmt.Sprintf(`{"items": %s, "page": %d, "pages": 3}`, slice(at, 3), n)
		}, 3},
		"a limit of its own": {func(at Position, _ int) string {
			return fmt.Sprintf(`{"items": %s, "limit": 2}`, slice(at, 2))
		}, 7},
		"all at once":             {func(Position, int) string { return rows(1, total) }, 2},
		"all at once, with total": {func(Position, int) string { return fmt.Sprintf(`{"items": %s, "total": 7}`, rows(1, total)) }, 1},
		"empty page with a cursor": {func(_ Position, n int) string {
			return []string{
				fmt.Sprintf(`{"items": %s, "next_cursor": "a"}`, rows(1, 4)), `{"items": [], "next_cursor": "b"}`, fmt.Sprintf(`{"items": %s}`, rows(5, 7)),
			}[n-1]
		}, 3},
		"has_more is a lie": {func(at Position, _ int) string {
			return fmt.Sprintf(`{"items": %s, "has_more": true}`, slice(at, 3))
		}, 5},
		"cursors that are ids": {func(_ Position, n int) string {
			return fmt.Sprintf(`{"items": %s, "next_cursor": %s}`, rows(3*n-2, min(3*n, total)), []string{`"1"`, `"4"`, "null"}[n-1])
		}, 3},
		"row by row": {func(at Position, _ int) string { return slice(at, 1) }, 8},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, requests, err := walk(3, test.answer)
			if err != nil || strings.Join(got, " ") != "1 2 3 4 5 6 7" || requests != test.requests {
				t.Errorf("%v, %v in %d requests, want %d", got, err, requests, test.requests)
			}
		})
	}
}

func TestS8ListsThatDoNotEnd(t *testing.T) {
	t.Parallel()
	page := func(first, last int, more string) string {
		return fmt.Sprintf(`{"items": %s%s}`, rows(first, last), more)
	}
	tests := map[string]struct {
		answer   func(at Position, n int) string
		requests int
		loop     string
	}{
		"ignores offset":           {func(Position, int) string { return page(1, 3, "") }, 3, samePage},
		"ignores offset, total":    {func(Position, int) string { return page(1, 3, `, "total": 100`) }, 2, samePage},
		"ignores offset, has_more": {func(Position, int) string { return page(1, 3, `, "has_more": true`) }, 3, samePage},
		"repeats a cursor":         {func(_ Position, n int) string { return page(3*n, 3*n+2, `, "next_cursor": "same"`) }, 2, "the service repeats a cursor"},
		"A-B-A": {func(_ Position, n int) string {
			return page(1+3*(n%2), 3+3*(n%2), fmt.Sprintf(`, "next_cursor": "c%d"`, n))
		}, 5, samePage},
		"A-B-A by offset": {func(_ Position, n int) string {
			return page(1+3*(n%2), 3+3*(n%2), `, "has_more": true`)
		}, 22, "21 pages in a row"},
		"A-B-A with total": {func(_ Position, n int) string {
			return page(1+3*(n%2), 3+3*(n%2), `, "total": 100`)
		}, 23, "21 pages in a row"},
		"cursor A-B-A": {func(_ Position, n int) string {
			return page(3*n, 3*n+2, fmt.Sprintf(`, "next_cursor": "c%d"`, n%2))
		}, 3, "the service repeats a cursor"},
		"empty for ever": {func(_ Position, n int) string {
			return fmt.Sprintf(`{"items": [], "next_cursor": "c%d"}`, n)
		}, maxFruitless + 1, "21 pages in a row"},
		"empty, has_more": {func(Position, int) string { return `{"items": [], "has_more": true}` }, 1, ""},
		"total is a lie": {func(_ Position, n int) string {
			return map[bool]string{true: page(1, 3, `, "total": 9`), false: `{"items": [], "total": 9}`}[n == 1]
		}, 2, ""},
		"never ends": {func(at Position, _ int) string {
			return page(at.Offset+1, at.Offset+3, `, "has_more": true`)
		}, maxPages, "more than 10000 pages"},
		"starts over": {func(at Position, _ int) string {
			return page(at.Offset%3000+1, at.Offset%3000+3, `, "total": 100000`)
		}, 1001, forgotten},
		"starts over, by cursor": {func(_ Position, n int) string {
			return page(n*3%3000+1, n*3%3000+3, fmt.Sprintf(`, "next_cursor": "c%d"`, n))
		}, 1001, forgotten},
		"items without an id": {func(Position, int) string { return `{"items": [{"score": 1}, {}, {}], "has_more": true}` }, 2, samePage},
		"changes without ids": {func(_ Position, n int) string {
			return fmt.Sprintf(`{"items": [{"score": %d}, {}, {}], "total": %d}`, n, 9+n)
		}, 2, anonymous},
		"repeats within":       {func(Position, int) string { return `{"items": [{"id": "r1"}, {"id": "r1"}], "has_more": false}` }, 1, ""},
		"null":                 {func(Position, int) string { return `{"items": null, "total": 0}` }, 1, ""},
		"foreign URL, no host": {func(Position, int) string { return page(1, 3, `, "next": "/evil"`) }, 3, samePage},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ids, requests, err := walk(3, test.answer)
			var loop *LoopError
			if errors.As(err, &loop) != (test.loop != "") || err != nil && !strings.HasPrefix(err.Error(), test.loop) {
				t.Errorf("it ended with %v", err)
			}
			if requests != test.requests {
				t.Errorf("it took %d requests, want %d", requests, test.requests)
			}
			ids = slices.DeleteFunc(ids, func(id string) bool { return id == "" })
			if n := len(ids); len(slices.Compact(slices.Sorted(slices.Values(ids)))) != n {
				t.Errorf("it yields items twice: %q", ids)
			}
		})
	}
}
