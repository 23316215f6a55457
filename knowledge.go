package connic

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
)

// KnowledgeService feeds knowledge to agents and looks into it. It needs a key
// with access to the section knowledge.
//
// Knowledge belongs to an environment, and every call needs its id: in the
// request or the parameters, or else from [WithEnvironment]. A call that has it
// from neither is refused with an [*ArgumentError].
//
// Entries are kept in namespaces, which form a tree: "docs.api" is below "docs".
// A namespace has at most 10 levels.
type KnowledgeService service

// AllLevels asks [KnowledgeService.Namespaces] for namespaces of every depth.
const AllLevels = -1

const (
	maxNamespaceLevels = 10
	maxQueryResults    = 20
)

// begin makes the request of an operation in an environment: the one that is
// named, or else the client's.
func (s *KnowledgeService) begin(op api.Op, environment string) (request, error) {
	environment = cmp.Or(environment, (*service)(s).of().environment)
	if environment == "" {
		return request{}, badKnowledge(op, "environment id", "is missing; give it in the call, or to the client with WithEnvironment")
	}
	r := request{op: op}
	r.query.add("environment_id", environment)
	return r, nil
}

// within makes the request of an operation that takes a namespace.
func (s *KnowledgeService) within(op api.Op, environment, namespace string) (request, error) {
	r, err := s.begin(op, environment)
	if err != nil {
		return r, err
	}
	if reason := checkNamespace(namespace); reason != "" {
		return r, badKnowledge(op, "namespace", reason)
	}
	return r, nil
}

func badKnowledge(op api.Op, arg, reason string) *ArgumentError {
	return &ArgumentError{Op: api.Table[op].Name, Arg: arg, Reason: reason}
}

