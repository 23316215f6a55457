package connic

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/connic-go/connic/internal/api"
)

// A KnowledgeQuery searches for the knowledge that is closest to a text.
type KnowledgeQuery struct {
	EnvironmentID string // default: the client's environment
	Query         string // what to look for; must not be blank
	Namespace     string
	// MinScore is the lowest relevance to return, from 0 to 1. 0 selects the
	// default of the service, which is 0.3.
	MinScore float64
	// AnyScore returns matches of any relevance, and is mutually exclusive with
	// MinScore.
	AnyScore bool
	// MaxResults is the maximum number of matches, up to 20. 0 selects the
	// default of the service, which is 3.
	MaxResults int
	Filter     Filter // by metadata
}

// A Match is a chunk of knowledge found by a query.
type Match struct {
	Content   string          `json:"content" api:"words"`
	Score     float64         `json:"score" api:"words"` // relevance, from 0 to 1
	EntryID   string          `json:"entry_id" api:"words"`
	Namespace string          `json:"namespace,omitzero" api:"words"`
	Metadata  json.RawMessage `json:"metadata,omitzero" api:"words"` // see DecodeMetadata

	RawItem
}

// DecodeMetadata decodes the metadata of the matching entry into v. It leaves v
// unchanged if there is none.
func (m *Match) DecodeMetadata(v any) error { return decodeMetadata(m.Metadata, m.EntryID, v) }

type queryBody struct {
	Query      string          `json:"query"`
	Namespace  string          `json:"namespace,omitempty"`
	MinScore   *float64        `json:"min_score,omitempty"`
	MaxResults int             `json:"max_results,omitempty"`
	Filter     json.RawMessage `json:"metadata_filter,omitempty"`
}

func (q *KnowledgeQuery) body() (*queryBody, error) {
	bad := func(arg, reason string) (*queryBody, error) {
		return nil, badKnowledge(api.KnowledgeQuery, arg, reason)
	}
	switch {
	case strings.TrimSpace(q.Query) == "":
		return bad("query", "is empty or blank")
	case math.IsNaN(q.MinScore) || q.MinScore < 0 || q.MinScore > 1:
		return bad("min score", "is not between 0 and 1")
	case q.AnyScore && q.MinScore != 0:
		return bad("min score", "is set together with AnyScore")
	case q.MaxResults < 0 || q.MaxResults > maxQueryResults:
		return bad("max results", fmt.Sprintf("is not between 1 and %d, or 0 for the default", maxQueryResults))
	}
	filter, err := checkFilter(api.KnowledgeQuery, q.Filter)
	if err != nil {
		return nil, err
	}
	b := &queryBody{Query: q.Query, Namespace: q.Namespace, MaxResults: q.MaxResults, Filter: filter}
	if q.MinScore != 0 || q.AnyScore {
		b.MinScore = &q.MinScore
	}
	return b, nil
}

// Query returns the chunks of knowledge that are closest to a text, best match
// first. There is only one page. It costs one request, which is retried like
// any other read.
//
// Whether the service requires read or write access is not known.
//
//	API:    POST /projects/{project}/knowledge/query
//	Access: knowledge read or write
//	Status: assumed
func (s *KnowledgeService) Query(ctx context.Context, q KnowledgeQuery, opts ...RequestOption) (*Page[Match], error) {
	r, err := s.within(api.KnowledgeQuery, q.EnvironmentID, q.Namespace)
	if err != nil {
		return nil, err
	}
	body, err := q.body()
	if err != nil {
		return nil, err
	}
	r.body = body
	return listing[Match]{
		scope: s.scope(), request: r, name: "results", id: func(m *Match) string { return m.EntryID },
	}.page(ctx, opts)
}
