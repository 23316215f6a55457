package connic

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/route"
)

// A TextUpload is text to be added to the knowledge of an environment.
type TextUpload struct {
	EnvironmentID string // default: the client's environment
	Content       string // must not be blank
	Namespace     string // dot-separated levels, at most 10
	// EntryID is the id of the entry. Uploading to the namespace and id of an
	// existing entry replaces it. If EntryID is empty, the service chooses an
	// id.
	EntryID  string
	Metadata map[string]any
	// StableID derives the EntryID from the SHA-256 of the namespace and the
	// content. Uploading the same content again, from any process, then
	// replaces the entry instead of duplicating it, and can be retried safely.
	// Different content becomes a different entry, and the old one remains: use
	// an EntryID for content that changes.
	StableID bool
}

// A FileUpload is a file to be added to the knowledge of an environment.
type FileUpload struct {
	EnvironmentID string // default: the client's environment
	File          FileSource
	Namespace     string // dot-separated levels, at most 10
	EntryID       string // as in TextUpload
	Metadata      map[string]any
	// StableID is like that of TextUpload, and uses the SHA-256 of the
	// namespace, the file's name and its content. The file is read once more to
	// compute it, and is not uploaded if it changes in the meantime.
	StableID bool
}

// Ingestion is the response to an upload: the entry has been accepted for
// ingestion. See [KnowledgeService.WaitJob].
type Ingestion struct {
	EntryID string    `json:"entry_id" api:"assumed"`
	JobID   string    `json:"job_id,omitzero" api:"assumed"` // empty if the service does not name a job
	Status  JobStatus `json:"status,omitzero" api:"assumed"`
}

// ingestionWire covers every place where the response may name the entry and
// the job.
type ingestionWire struct {
	EntryID string    `json:"entry_id"`
	JobID   string    `json:"job_id"`
	ID      string    `json:"id"`
	Entry   *Entry    `json:"entry"`
	Job     *Job      `json:"job"`
	Status  JobStatus `json:"status"`
	Queued  bool      `json:"queued"`
}

func (w *ingestionWire) ingestion() *Ingestion {
	i := &Ingestion{EntryID: w.EntryID, JobID: w.JobID, Status: w.Status}
	if w.Entry != nil {
		i.EntryID = cmp.Or(i.EntryID, w.Entry.EntryID)
	}
	if j := w.Job; j != nil {
		i.EntryID = cmp.Or(i.EntryID, j.EntryID)
		i.JobID = cmp.Or(i.JobID, j.ID)
		i.Status = cmp.Or(i.Status, j.Status)
	}
	if i.EntryID == "" {
		i.EntryID = w.ID
	} else if i.JobID == "" && w.ID != i.EntryID {
		i.JobID = w.ID
	}
	if i.Status == "" && w.Queued {
		i.Status = JobQueued
	}
	return i
}

// decodeIngestion decodes the response to an upload. Sent is the id that was
// sent, for responses that do not repeat it.
func decodeIngestion(sent string) func(*lenient.Decoder) (*Ingestion, error) {
	return func(d *lenient.Decoder) (*Ingestion, error) {
		w := ingestionWire{EntryID: sent}
		decode := d.Decode
		if sent != "" { // then the response may be empty
			decode = func(v any) error { return d.End(d.Value(v)) }
		}
		if err := decode(&w); err != nil {
			return nil, err
		}
		w.EntryID = cmp.Or(w.EntryID, sent) // after a null
		return w.ingestion(), nil
	}
}

// salvageIngestion extracts the ids from a truncated response, using the
// members that are complete.
func salvageIngestion(body []byte) any {
	var w ingestionWire
	d := lenient.New(body)
	_ = d.Members(func(key []byte) error {
		switch string(key) {
		case "entry_id":
			return d.Whole(&w.EntryID)
		case "job_id":
			return d.Whole(&w.JobID)
		case "id":
			return d.Whole(&w.ID)
		case "entry":
			return d.Whole(&w.Entry)
		case "job":
			return d.Whole(&w.Job)
		}
		return d.Skip()
	})
	if i := w.ingestion(); i.EntryID != "" || i.JobID != "" {
		return i
	}
	return nil
}

// target is the destination of an upload, and what accompanies the content.
type target struct {
	environment, namespace, entryID string
	stable                          bool
	metadata                        map[string]any
}

