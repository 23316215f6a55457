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
)

// TextUpload is a text that is to become knowledge.
type TextUpload struct {
	EnvironmentID string // default: the client's environment
	Content       string // must not be blank
	Namespace     string // levels divided by dots, at most 10
	// EntryID names the entry. An upload with the namespace and id of an entry
	// replaces it. Without one the service chooses an id.
	EntryID  string
	Metadata map[string]any
	// StableID makes the SDK choose the EntryID: the SHA-256 of the namespace and
	// the content. An equal upload, by whatever process, then replaces the entry
	// and does not double it, so it can be repeated safely. Another content is
	// another entry; what it was before stays. Use an EntryID for what changes.
	StableID bool
}

// FileUpload is a file that is to become knowledge.
type FileUpload struct {
	EnvironmentID string // default: the client's environment
	File          FileSource
	Namespace     string // levels divided by dots, at most 10
	EntryID       string // as in TextUpload
	Metadata      map[string]any
	// StableID is that of TextUpload, for the SHA-256 of the namespace, the file's
	// name and its content. The file is read once more for it, and one that changes
	// meanwhile is not uploaded.
	StableID bool
}

// Ingestion is the service's answer to an upload: the entry is on its way. See
// [KnowledgeService.WaitJob].
type Ingestion struct {
	EntryID string    `json:"entry_id" api:"assumed"`
	JobID   string    `json:"job_id,omitzero" api:"assumed"` // empty if the service names no job
	Status  JobStatus `json:"status,omitzero" api:"assumed"`
}

// ingestionWire holds every place where the answer may name entry and job.
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

// decodeIngestion decodes the answer to an upload. Sent is the entry's id as it
// was sent, for answers that do not repeat it.
func decodeIngestion(sent string) func(*lenient.Decoder) (*Ingestion, error) {
	return func(d *lenient.Decoder) (*Ingestion, error) {
		w := ingestionWire{EntryID: sent}
		decode := d.Decode
		if sent != "" { // then an answer may say nothing
			decode = func(v any) error { return d.End(d.Value(v)) }
		}
		if err := decode(&w); err != nil {
			return nil, err
		}
		w.EntryID = cmp.Or(w.EntryID, sent) // after a null
		return w.ingestion(), nil
	}
}

// salvageIngestion finds the ids in an answer that broke off: it goes by the
// members that are whole.
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

// target is where an upload goes, and what it carries beside the content.
type target struct {
	environment, namespace, entryID string
	stable                          bool
	metadata                        map[string]any
}

// prepare checks a target and begins its request. The metadata returned is JSON,
// nil for none.
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
		if reason := checkSegment(t.entryID); reason != "" {
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

// identity is the hash of a StableID. Each part is preceded by its length, but
// for the content, which is the last.
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

// UploadText makes a text knowledge. It returns when the service has accepted
// the text; see [KnowledgeService.WaitJob] for the end of its ingestion.
//
// With an EntryID or a StableID the upload replaces an equal one and is repeated
// like a read when it fails. Without either, a second upload would be a second
// entry: it is then repeated only when the first one cannot have been executed,
// and where that is not certain the error is [ErrOutcomeUnknown]. If the answer
// broke off after it had named the entry, that is returned beside the error.
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
	return do(ctx, (*service)(s).of(), r, decodeIngestion(req.EntryID), opts)
}

// UploadFile makes a file knowledge. It returns when the service has accepted the
// file; see [KnowledgeService.WaitJob] for the end of its ingestion. EntryID and
// StableID do what they do for [KnowledgeService.UploadText].
//
// The file is streamed: it is never held in memory as a whole, and a retry opens
// it again. No bound on its size is known, so the client sets none; the service's
// refusal is an [*Error]. An attempt may take a minute, which [WithTimeout]
// changes for files that take longer.
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
	ingestion, err := do(ctx, (*service)(s).of(), r, decodeIngestion(req.EntryID), opts)
	if _, unanswered := err.(*TransportError); unanswered && form.changed.Load() { //nolint:errorlint // that of the call itself
		return ingestion, badFile("changed after its StableID was derived", nil)
	}
	return ingestion, err
}
