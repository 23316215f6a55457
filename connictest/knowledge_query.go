package connictest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"unicode"
)

const (
	defaultMinScore   = 0.3
	defaultMaxResults = 3
	maxQueryResults   = 20
)

// chunks splits an entry at blank lines. For an image or a PDF the fake only
// knows the name of the file.
func chunks(e *entry) []string {
	if e.source != "" && binary(fileType(e.source)) {
		return []string{e.source}
	}
	var paragraphs []string
	for paragraph := range strings.SplitSeq(strings.ReplaceAll(e.content, "\r\n", "\n"), "\n\n") {
		if paragraph = strings.TrimSpace(paragraph); paragraph != "" {
			paragraphs = append(paragraphs, paragraph)
		}
	}
	return paragraphs
}

// words returns the set of words in a text, in lower case.
func words(s string) map[string]bool {
	set := make(map[string]bool)
	for word := range strings.FieldsFuncSeq(strings.ToLower(s), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		set[word] = true
	}
	return set
}

// relevance returns the fraction of the distinct words of a query that occur in
// a chunk.
func relevance(query map[string]bool, chunk string) float64 {
	if len(query) == 0 {
		return 0
	}
	has, hits := words(chunk), 0
	for word := range query {
		if has[word] {
			hits++
		}
	}
	return float64(hits) / float64(len(query))
}

// queryKnowledge finds chunks in a namespace and below it. Chunks with the same
// score are in order of upload.
func (s *Server) queryKnowledge(x *exchange) answer {
	environment, complaint := s.knowledge(x)
	if complaint != nil {
		return *complaint
	}
	var body struct {
		Query      string          `json:"query"`
		Namespace  string          `json:"namespace"`
		MinScore   *float64        `json:"min_score"`
		MaxResults *float64        `json:"max_results"`
		Filter     json.RawMessage `json:"metadata_filter"`
	}
	if complaint := x.decode(&body); complaint != nil {
		return *complaint
	}
	minScore, most, whole := defaultMinScore, defaultMaxResults, true
	if body.MinScore != nil {
		minScore = *body.MinScore
	}
	if body.MaxResults != nil {
		most = int(*body.MaxResults)
		whole = float64(most) == *body.MaxResults // accepts 4.0
	}
	switch {
	case strings.TrimSpace(body.Query) == "":
		return *invalid("There is no query", "string_too_short", "body", "query")
	case minScore < 0 || minScore > 1:
		return *invalid("Input should be between 0 and 1", "out_of_range", "body", "min_score")
	case !whole || most < 1 || most > maxQueryResults:
		return *invalid("Input should be an integer between 1 and 20", "out_of_range", "body", "max_results")
	}
	if complaint := checkPlace(body.Namespace, "body", "namespace"); complaint != nil {
		return *complaint
	}
	selects, err := parseFilter(body.Filter)
	if err != nil {
		return *invalid(err.Error(), "filter", "body", "metadata_filter")
	}

	type hit struct {
		score float64
		chunk string
		entry *entry
	}
	var hits []hit
	query := words(body.Query)
	for _, e := range s.entries {
		if e.environment != environment || !below(e.namespace, body.Namespace) || !selects(e.metadata) {
			continue
		}
		for _, chunk := range e.chunks {
			if score := relevance(query, chunk); score >= minScore {
				hits = append(hits, hit{score, chunk, e})
			}
		}
	}
	slices.SortStableFunc(hits, func(a, b hit) int { return cmp.Compare(b.score, a.score) })
	results := []object{}
	for _, h := range hits[:min(len(hits), most)] {
		results = append(results, object{
			"content": h.chunk, "score": h.score, "entry_id": h.entry.id, "namespace": text(h.entry.namespace),
			"metadata": object(h.entry.metadata),
		})
	}
	return ok(object{"results": results})
}

// parseFilter compiles a metadata filter; no filter selects everything.
func parseFilter(raw json.RawMessage) (selector, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return func(any) bool { return true }, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var filter any
	if err := decoder.Decode(&filter); err != nil {
		return nil, err
	}
	return compileFilter(filter)
}
