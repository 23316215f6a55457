package connic

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// lists responds to list requests and records their queries.
type lists struct {
	queries []string
	answer  func(r *http.Request, n int) string
}

func (l *lists) RoundTrip(r *http.Request) (*http.Response, error) {
	l.queries = append(l.queries, r.URL.RawQuery)
	return respond(200, l.answer(r, len(l.queries))), nil
}

func (l *lists) client(t *testing.T, opts ...Option) *Client {
	t.Helper()
	return newTestClient(t, l.RoundTrip, append([]Option{WithoutRateLimit()}, opts...)...)
}

// rows returns runs with the ids from first to last.
func rows(first, last int) string {
	var ids []string
	for i := first; i <= last; i++ {
		ids = append(ids, fmt.Sprintf(`{"id": "r%d"}`, i))
	}
	return "[" + strings.Join(ids, ", ") + "]"
}

func ids(t *testing.T, seq iter.Seq2[*Run, error]) (ids []string, err error) {
	t.Helper()
	for run, e := range seq {
		if e != nil {
			return ids, e
		}
		ids = append(ids, strings.TrimPrefix(run.ID, "r"))
	}
	return ids, nil
}

func number(r *http.Request, name string) int {
	n, _ := strconv.Atoi(r.URL.Query().Get(name))
	return n
}

func TestListsEndWhereTheyEnd(t *testing.T) {
	t.Parallel()
	const total = 7
	slice := func(r *http.Request) (string, int, int) {
		offset, limit := number(r, "offset"), number(r, "limit")
		return rows(offset+1, min(offset+limit, total)), offset, limit
	}
	tests := map[string]struct {
		answer   func(r *http.Request, n int) string
		requests int
	}{
		// Its pages overlap by a row, because nothing else shows what was deleted.
		"bare array": {func(r *http.Request, _ int) string { page, _, _ := slice(r); return page }, 4},
		"total": {func(r *http.Request, _ int) string {
			page, _, _ := slice(r)
			return fmt.Sprintf(`{"items": %s, "total": %d}`, page, total)
		}, 3},
		"total as text": {func(r *http.Request, _ int) string {
			page, _, _ := slice(r)
			return fmt.Sprintf(`{"total": "%d", "data": %s}`, total, page)
		}, 3},
		"has_more": {func(r *http.Request, _ int) string {
			page, offset, limit := slice(r)
			return fmt.Sprintf(`{"results": %s, "has_more": %v}`, page, offset+limit < total)
		}, 3},
		"cursor": {func(r *http.Request, n int) string {
			if n > 1 && (r.URL.Query().Get("cursor") != fmt.Sprintf("c%d", n-1) || r.URL.Query().Has("offset")) {
				return `{"items": [], "error": "wrong cursor"}`
			}
			next := fmt.Sprintf(`, "next_cursor": "c%d"`, n)
			if n == 3 {
				next = ""
			}
			return fmt.Sprintf(`{"runs": %s%s}`, rows(3*n-2, min(3*n, total)), next)
		}, 3},
		"null cursor": {func(_ *http.Request, n int) string {
			next := fmt.Sprintf(`"c%d"`, n)
			if n == 3 {
				next = "null"
			}
			return fmt.Sprintf(`{"runs": %s, "next_cursor": %s}`, rows(3*n-2, min(3*n, total)), next)
		}, 3},
		"next as URL": {func(r *http.Request, _ int) string {
			page, offset, limit := slice(r)
			next := `"https://elsewhere.example/runs?offset=3"`
			if offset+limit >= total {
				next = "null"
			}
			return fmt.Sprintf(`{"next": %s, "items": %s}`, next, page)
		}, 3},
		"pages": {func(r *http.Request, n int) string {
			page, _, _ := slice(r)
			return fmt.Sprintf(`{"items": %s, "page": %d, "pages": 3}`, page, n)
		}, 3},
		"empty page": {func(r *http.Request, _ int) string {
			page, offset, _ := slice(r)
			if offset >= total {
				page = "[]"
			}
			return fmt.Sprintf(`{"items": %s, "limit": 1}`, page)
		}, 4},
		"empty page with a cursor": {func(_ *http.Request, n int) string {
			switch n {
			case 1:
				return fmt.Sprintf(`{"items": %s, "next_cursor": "a"}`, rows(1, 4))
			case 2:
				return `{"items": [], "next_cursor": "b"}`
			default:
				return fmt.Sprintf(`{"items": %s}`, rows(5, 7))
			}
		}, 3},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &lists{answer: test.answer}
			params := &RunListParams{Limit: 3, Status: []RunStatus{RunFailed}}
			before := *params
			c := l.client(t)
			for range 2 { // an iterator can be ranged over again
				l.queries = nil
				got, err := ids(t, c.Runs.All(t.Context(), params))
				if err != nil || strings.Join(got, " ") != "1 2 3 4 5 6 7" {
					t.Errorf("%v, %v", got, err)
				}
				if len(l.queries) != test.requests || !strings.HasPrefix(l.queries[0], "status=failed&limit=3") {
					t.Errorf("%d requests: %q, want %d", len(l.queries), l.queries, test.requests)
				}
			}
			if !reflect.DeepEqual(before, *params) {
				t.Errorf("the caller's parameters became %+v", params)
			}
		})
	}
}

