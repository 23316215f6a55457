package connic_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func TestFilterEncoding(t *testing.T) {
	t.Parallel()
	type level int
	berlin := time.FixedZone("", 3600)
	price, err := connic.ParseDecimal("1.50e1")
	if err != nil {
		t.Fatal(err)
	}
	where := connic.Where
	for name, test := range map[string]struct {
		filter connic.Filter
		want   string
	}{
		"none":       {connic.Filter{}, `{}`},
		"equals":     {where("team").Equals("a"), `{"team":{"$eq":"a"}}`},
		"not equals": {where("team").NotEquals(nil), `{"team":{"$ne":null}}`},
		"greater":    {where("n").GreaterThan(1.5), `{"n":{"$gt":1.5}}`},
		"at least":   {where("n").AtLeast(uint8(7)), `{"n":{"$gte":7}}`},
		"less":       {where("n").LessThan(level(3)), `{"n":{"$lt":3}}`},
		"at most":    {where("n").AtMost("m"), `{"n":{"$lte":"m"}}`},
		"in":         {where("s").In("a", 1, true), `{"s":{"$in":["a",1,true]}}`},
		"in a slice": {where("s").In([]connic.RunStatus{connic.RunFailed, "x"}), `{"s":{"$in":["failed","x"]}}`},
		"not in":     {where("s").NotIn([]any{1, "b"}), `{"s":{"$nin":[1,"b"]}}`},
		"exists":     {where("s").Exists(), `{"s":{"$exists":true}}`},
		"missing":    {where("s").Missing(), `{"s":{"$exists":false}}`},
		"regex":      {where("s").Matches(`^a\d+$`), `{"s":{"$regex":"^a\\d+$"}}`},
		"contains":   {where("s").Contains("x"), `{"s":{"$contains":"x"}}`},
		"element":    {where("a").AnyElement(where("b").Equals(1)), `{"a":{"$elemMatch":{"b":{"$eq":1}}}}`},
		"and":        {where("a").Equals(1).And(where("b").Equals(2), where("c").Equals(3)), `{"$and":[{"a":{"$eq":1}},{"b":{"$eq":2}},{"c":{"$eq":3}}]}`},
		"or":         {where("a").Equals(1).Or(where("b").Equals(2)), `{"$or":[{"a":{"$eq":1}},{"b":{"$eq":2}}]}`},
		"left to right": {
			where("a").Equals(1).Or(where("b").Equals(2)).And(where("c").Equals(3)),
			`{"$and":[{"$or":[{"a":{"$eq":1}},{"b":{"$eq":2}}]},{"c":{"$eq":3}}]}`,
		},
		"none of":      {connic.NoneOf(where("a").Equals(1), where("b").Exists()), `{"$nor":[{"a":{"$eq":1}},{"b":{"$exists":true}}]}`},
		"all of one":   {connic.AllOf(where("a").Equals(1)), `{"$and":[{"a":{"$eq":1}}]}`},
		"any of":       {connic.AnyOf(where("a").Equals(1), connic.RawFilter(`{"x": 1}`)), `{"$or":[{"a":{"$eq":1}},{"x": 1}]}`},
		"not":          {where("a").AtLeast(5).Not(), `{"a":{"$not":{"$gte":5}}}`},
		"not of and":   {where("a").Equals(1).And(where("b").Equals(2)).Not(), `{"$nor":[{"$and":[{"a":{"$eq":1}},{"b":{"$eq":2}}]}]}`},
		"not not":      {where("a").Equals(1).Not().Not(), `{"$nor":[{"a":{"$not":{"$eq":1}}}]}`},
		"raw":          {connic.RawFilter("\n {\"a\": {\"$op\": 1}}"), `{"a": {"$op": 1}}`},
		"dotted field": {where("author.name").Equals("é\"<"), `{"author.name":{"$eq":"é\"\u003c"}}`},
		"time":         {where("at").AtLeast(time.Date(2026, 11, 23, 1, 0, 0, 5e8, berlin)), `{"at":{"$gte":"2026-11-23T00:00:00.5Z"}}`},
		"connic time":  {where("at").Equals(connic.Time{Time: day(2026, 1, 2)}), `{"at":{"$eq":"2026-01-02T00:00:00Z"}}`},
		"decimal":      {where("price").GreaterThan(price), `{"price":{"$gt":15.0}}`},
		"big integer":  {where("n").Equals(new(big.Int).Lsh(big.NewInt(1), 70)), `{"n":{"$eq":1180591620717411303424}}`},
		"json number":  {where("n").Equals(json.Number("1e3")), `{"n":{"$eq":1e3}}`},
		"marshaler":    {where("ip").Equals(netip.MustParseAddr("10.0.0.1")), `{"ip":{"$eq":"10.0.0.1"}}`},
		"large number": {where("n").Equals(uint64(math.MaxUint64)), `{"n":{"$eq":18446744073709551615}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := test.filter.Err(); err != nil {
				t.Fatal(err)
			}
			if got := test.filter.String(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			encoded, err := json.Marshal(test.filter)
			if err != nil || !json.Valid(encoded) {
				t.Errorf("it encodes to %s, %v", encoded, err)
			}
		})
	}
}

func day(year int, month time.Month, day int) time.Time {
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

func TestFilterRefusesWhatCannotBeRight(t *testing.T) {
	t.Parallel()
	where := connic.Where
	good := where("a").Equals(1)
	for name, test := range map[string]struct {
		filter connic.Filter
		reason string
	}{
		"empty field":         {where("").Equals(1), "field is empty"},
		"empty part":          {where("a..b").Equals(1), "empty part between dots"},
		"operator as field":   {where("$or").Equals(1), "begins with $"},
		"operator in field":   {where("a.$gt").Exists(), "begins with $"},
		"control character":   {where("a\n").Exists(), "control character"},
		"field not UTF-8":     {where("\xff").Exists(), "UTF-8"},
		"and of nothing":      {connic.AllOf(), "AllOf of nothing"},
		"or of nothing":       {connic.AnyOf(), "AnyOf of nothing"},
		"nor of nothing":      {connic.NoneOf([]connic.Filter{}...), "NoneOf of nothing"},
		"part without":        {good.And(connic.Filter{}), "without a condition"},
		"not of none":         {connic.Filter{}.Not(), "without a condition"},
		"element of none":     {where("a").AnyElement(connic.Filter{}), "without a condition"},
		"bad part":            {connic.NoneOf(good, where("").Exists()), "field is empty"},
		"bad part in element": {where("a").AnyElement(where("b").Matches("(")), "regular expression"},
		"bad part negated":    {where("a").Equals(math.NaN()).Not(), "NaN"},
		"channel":             {where("a").Equals(make(chan int)), "chan int"},
		"function":            {where("a").Equals(func() {}), "func()"},
		"struct":              {where("a").Equals(struct{ A int }{1}), "struct"},
		"map":                 {where("a").Equals(map[string]any{"$gt": 1}), "map[string]interface {}"},
		"slice":               {where("a").Equals([]string{"x"}), "[]string"},
		"bytes":               {where("a").In([]byte("x")), "[]uint8"},
		"pointer":             {where("a").Equals(new(int)), "*int"},
		"nil pointer":         {where("a").Equals((*big.Int)(nil)), "nil"},
		"complex":             {where("a").Equals(1i), "complex128"},
		"NaN":                 {where("a").AtLeast(float32(math.NaN())), "NaN"},
		"infinity":            {where("a").In(1, math.Inf(-1)), "infinite"},
		"bad number":          {where("a").Equals(json.Number("1x")), "cannot be encoded"},
		"object":              {where("a").Equals(json.RawMessage(`{"$gt": 1}`)), "object"},
		"not UTF-8":           {where("a").Equals("\xff"), "UTF-8"},
		"order of booleans":   {where("a").GreaterThan(true), "no order"},
		"order of null":       {where("a").AtMost(nil), "no order"},
		"in nothing":          {where("a").In(), "empty"},
		"in an empty slice":   {where("a").NotIn([]int{}), "empty"},
		"bad expression":      {where("a").Matches("[a-"), "regular expression that is invalid"},
		"empty expression":    {where("a").Matches(""), "regular expression that is empty"},
		"raw list":            {connic.RawFilter(`[1]`), "not a JSON object"},
		"raw nonsense":        {connic.RawFilter(`{"a": }`), "not a JSON object"},
		"raw nothing":         {connic.RawFilter(``), "not a JSON object"},
		"raw twice":           {connic.RawFilter(`{} {}`), "not a JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := connictest.New()
			client := srv.Client(connic.WithEnvironment("env-test"))
			_, err := client.Knowledge.Query(t.Context(), connic.KnowledgeQuery{Query: "x", Filter: test.filter})
			var argument *connic.ArgumentError
			if !errors.As(err, &argument) || argument.Op != "knowledge.query" || argument.Arg != "filter" || !strings.Contains(argument.Reason, test.reason) {
				t.Errorf("the query ended with %v, want a filter refused because of %q", err, test.reason)
			}
			if n := len(srv.Requests()); n != 0 {
				t.Errorf("%d requests were sent", n)
			}
			if err := test.filter.Err(); !errors.As(err, &argument) {
				t.Errorf("Err is %v", err)
			}
			if _, err := json.Marshal(test.filter); err == nil {
				t.Error("it can be encoded")
			}
			if !strings.Contains(test.filter.String(), "invalid") {
				t.Errorf("it prints as %s", test.filter)
			}
		})
	}
}

// TestFilterParts verifies that combining filters does not modify the parts.
func TestFilterParts(t *testing.T) {
	t.Parallel()
	base := connic.Where("a").Equals(1)
	left := base.And(connic.Where("b").Equals(2))
	right := base.And(connic.Where("c").Equals(3))
	if base != connic.Where("a").Equals(1) || left == right || !strings.Contains(left.String(), `"b"`) || strings.Contains(left.String(), `"c"`) {
		t.Errorf("%s, %s, %s", base, left, right)
	}
}

// TestFilterOperators queries the fake with every operator. Its entries are
// named after the conditions that select them.
func TestFilterOperators(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		srv.RateLimit(0, time.Minute, connictest.FixedWindow)
		client := srv.Client(connic.WithEnvironment("env-test"), connic.WithoutRateLimit())
		srv.IngestionTime(0)
		for id, metadata := range map[string]map[string]any{
			"a": {"team": "sales", "year": 2024, "tags": []string{"new", "draft"}, "author": map[string]any{"name": "Ann"}},
			"b": {"team": "support", "year": 2025.5, "tags": []string{"old"}, "author": map[string]any{"name": "Bob"}},
			"c": {"team": nil, "year": json.Number("9007199254740993"), "parts": []map[string]any{{"n": 1, "ok": true}, {"n": 5}}},
			"d": nil,
			"e": {"year": "2024", "scores": []int{70, 82}, "live": true},
		} {
			upload(t, client, connic.TextUpload{Content: "word", EntryID: id, Metadata: metadata})
		}
		where := connic.Where
		for _, test := range []struct {
			filter connic.Filter
			want   string
		}{
			{connic.Filter{}, "abcde"},
			{where("team").Equals("sales"), "a"},
			{where("team").Equals(nil), "cde"},
			{where("team").NotEquals("sales"), "bcde"},
			{where("live").Equals(true), "e"},
			{where("year").Equals(2024), "a"},
			{where("year").Equals("2024"), "e"},
			{where("year").Equals(json.Number("2024.0")), "a"},
			{where("year").Equals(int64(9007199254740993)), "c"},
			{where("year").Equals(int64(9007199254740992)), ""},
			{where("year").GreaterThan(2024), "bc"},
			{where("year").AtLeast(2024), "abc"},
			{where("year").LessThan(2025.5), "a"},
			{where("year").AtMost(2025.5), "ab"},
			{where("team").GreaterThan("sales"), "b"},
			{where("team").In("sales", "support"), "ab"},
			{where("team").In([]any{"sales", nil}), "acde"},
			{where("team").NotIn("sales"), "bcde"},
			{where("team").Exists(), "abc"},
			{where("team").Missing(), "de"},
			{where("team").Matches("^s.*t$"), "b"},
			{where("tags").Matches("^dr"), "a"},
			{where("team").Contains("ale"), "a"},
			{where("tags").Contains("old"), "b"},
			{where("tags").Contains("ol"), ""},
			{where("tags").Equals("new"), "a"},
			{where("tags").NotEquals("new"), "bcde"},
			{where("author.name").In("Ann", "Bob"), "ab"},
			{where("parts.n").AtLeast(5), "c"},
			{where("parts").AnyElement(where("n").Equals(1).And(where("ok").Equals(true))), "c"},
			{where("parts").AnyElement(where("n").Equals(5).And(where("ok").Equals(true))), ""},
			{where("scores").AnyElement(connic.RawFilter(`{"$gte": 80, "$lt": 85}`)), "e"},
			{where("scores").AnyElement(connic.RawFilter(`{"$gt": 70, "$lt": 80}`)), ""},
			{connic.AllOf(where("year").AtLeast(2024), where("tags").Contains("draft").Not()), "bc"},
			{where("team").Equals("sales").Or(where("live").Exists()), "ae"},
			{connic.NoneOf(where("team").Exists(), where("live").Exists()), "d"},
			{where("year").AtLeast(2025).Not(), "ade"},
			{where("year").AtLeast(2025).And(where("team").Exists()).Not(), "ade"},
			{connic.RawFilter(`{"$not": {"team": "sales"}, "year": {"$exists": true}}`), "bce"},
			{connic.RawFilter(`{}`), "abcde"},
		} {
			page, err := client.Knowledge.Query(t.Context(), connic.KnowledgeQuery{Query: "word", MaxResults: 20, Filter: test.filter})
			if err != nil {
				t.Errorf("%s: %v", test.filter, err)
				continue
			}
			var found []string
			for _, m := range page.Items {
				found = append(found, m.EntryID)
			}
			slices.Sort(found)
			if got := strings.Join(found, ""); got != test.want {
				t.Errorf("%s finds %q, want %q", test.filter, got, test.want)
			}
		}
		for _, bad := range []string{
			`{"$where": "1"}`, `{"a": {"$near": 1}}`, `{"$and": []}`, `{"$or": {"a": 1}}`, `{"a": {"$in": 1}}`, `{"a": {"$gt": null}}`,
			`{"a": {"$exists": 1}}`, `{"a": {"$regex": "("}}`, `{"a": {"$eq": 1, "b": 2}}`, `{"a": {}}`, `{"a": {"$not": 1}}`, `{"a": {"$elemMatch": 1}}`, `{"a..b": 1}`,
		} {
			_, err := client.Knowledge.Query(t.Context(), connic.KnowledgeQuery{Query: "word", Filter: connic.RawFilter(bad)})
			if !errors.Is(err, connic.ErrInvalid) {
				t.Errorf("the fake takes %s: %v", bad, err)
			}
		}
	})
}

func upload(t *testing.T, client *connic.Client, req connic.TextUpload) *connic.Ingestion {
	t.Helper()
	i, err := client.Knowledge.UploadText(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func ExampleWhere() {
	srv := connictest.New()
	defer srv.Close()
	srv.IngestionTime(0)
	client := srv.Client(connic.WithEnvironment("env-test"))
	ctx := context.Background()
	for id, year := range map[string]int{"old": 2019, "new": 2026} {
		_, err := client.Knowledge.UploadText(ctx, connic.TextUpload{
			Content: "Prices of all products", EntryID: id, Metadata: map[string]any{"team": "sales", "year": year},
		})
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	filter := connic.Where("team").Equals("sales").And(
		connic.Where("year").AtLeast(2024),
		connic.Where("draft").Equals(true).Not(),
	)
	found, err := client.Knowledge.Query(ctx, connic.KnowledgeQuery{Query: "product prices", Filter: filter})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range found.Items {
		fmt.Println(m.EntryID)
	}
	fmt.Println(filter)
	// Output:
	// new
	// {"$and":[{"team":{"$eq":"sales"}},{"year":{"$gte":2024}},{"draft":{"$not":{"$eq":true}}}]}
}