// prepare validates a target and begins its request. The returned metadata is
// JSON, or nil.
func (s *KnowledgeService) prepare(op api.Op, t target) (request, json.RawMessage, error) {
	r, err := s.within(op, t.environment, t.namespace)
	if err != nil {
		return r, nil, err
	}
	r.repeatable = t.entryID != "" || t.stable
	r.salvage = salvageIngestion
	switch {
	case t.entryID != "" && t.stable:
		return r, nil, badKnowledge(op, "entry id", "is set together with StableID")
	case t.entryID != "":
		if reason := route.Check(t.entryID); reason != "" {
			return r, nil, badKnowledge(op, "entry id", reason)
		}
	}
	if t.metadata == nil {
		return r, nil, nil
	}
	metadata, err := json.Marshal(t.metadata)
	if err != nil {
		return r, nil, badKnowledge(op, "metadata", "cannot be encoded as JSON: "+err.Error())
	}
	return r, metadata, nil
}

// identity returns the hash of a StableID. Each part is preceded by its length,
// except the content, which comes last.
func identity(parts ...string) hash.Hash {
	h := sha256.New()
	for _, part := range parts {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		_, _ = io.WriteString(h, part)
	}
	return h
}

type textBody struct {
	Content   string          `json:"content"`
	Namespace string          `json:"namespace,omitempty"`
	EntryID   string          `json:"entry_id,omitempty"`
	Metadata  json.RawMessage `json:"metadata,omitempty"`
}

// UploadText adds text to the knowledge of an environment. It returns when the
// service has accepted the text; to wait for its ingestion, use
// [KnowledgeService.WaitJob].
//
// With an EntryID or a StableID, a repeated upload replaces the same entry, so
// a failed upload is retried like a read. Without either, a repeated upload
// would create a second entry, so it is retried only if the first attempt
// cannot have been executed; if that is uncertain, the error is
// [ErrOutcomeUnknown]. If the response was truncated after it named the entry,
// the result is returned with the error.
//
// It costs one request.
//
//	API:    POST /projects/{project}/knowledge/text
//	Access: knowledge write
//	Status: documented
func (s *KnowledgeService) UploadText(ctx context.Context, req TextUpload, opts ...RequestOption) (*Ingestion, error) {
	const op = api.KnowledgeUploadText
	r, metadata, err := s.prepare(op, target{req.EnvironmentID, req.Namespace, req.EntryID, req.StableID, req.Metadata})
	if err != nil {
		return nil, err
	}
	switch {
	case strings.TrimSpace(req.Content) == "":
		return nil, badKnowledge(op, "content", "is empty or blank")
	case !utf8.ValidString(req.Content):
		return nil, badKnowledge(op, "content", "is not valid UTF-8")
	case req.StableID:
		h := identity("text", req.Namespace)
		_, _ = io.WriteString(h, req.Content)
		req.EntryID = hex.EncodeToString(h.Sum(nil))
	}
	r.body = &textBody{req.Content, req.Namespace, req.EntryID, metadata}
	return do(ctx, s.scope(), r, decodeIngestion(req.EntryID), opts)
}

// UploadFile adds a file to the knowledge of an environment. It returns when
// the service has accepted the file; to wait for its ingestion, use
// [KnowledgeService.WaitJob]. EntryID and StableID work as for
// [KnowledgeService.UploadText].
//
// The file is streamed: it is never held in memory as a whole, and each retry
// reopens it. The service documents no size limit and the client sets none; if
// the service refuses the file, the error is an [*Error]. Each attempt may take
// a minute; use [WithTimeout] for files that need longer.
//
// It costs one request.
//
//	API:    POST /projects/{project}/knowledge/files
//	Access: knowledge write
//	Status: assumed
func (s *KnowledgeService) UploadFile(ctx context.Context, req FileUpload, opts ...RequestOption) (*Ingestion, error) {
	const op = api.KnowledgeUploadFile
	r, metadata, err := s.prepare(op, target{req.EnvironmentID, req.Namespace, req.EntryID, req.StableID, req.Metadata})
	if err != nil {
		return nil, err
	}
	form, err := newFileForm(&req.File)
	if err != nil {
		return nil, err
	}
	if req.StableID {
		if req.EntryID, err = form.stableID(ctx, req.Namespace); err != nil {
			return nil, err
		}
	}
	form.write(req.Namespace, req.EntryID, string(metadata))
	r.form = &upload{contentType: form.contentType, open: form.open}
	ingestion, err := do(ctx, s.scope(), r, decodeIngestion(req.EntryID), opts)
	if _, unanswered := err.(*TransportError); unanswered && form.changed.Load() { //nolint:errorlint // that of the call itself
		return ingestion, badFile("changed after its StableID was derived", nil)
	}
	return ingestion, err
}
