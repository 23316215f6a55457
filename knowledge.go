package connic

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
)

// KnowledgeService uploads and searches knowledge for agents. It needs a key
// with access to the knowledge section.
//
// Knowledge belongs to an environment, and every call needs its id, either in
// the request or parameters or from [WithEnvironment]. A call without one is
// refused with an [*ArgumentError].
//
// Entries are organized in namespaces, which form a tree: "docs.api" is below
// "docs". The tree is at most 10 levels deep.
type KnowledgeService service

func (s *KnowledgeService) scope() *scope { return (*service)(s).scope() }

// AllLevels requests namespaces of every depth from
// [KnowledgeService.Namespaces].
const AllLevels = -1

const (
	maxNamespaceLevels = 10
	maxQueryResults    = 20
)

// begin returns a request for an operation in the given environment, or else in
// that of the client.
func (s *KnowledgeService) begin(op api.Op, environment string) (request, error) {
	environment = cmp.Or(environment, s.scope().environment)
	if environment == "" {
		return request{}, badKnowledge(op, "environment id", "is missing; set it in the call, or for the client with WithEnvironment")
	}
	r := request{op: op}
	r.query.add("environment_id", environment)
	return r, nil
}

// within returns a request for an operation in a namespace.
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

// checkNamespace returns what is wrong with a namespace, or "". An empty
// namespace is valid.
func checkNamespace(namespace string) string {
	switch {
	case namespace == "":
		return ""
	case strings.ContainsAny(namespace, `/\`):
		return "contains a slash or a backslash; levels are separated by dots"
	case strings.ContainsFunc(namespace, isControl):
		return "contains a control character"
	case strings.HasPrefix(namespace, ".") || strings.HasSuffix(namespace, ".") || strings.Contains(namespace, ".."):
		return "has an empty level: a dot at an end, or two in a row"
	case strings.Count(namespace, ".") >= maxNamespaceLevels:
		return fmt.Sprintf("has more than %d levels", maxNamespaceLevels)
	}
	return ""
}

// checkEntryID refuses ids that would address another operation: with the
// default routes, /knowledge/jobs is not an entry.
func (s *KnowledgeService) checkEntryID(op api.Op, id string) error {
	if (id == "jobs" || id == "namespaces") && s.scope().routes.of(op) == api.Table[op].Route {
		return badKnowledge(op, "entry id", "is the name of another endpoint (see WithRoute)")
	}
	return nil
}

// An Entry is a piece of knowledge: text or a file, split into chunks. All of
// its fields are assumed and may be empty.
type Entry struct {
	EntryID    string `json:"entry_id" api:"assumed,id"` // unique within a namespace
	Namespace  string `json:"namespace,omitzero" api:"assumed"`
	Source     string `json:"source,omitzero" api:"assumed"` // origin, such as the name of the file
	ChunkCount int    `json:"chunk_count,omitzero" api:"assumed"`
	// Metadata is the entry's metadata object, unmodified: see DecodeMetadata.
	Metadata  json.RawMessage `json:"metadata,omitzero" api:"assumed"`
	Content   string          `json:"content,omitzero" api:"assumed"`
	CreatedAt time.Time       `json:"created_at,omitzero" api:"assumed"`
	UpdatedAt time.Time       `json:"updated_at,omitzero" api:"assumed"`

	RawItem
}

// DecodeMetadata decodes the entry's metadata into v. It leaves v unchanged if
// there is none.
func (e *Entry) DecodeMetadata(v any) error { return decodeMetadata(e.Metadata, e.EntryID, v) }

// Diff returns the changes that uploading u would make to e, in content and
// metadata. It sends no request. What identifies an entry, its namespace and id,
// is not compared.
//
// The content differs if the service omits it, as lists may: use
// [KnowledgeService.Get]. It is not compared if u has a StableID and e the
// EntryID that is derived from it.
func (e *Entry) Diff(u TextUpload) []Change {
	have := *e
	if len(have.Metadata) > 0 && have.Metadata[0] == '"' { // a string that contains JSON
		have.Metadata = json.RawMessage(lenient.Text(have.Metadata))
	}
	wanted := struct {
		Content  Nullable[string]         `json:"content"`
		Metadata Nullable[map[string]any] `json:"metadata"`
	}{Set(u.Content), Null[map[string]any]()}
	if u.StableID && e.EntryID == u.stableID() {
		wanted.Content = Nullable[string]{}
	}
	if len(u.Metadata) > 0 {
		wanted.Metadata = Set(u.Metadata)
	}
	return diff(&have, wanted)
}

func decodeMetadata(metadata json.RawMessage, id string, v any) error {
	if len(metadata) == 0 || string(metadata) == "null" {
		return nil
	}
	if metadata[0] == '"' { // a string that contains JSON
		metadata = json.RawMessage(lenient.Text(metadata))
	}
	if err := json.Unmarshal(metadata, v); err != nil {
		return fmt.Errorf("connic: the metadata of entry %s is not the expected JSON: %w", id, err)
	}
	return nil
}

// EntryListParams selects entries. The zero value selects all of them in the
// environment.
type EntryListParams struct {
	EnvironmentID string // default: the client's environment
	Namespace     string // and the namespaces below it; see Entry.Namespace
	// Limit is the number of entries per page, at most 100 (assumed). If it is 0,
	// List leaves it to the service, and All uses 100.
	Limit, Offset int
}

func entryListing(s *KnowledgeService, p *EntryListParams) listing[Entry] {
	if p == nil {
		p = new(EntryListParams)
	}
	l := listing[Entry]{
		scope: s.scope(), name: "entries", limit: p.Limit, offset: p.Offset,
		id: func(e *Entry) string {
			if e.EntryID == "" {
				return ""
			}
			return e.Namespace + "\x00" + e.EntryID
		},
	}
	l.request, l.err = s.within(api.KnowledgeList, p.EnvironmentID, p.Namespace)
	l.request.query.add("namespace", p.Namespace)
	return l
}

// List returns one page of entries. It costs one request.
//
//	API:    GET /projects/{project}/knowledge
//	Access: knowledge read
//	Status: assumed
func (s *KnowledgeService) List(ctx context.Context, p *EntryListParams, opts ...RequestOption) (*Page[Entry], error) {
	return entryListing(s, p).page(ctx, opts)
}

// All iterates over the entries, starting at the given offset. Entries may be
// added and deleted during the iteration: each of the others is yielded once,
// or the iteration ends with [ErrPageLoop]. It costs one request per Limit
// entries, and a few more if the list changes; the default Limit is 100.
//
//	API:    GET /projects/{project}/knowledge
//	Access: knowledge read
//	Status: assumed
func (s *KnowledgeService) All(ctx context.Context, p *EntryListParams, opts ...RequestOption) iter.Seq2[*Entry, error] {
	return entryListing(s, p).all(ctx, opts)
}

// EntryParams specifies where an entry is.
type EntryParams struct {
	EnvironmentID string // default: the client's environment
	Namespace     string
}

// entry returns a request for an operation on one entry.
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
	return do(ctx, s.scope(), r, decodeInto[Entry], opts)
}

// Delete deletes an entry. Deleting an entry that does not exist fails with
// [ErrNotFound], unless it is a retry after a lost response. It costs one
// request.
//
//	API:    DELETE /projects/{project}/knowledge/{entry}
//	Access: knowledge write
//	Status: assumed
func (s *KnowledgeService) Delete(ctx context.Context, entryID string, p *EntryParams, opts ...RequestOption) error {
	r, err := s.entry(api.KnowledgeDelete, entryID, p)
	if err != nil {
		return err
	}
	_, err = do(ctx, s.scope(), r, decodeNone, opts)
	return err
}

// KnowledgeParams specifies the environment for operations that have no other
// parameters.
type KnowledgeParams struct {
	EnvironmentID string // default: the client's environment
}

func (p *KnowledgeParams) environment() string {
	if p == nil {
		return ""
	}
	return p.EnvironmentID
}

// DeleteNamespace deletes a namespace with all of its entries and everything
// below it. The name must not be empty. As with Delete, a repeated deletion may
// fail with [ErrNotFound]. It costs one request.
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
	_, err = do(ctx, s.scope(), r, decodeNone, opts)
	return err
}

// A Namespace is a node in the tree of namespaces.
type Namespace struct {
	Name            string `json:"name" api:"words,namespace"`
	EntryCount      int    `json:"entry_count" api:"words"`       // in the namespace itself
	TotalEntryCount int    `json:"total_entry_count" api:"words"` // including namespaces below it
	HasChildren     bool   `json:"has_children" api:"words"`

	RawItem
}

// NamespaceListParams selects namespaces.
type NamespaceListParams struct {
	EnvironmentID string // default: the client's environment
	Parent        string // default: the root
	// Depth is the number of levels below Parent to list. 0 selects the default
	// of the service, which is 1; AllLevels lists all.
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
	return listing[Namespace]{
		scope: s.scope(), request: r, name: "namespaces", id: func(n *Namespace) string { return n.Name },
	}.page(ctx, opts)
}