func TestS8ListsThatDoNotEnd(t *testing.T) {
	t.Parallel()
	page := func(first, last int, more string) string {
		return fmt.Sprintf(`{"items": %s%s}`, rows(first, last), more)
	}
	// A page that comes again may be one before which as many rows were added as
	// it has. Only the one after it tells, unless the total does.
	tests := map[string]struct {
		answer  func(r *http.Request, n int) string
		atMost  int // requests
		looping bool
	}{
		"ignores offset":           {func(*http.Request, int) string { return page(1, 3, "") }, 3, true},
		"ignores offset, total":    {func(*http.Request, int) string { return page(1, 3, `, "total": 100`) }, 2, true},
		"ignores offset, has_more": {func(*http.Request, int) string { return page(1, 3, `, "has_more": true`) }, 3, true},
		"repeats a cursor":         {func(_ *http.Request, n int) string { return page(3*n, 3*n+2, `, "next_cursor": "same"`) }, 2, true},
		"A-B-A": {func(_ *http.Request, n int) string {
			return page(1+3*(n%2), 3+3*(n%2), fmt.Sprintf(`, "next_cursor": "c%d"`, n))
		}, 5, true},
		"cursor A-B-A": {func(_ *http.Request, n int) string {
			return page(3*n, 3*n+2, fmt.Sprintf(`, "next_cursor": "c%d"`, n%2))
		}, 3, true},
		"empty for ever": {func(_ *http.Request, n int) string {
			return fmt.Sprintf(`{"items": [], "next_cursor": "c%d"}`, n)
		}, 21, true},
		"empty, has_more": {func(*http.Request, int) string { return `{"items": [], "has_more": true}` }, 1, false},
		"total is a lie": {func(_ *http.Request, n int) string {
			return map[bool]string{true: page(1, 3, `, "total": 9`), false: `{"items": [], "total": 9}`}[n == 1]
		}, 2, false},
		"never ends":           {func(_ *http.Request, n int) string { return page(3*n, 3*n+2, `, "has_more": true`) }, 10_000, true},
		"items without an id":  {func(*http.Request, int) string { return `{"items": [{"status": "failed"}, {}, {}], "has_more": true}` }, 2, true},
		"repeats within":       {func(*http.Request, int) string { return `{"items": [{"id": "r1"}, {"id": "r1"}], "has_more": false}` }, 1, false},
		"null":                 {func(*http.Request, int) string { return `{"items": null, "total": 0}` }, 1, false},
		"foreign URL, no host": {func(*http.Request, int) string { return page(1, 3, `, "next": "/evil"`) }, 3, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &lists{answer: test.answer}
			_, err := ids(t, l.client(t).Runs.All(t.Context(), &RunListParams{Limit: 3}))
			if errors.Is(err, ErrPageLoop) != test.looping || (err != nil && !test.looping) {
				t.Errorf("it ended with %v", err)
			}
			if len(l.queries) > test.atMost {
				t.Errorf("it took %d requests, want at most %d", len(l.queries), test.atMost)
			}
		})
	}
}

