package list

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unsafe"

	"github.com/connic-go/connic/internal/lenient"
)

func TestPageFields(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	tests := map[string]struct {
		body      string
		limit     int
		at        Position
		want      Page[entry] // without items
		items     int
		next, bad bool
	}{
		"all":                    {body: `{"items": [{"id": "1"}], "total": 5, "limit": 1, "offset": 2, "next_cursor": "n"}`, limit: 3, at: Position{Offset: 7}, want: Page[entry]{Total: 5, Limit: 1, Offset: 2, NextCursor: "n"}, items: 1, next: true},
		"empty":                  {body: `[]`, limit: 3, at: Position{Offset: 7}, want: Page[entry]{Total: -1, Limit: 3, Offset: 7}},
		"no limit":               {body: `[{"id": "1"}]`, want: Page[entry]{Total: -1}, items: 1},
		"full":                   {body: `[{"id": "1"}]`, limit: 1, want: Page[entry]{Total: -1, Limit: 1}, items: 1, next: true},
		"short":                  {body: `[{"id": "1"}]`, limit: 2, want: Page[entry]{Total: -1, Limit: 2}, items: 1},
		"total reached":          {body: `{"entries": [{"id": "1"}], "total": 1}`, limit: 1, want: Page[entry]{Total: 1, Limit: 1}, items: 1},
		"total not reached":      {body: `{"entries": [{"id": "1"}], "total": 9}`, limit: 1, at: Position{Offset: 7}, want: Page[entry]{Total: 9, Limit: 1, Offset: 7}, items: 1, next: true},
		"total, empty":           {body: `{"entries": [], "total": 9}`, want: Page[entry]{Total: 9}},
		"has_more":               {body: `{"data": [], "has_more": "true"}`, want: Page[entry]{Total: -1, More: &yes}, next: true},
		"has_more false":         {body: `{"data": [{"id": "1"}], "has_more": false, "total": 7}`, want: Page[entry]{Total: 7, More: &no}, items: 1},
		"the last cursor":        {body: `{"data": [{"id": "1"}], "total": 7}`, at: Position{Cursor: "c"}, want: Page[entry]{Total: 7, More: &no}, items: 1},
		"the last page":          {body: `{"data": [{"id": "1"}], "page": 2, "pages": 2}`, limit: 1, want: Page[entry]{Total: -1, Limit: 1, More: &no}, items: 1},
		"nulls":                  {body: `{"data": null, "total": null, "limit": null, "has_more": null, "next": null}`, limit: 1, want: Page[entry]{Total: -1, Limit: 1, More: &no}},
		"next is a cursor":       {body: `{"next": "c", "results": []}`, want: Page[entry]{Total: -1, NextCursor: "c"}, next: true},
		"next is a URL":          {body: `{"next": "/x?page=2", "results": []}`, want: Page[entry]{Total: -1, More: &yes}, next: true},
		"the better name":        {body: `{"entries": [{"id": "1"}], "items": [{}, {}], "data": 1}`, want: Page[entry]{Total: -1}, items: 1},
		"the better name, later": {body: `{"results": [{}, {}, {}], "data": [{}, {}], "items": null, "entries": [{"id": "1"}]}`, want: Page[entry]{Total: -1}, items: 1},
		"no list":                {body: `{"count": 1}`, bad: true},
		"another list":           {body: `{"others": []}`, bad: true},
		"text":                   {body: `"text"`, bad: true},
		"an object for a list":   {body: `{"items": {"a": 1}}`, bad: true},
		"a number for an item":   {body: `{"items": [1]}`, bad: true},
		"a bad total":            {body: `{"total": "many", "items": []}`, bad: true},
		"two documents":          {body: `[] []`, bad: true},
		"truncated":              {body: `{"items": [`, bad: true},
		"too many rows":          {body: "[" + strings.Repeat("{},", maxRows) + "{}]", bad: true},
		"many rows":              {body: "[" + strings.Repeat("{},", maxRows) + "{}]", limit: maxRows + 1, want: Page[entry]{Total: -1, Limit: maxRows + 1}, items: maxRows + 1, next: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := entries(false).Decode(lenient.New([]byte(test.body)), test.at, test.limit)
			if (err != nil) != test.bad || (p.Items == nil) != test.bad {
				t.Fatalf("%+v, %v", p, err)
			}
			if len(p.Items) != test.items || p.HasNext() != test.next {
				t.Errorf("%d items, has next: %v", len(p.Items), p.HasNext())
			}
			want := test.want
			if p.Total != want.Total || p.Limit != want.Limit || p.Offset != want.Offset || p.NextCursor != want.NextCursor ||
				(p.More == nil) != (want.More == nil) || p.More != nil && *p.More != *want.More {
				t.Errorf("%+v, want %+v", p, want)
			}
		})
	}
}