// checkNamespace returns what is wrong with a namespace, "" if nothing is, or if
// there is none.
func checkNamespace(namespace string) string {
	switch {
	case namespace == "":
		return ""
	case strings.ContainsAny(namespace, `/\`):
		return "contains a slash or a backslash; levels are divided by dots"
	case strings.ContainsFunc(namespace, isControl):
		return "contains a control character"
	case strings.HasPrefix(namespace, ".") || strings.HasSuffix(namespace, ".") || strings.Contains(namespace, ".."):
		return "has an empty level: a dot at an end, or two in a row"
	case strings.Count(namespace, ".") >= maxNamespaceLevels:
		return fmt.Sprintf("has more than %d levels", maxNamespaceLevels)
	}
	return ""
}

// checkEntryID refuses ids that would lead to another operation: under the
// routes as they are, /knowledge/jobs is not an entry.
func (s *KnowledgeService) checkEntryID(op api.Op, id string) error {
	if (id == "jobs" || id == "namespaces") && (*service)(s).of().routes.of(op) == api.Table[op].Route {
		return badKnowledge(op, "entry id", "is the name of another endpoint (see WithRoute)")
	}
	return nil
}

// Entry is a piece of knowledge: a text or a file, cut into chunks. All its
// fields are assumed and may stay empty.
type Entry struct {
	EntryID    string `json:"entry_id" api:"assumed,id"` // unique within a namespace
	Namespace  string `json:"namespace,omitzero" api:"assumed"`
	Source     string `json:"source,omitzero" api:"assumed"` // where it comes from, such as the file's name
	ChunkCount int    `json:"chunk_count,omitzero" api:"assumed"`
	// Metadata is the entry's metadata object as it came: see DecodeMetadata.
	Metadata  json.RawMessage `json:"metadata,omitzero" api:"assumed"`
	Content   string          `json:"content,omitzero" api:"assumed"`
	CreatedAt time.Time       `json:"created_at,omitzero" api:"assumed"`
	UpdatedAt time.Time       `json:"updated_at,omitzero" api:"assumed"`

	rawItem
}

// DecodeMetadata decodes the entry's metadata into v. An entry without metadata
// leaves v as it is.
func (e *Entry) DecodeMetadata(v any) error { return decodeMetadata(e.Metadata, e.EntryID, v) }

func decodeMetadata(metadata json.RawMessage, id string, v any) error {
	if len(metadata) == 0 || string(metadata) == "null" {
		return nil
	}
	if metadata[0] == '"' { // a text that holds JSON
		metadata = json.RawMessage(lenient.Text(metadata))
	}
	if err := json.Unmarshal(metadata, v); err != nil {
		return fmt.Errorf("connic: the metadata of entry %s is not the expected JSON: %w", id, err)
	}
	return nil
}

// EntryListParams selects entries.
type EntryListParams struct {
	EnvironmentID string // default: the client's environment
	Namespace     string
	Limit, Offset int
}

func (s *KnowledgeService) listing(p *EntryListParams) (listing[Entry], EntryListParams) {
	var params EntryListParams
	if p != nil {
		params = *p
	}
	return listing[Entry]{
		name: "entries",
		id: func(e *Entry) string {
			if e.EntryID == "" {
				return ""
			}
			return e.Namespace + "\x00" + e.EntryID
		},
		limit: params.Limit, offset: params.Offset,
	}, params
}

func (s *KnowledgeService) page(ctx context.Context, l *listing[Entry], p EntryListParams, opts []RequestOption) (*Page[Entry], error) {
	r, err := s.within(api.KnowledgeList, p.EnvironmentID, p.Namespace)
	if err != nil {
		return nil, err
	}
	r.query.add("namespace", p.Namespace)
	l.query(&r.query)
	return do(ctx, (*service)(s).of(), r, l.decode, opts)
}

// List returns one page of entries. It costs one request.
//
//	API:    GET /projects/{project}/knowledge
//	Access: knowledge read
//	Status: assumed
func (s *KnowledgeService) List(ctx context.Context, p *EntryListParams, opts ...RequestOption) (*Page[Entry], error) {
	l, params := s.listing(p)
	return s.page(ctx, &l, params, opts)
}

// All iterates over the entries, from the given offset on. It costs one request
// per 100 entries, or per Limit.
//
//	API:    GET /projects/{project}/knowledge
//	Access: knowledge read
//	Status: assumed
func (s *KnowledgeService) All(ctx context.Context, p *EntryListParams, opts ...RequestOption) iter.Seq2[*Entry, error] {
	l, params := s.listing(p)
	return l.all(ctx, "knowledge.list", func(ctx context.Context, l *listing[Entry]) (*Page[Entry], error) {
		return s.page(ctx, l, params, opts)
	})
}

// EntryParams says where an entry is.
type EntryParams struct {
	EnvironmentID string // default: the client's environment
	Namespace     string
}

// entry makes the request of an operation on one entry.
func (s *KnowledgeService) entry(op api.Op, id string, p *EntryParams) (request, error) {
	var params EntryParams
	if p != nil {
		params = *p
	}
	r, err := s.within(op, params.EnvironmentID, params.Namespace)
	if err != nil {
		return r, err
	}
	r.id = id
	r.query.add("namespace", params.Namespace)
	return r, s.checkEntryID(op, id)
}

// Get returns an entry. It costs one request.
//
//	API:    GET /projects/{project}/knowledge/{entry}
//	Access: knowledge read
//	Status: assumed
func (s *KnowledgeService) Get(ctx context.Context, entryID string, p *EntryParams, opts ...RequestOption) (*Entry, error) {
	r, err := s.entry(api.KnowledgeGet, entryID, p)
	if err != nil {
		return nil, err
	}
	return do(ctx, (*service)(s).of(), r, decodeInto[Entry], opts)
}

// Delete removes an entry. Deleting it again, or an entry that does not exist, is
// an [ErrNotFound]; a retry of a request whose answer was lost can end in one
// too. It costs one request.
//
//	API:    DELETE /projects/{project}/knowledge/{entry}
//	Access: knowledge write
//	Status: assumed
func (s *KnowledgeService) Delete(ctx context.Context, entryID string, p *EntryParams, opts ...RequestOption) error {
	r, err := s.entry(api.KnowledgeDelete, entryID, p)
	if err != nil {
		return err
	}
	_, err = do(ctx, (*service)(s).of(), r, decodeNone, opts)
	return err
}

// KnowledgeParams says where to look. It is for the operations that take nothing
// else.
type KnowledgeParams struct {
	EnvironmentID string // default: the client's environment
}

func (p *KnowledgeParams) environment() string {
	if p == nil {
		return ""
	}
	return p.EnvironmentID
}

// DeleteNamespace removes a namespace with everything in it and below it. The
// namespace must not be empty. As with Delete, a second time can be an
// [ErrNotFound]. It costs one request.
//
//	API:    DELETE /projects/{project}/knowledge
//	Access: knowledge write
//	Status: assumed
func (s *KnowledgeService) DeleteNamespace(ctx context.Context, namespace string, p *KnowledgeParams, opts ...RequestOption) error {
	r, err := s.within(api.KnowledgeDeleteNamespace, p.environment(), namespace)
	if err != nil {
		return err
	}
	if namespace == "" {
		return badKnowledge(r.op, "namespace", "is empty")
	}
	r.query.add("namespace", namespace)
	_, err = do(ctx, (*service)(s).of(), r, decodeNone, opts)
	return err
}

// KnowledgeQuery asks for the knowledge that is closest to a text.
type KnowledgeQuery struct {
	EnvironmentID string // default: the client's environment
	Query         string // what to look for; must not be blank
	Namespace     string
	// MinScore leaves out what is less relevant, from 0 to 1. 0 is the service's
	// default, which is 0.3.
	MinScore float64
	// AnyScore leaves out nothing, in place of a MinScore.
	AnyScore bool
	// MaxResults is at most 20. 0 is the service's default, which is 3.
	MaxResults int
	Filter     Filter // by metadata
}

// Match is a chunk of knowledge that a query found.
type Match struct {
	Content   string          `json:"content" api:"words"`
	Score     float64         `json:"score" api:"words"` // relevance, from 0 to 1
	EntryID   string          `json:"entry_id" api:"words"`
	Namespace string          `json:"namespace,omitzero" api:"words"`
	Metadata  json.RawMessage `json:"metadata,omitzero" api:"words"` // see DecodeMetadata

	rawItem
}

// DecodeMetadata decodes the metadata of the entry that was found into v. An
// entry without metadata leaves v as it is.
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

// Query returns the chunks of knowledge that are closest to a text, best first.
// They come on one page; there is no next one. It costs one request, and is
// repeated like any other read.
//
// Whether the service asks a key for read or for write access is not known.
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
	l := listing[Match]{
		name: "results", id: func(m *Match) string { return m.EntryID },
	}
	return do(ctx, (*service)(s).of(), r, l.decode, opts)
}

// Namespace is a node in the tree of namespaces.
type Namespace struct {
	Name            string `json:"name" api:"words,namespace"`
	EntryCount      int    `json:"entry_count" api:"words"`       // in the namespace itself
	TotalEntryCount int    `json:"total_entry_count" api:"words"` // with those below it
	HasChildren     bool   `json:"has_children" api:"words"`

	rawItem
}

// NamespaceListParams selects namespaces.
type NamespaceListParams struct {
	EnvironmentID string // default: the client's environment
	Parent        string // default: the root
	// Depth is how many levels below Parent are listed: 0 is the service's
	// default, which is 1, and AllLevels lists all.
	Depth int
}

// Namespaces returns the namespaces below a parent, all on one page. It costs
// one request.
//
//	API:    GET /projects/{project}/knowledge/namespaces
//	Access: knowledge read
//	Status: assumed
func (s *KnowledgeService) Namespaces(ctx context.Context, p *NamespaceListParams, opts ...RequestOption) (*Page[Namespace], error) {
	var params NamespaceListParams
	if p != nil {
		params = *p
	}
	r, err := s.within(api.KnowledgeNamespaces, params.EnvironmentID, params.Parent)
	if err != nil {
		return nil, err
	}
	r.query.add("parent", params.Parent)
	switch {
	case params.Depth == AllLevels:
		r.query.add("depth", "0")
	case params.Depth < 0 || params.Depth > maxNamespaceLevels:
		return nil, badKnowledge(r.op, "depth", fmt.Sprintf("is not between 1 and %d, AllLevels, or 0 for the default", maxNamespaceLevels))
	default:
		r.query.addInt("depth", params.Depth)
	}
	l := listing[Namespace]{
		name: "namespaces", id: func(n *Namespace) string { return n.Name },
	}
	return do(ctx, (*service)(s).of(), r, l.decode, opts)
}