// TestListsThatChange changes a list between its pages, in all that a service
// may say of its length: the caller deletes what is yielded, and items arrive,
// among them exactly a page.
func TestListsThatChange(t *testing.T) {
	t.Parallel()
	envelopes := map[string]func(items string, offset, n, total int) string{
		"bare": func(items string, _, _, _ int) string { return items },
		"total": func(items string, _, _, total int) string {
			return fmt.Sprintf(`{"items": %s, "total": %d}`, items, total)
		},
		"has_more": func(items string, at, n, total int) string {
			return fmt.Sprintf(`{"items": %s, "has_more": %v}`, items, at+n < total)
		},
		"its own limit": func(items string, _, n, _ int) string {
			return fmt.Sprintf(`{"items": %s, "limit": %d}`, items, max(n, 1))
		},
		"has_more, total": func(items string, at, n, total int) string {
			return fmt.Sprintf(`{"items": %s, "total": %d, "has_more": %v}`, items, total, at+n < total)
		},
	}
	for name, envelope := range envelopes {
		for change, test := range map[string]struct {
			longest, arrive int // rows on a page; rows that arrive before each of the first two
			remove          bool
			most            int // requests
		}{
			"nothing":       {100, 0, false, 4},
			"capped pages":  {30, 0, false, 10},
			"some arrive":   {100, 7, false, 5},
			"a page":        {100, 100, false, 7},
			"half as many":  {100, 150, false, 8},
			"all deleted":   {100, 0, true, 9},
			"both, and cap": {40, 40, true, 30},
		} {
			t.Run(name+", "+change, func(t *testing.T) {
				t.Parallel()
				var list []string
				for i := range 250 {
					list = append(list, fmt.Sprintf("old%d", i))
				}
				l := &lists{answer: func(r *http.Request, n int) string {
					if n == 2 || n == 3 {
						for i := range test.arrive {
							list = slices.Insert(list, 0, fmt.Sprintf("new%d-%d", n, i))
						}
					}
					at := min(number(r, "offset"), len(list))
					page := list[at:min(at+min(number(r, "limit"), test.longest), len(list))]
					var items []string
					for _, id := range page {
						items = append(items, fmt.Sprintf(`{"id": %q}`, id))
					}
					return envelope("["+strings.Join(items, ",")+"]", at, len(page), len(list))
				}}
				got := make(map[string]int)
				for run, err := range l.client(t).Runs.All(t.Context(), nil) {
					if err != nil {
						t.Fatalf("after %d runs: %v", len(got), err)
					}
					got[run.ID]++
					if test.remove {
						list = slices.DeleteFunc(list, func(id string) bool { return id == run.ID })
					}
				}
				for i := range 250 {
					if n := got[fmt.Sprintf("old%d", i)]; n != 1 {
						t.Errorf("old%d is yielded %d times", i, n)
					}
				}
				if len(l.queries) > test.most {
					t.Errorf("it took %d requests, want at most %d", len(l.queries), test.most)
				}
			})
		}
	}
}

func TestIteratorsStopWhenToldTo(t *testing.T) {
	t.Parallel()
	l := &lists{answer: func(r *http.Request, _ int) string {
		offset := number(r, "offset")
		return fmt.Sprintf(`{"items": %s, "total": 100}`, rows(offset+1, offset+number(r, "limit")))
	}}
	c := l.client(t)
	for take, want := range map[int]int{1: 1, 9: 1, 10: 1, 11: 2, 20: 2} {
		l.queries = nil
		got, err := Collect(c.Runs.All(t.Context(), &RunListParams{Limit: 10}), take)
		if err != nil || len(got) != take || len(l.queries) != want {
			t.Errorf("%d items took %d requests (%v), want %d", len(got), len(l.queries), err, want)
		}
	}
	l.queries = nil
	if got, err := Collect(c.Runs.All(t.Context(), nil), 0); err != nil || len(got) != 100 || len(l.queries) != 1 || !strings.Contains(l.queries[0], "limit=100") {
		t.Errorf("%d items with %q: %v", len(got), l.queries, err)
	}
	fail := &lists{answer: func(r *http.Request, n int) string {
		if n == 2 {
			return `{"items": [{"id": "r1", "cost": "much"}]}`
		}
		return fmt.Sprintf(`{"items": %s, "total": 100}`, rows(1, 10))
	}}
	got, err := Collect(fail.client(t).Runs.All(t.Context(), &RunListParams{Limit: 10}), 0)
	var decode *DecodeError
	if len(got) != 10 || !errors.As(err, &decode) || !strings.Contains(decode.Field, "cost") {
		t.Errorf("%d items and %v, want 10 and a DecodeError", len(got), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, err := range c.Runs.All(ctx, &RunListParams{Limit: 1}) {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			break
		}
		cancel()
	}
}

func TestPageFields(t *testing.T) {
	t.Parallel()
	l := &lists{answer: func(_ *http.Request, n int) string {
		return []string{
			`{"items": [{"id": "r1"}], "total": 5, "limit": 1, "offset": 2, "next_cursor": "n"}`, `[]`, `[{"id": "r1"}]`,
			`{"count": 1}`, `"text"`, `{"items": {"a": 1}}`, `{"items": [1]}`, `{"total": "many", "items": []}`,
		}[n-1]
	}}
	c := l.client(t)
	p, err := c.Runs.List(t.Context(), &RunListParams{Limit: 3, Offset: 7})
	if err != nil || p.Total != 5 || p.Limit != 1 || p.Offset != 2 || p.NextCursor != "n" || !p.HasNext() {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err = c.Runs.List(t.Context(), &RunListParams{Limit: 3, Offset: 7}); err != nil || p.Total != -1 || p.Limit != 3 || p.Offset != 7 || p.HasNext() || p.Items == nil {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err = c.Runs.List(t.Context(), nil); err != nil || p.HasNext() {
		t.Errorf("%+v, %v", p, err)
	}
	for range 5 {
		var decode *DecodeError
		if p, err = c.Runs.List(t.Context(), nil); !errors.As(err, &decode) || p != nil {
			t.Errorf("%+v, %v", p, err)
		}
	}
}