func TestItemsThatCannotBeDecoded(t *testing.T) {
	t.Parallel()
	const body = `{"entries": [{"id": "1", "run_id": "a"}, {"inner": {"costs": [1, {}]}, "score": "n/a", "run_id": "b", "id": "2"}, 7, {"id": "4", "run_id": "d"}], "total": 4}`
	_, err := entries(false).Decode(lenient.New([]byte(body)), Position{}, 10)
	var field *lenient.FieldError
	if !errors.As(err, &field) || field.Field != "entries[1].inner.costs[1]" {
		t.Errorf("%v", err)
	}
	p, err := entries(true).Decode(lenient.New([]byte(body)), Position{}, 10)
	if err != nil || len(p.Items) != 4 || p.Total != 4 || len(p.Bad) != 2 {
		t.Fatalf("%+v, %v", p, err)
	}
	for i, want := range []struct{ id, run, field string }{{"1", "a", ""}, {"2", "b", "entries[1].inner.costs[1]"}, {"", "", "entries[2]"}, {"4", "d", ""}} {
		item := p.Items[i]
		err, field := p.Failure(item), (*lenient.FieldError)(nil)
		if item.ID != want.id || item.Run != want.run || (err != nil) != (want.field != "") || errors.As(err, &field) && field.Field != want.field {
			t.Errorf("item %d: %+v, %v", i, item, err)
		}
	}
	for name, body := range map[string]string{
		"syntax": `[{"id": "1", "score": nul}]`, "truncated": `[{"score": "n/a"`, "depth": `[{"score": ` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `}]`,
	} {
		if p, err := entries(true).Decode(lenient.New([]byte(body)), Position{}, 10); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
	// However many there are.
	d := lenient.New([]byte("[" + strings.Repeat(`{"inner": {"costs": [{}]}},`, 2000) + `{"id": "last"}]`))
	if p, err := entries(true).Decode(d, Position{}, 10); err != nil || len(p.Bad) != 2000 || p.Items[2000].ID != "last" {
		t.Errorf("%d bad items: %v", len(p.Bad), err)
	}
	d = lenient.New([]byte("[" + strings.Repeat(`{"score": "n/a"},`, 100) + `{}]`))
	d.Budget = 50 * int(unsafe.Sizeof(entry{}))
	if _, err := entries(true).Decode(d, Position{}, 0); !errors.Is(err, lenient.ErrBudget) {
		t.Errorf("%v", err)
	}
	// What is left of bad items counts, and so does what is not.
	for item, short := range map[string]int{
		`{"inner": {"costs": [1` + strings.Repeat(",1", 1000) + `]}, "score": "n/a"},`: 4_000_000,
		`{"inner": {"costs": [1` + strings.Repeat(",1", 1000) + `,{}]}},`:              3_000_000,
	} {
		for budget, enough := range map[int]bool{short: false, 16_000_000: true} {
			d = lenient.New([]byte("[" + strings.Repeat(item, 100) + `{}]`))
			d.Budget = budget
			if _, err := entries(true).Decode(d, Position{}, 0); errors.Is(err, lenient.ErrBudget) == enough {
				t.Errorf("%d: %v", budget, err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d = lenient.New([]byte("[" + strings.Repeat(`{"score": "n/a"},`, 5000) + `{}]`))
	d.Context = ctx
	if _, err := entries(true).Decode(d, Position{}, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func FuzzEnvelope(f *testing.F) {
	for _, seed := range []string{
		`[{"id": "r1"}]`, `{"items": [{"id": 1}], "total": "5", "next": "https://x/y"}`, `{"entries": null, "has_more": "true"}`, `{"data": [], "page": 1, "pages": 2}`,
		`{"items": [`, `{"a\"b": [{"]": 1}], "results": [{}]}`, `{"items": [], "items": [{"id": "x"}]}`, `{"x":nul,"items":[]}`, "{\"\x1b\":[],\"items\":[]}", `{"\x":[],"items":[]}`,
		`[{"id": "1", "score": "n/a"}, 7, {"inner": {"costs": [{}]}}]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		strict, strictErr := entries(false).Decode(lenient.New(body), Position{}, 10)
		p, err := entries(true).Decode(lenient.New(body), Position{}, 10)
		if err != nil {
			if strictErr == nil {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		if !json.Valid(body) {
			t.Errorf("%q passes for JSON", body)
		}
		if (strictErr == nil) != (len(p.Bad) == 0) && strictErr == nil || strictErr == nil && len(strict.Items) != len(p.Items) {
			t.Errorf("%q: %d items and %v, or %d items of which %d are bad", body, len(strict.Items), strictErr, len(p.Items), len(p.Bad))
		}
		p.HasNext()
		for _, item := range p.Items {
			if item == nil {
				t.Error("an item is nil")
			}
		}
	})
}
