package connic

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/form"
	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/pack"
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

// A FileSource is a file that can be read more than once. [LocalFile], [FSFile]
// and [ReaderAtFile] return one.
type FileSource struct {
	// Name is the base name of the file. Its extension, in any letter case,
	// determines the type: .txt .md .markdown .csv .json .jsonl .yaml .yml .log
	// .pdf .png .jpg .jpeg .gif or .webp.
	Name string
	// Open opens the file at its start. It is called once to inspect the file,
	// once per attempt, and once more for a StableID. If the reader implements
	// io.Closer, it is closed. If it has a Stat, Len or Size method, the size
	// of the file is known and sent.
	Open func() (io.Reader, error)
}

// LocalFile returns the regular file on disk with the given name. Opening
// anything else, such as a named pipe, fails.
func LocalFile(name string) FileSource {
	return FileSource{Name: filepath.Base(name), Open: func() (io.Reader, error) { return pack.OpenFile(name) }}
}

// FSFile returns a regular file in a file system, such as an [embed.FS].
func FSFile(fsys fs.FS, name string) FileSource {
	return FileSource{Name: path.Base(name), Open: func() (io.Reader, error) { return pack.OpenFSFile(fsys, name) }}
}

// ReaderAtFile returns a file that consists of the first size bytes of r. Do
// not close r before the upload has returned.
func ReaderAtFile(name string, r io.ReaderAt, size int64) FileSource {
	return FileSource{Name: name, Open: func() (io.Reader, error) { return io.NewSectionReader(r, 0, size), nil }}
}

// fileTypes maps the extensions that the vendor lists to MIME types.
var fileTypes = map[string]string{
	".txt": "text/plain", ".log": "text/plain",
	".md": "text/markdown", ".markdown": "text/markdown",
	".csv":  "text/csv",
	".json": "application/json", ".jsonl": "application/jsonl",
	".yaml": "application/yaml", ".yml": "application/yaml",
	".pdf": "application/pdf",
	".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp",
}

func badFile(reason string, cause error) *ArgumentError {
	if cause != nil {
		reason += ": " + cause.Error()
	}
	e := badKnowledge(api.KnowledgeUploadFile, "file", reason)
	e.err = cause
	return e
}

func fileType(name string) string { return fileTypes[strings.ToLower(path.Ext(name))] }

// badRead returns the error of a file that cannot be read.
func badRead(err error) error {
	var argument *ArgumentError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &argument):
		return argument
	case errors.Is(err, pack.ErrDirectory):
		return badFile(err.Error(), nil)
	}
	return badFile("cannot be read", err)
}

// file checks the source of an upload and determines its size.
func (s *FileSource) file(ctx context.Context) (f form.File, err error) {
	switch {
	case s.Open == nil:
		return f, badFile("has no Open function", nil)
	case route.Check(s.Name) != "":
		return f, badFile("has a name that "+route.Check(s.Name), nil)
	case !utf8.ValidString(s.Name):
		return f, badFile("has a name that is not valid UTF-8", nil)
	case fileType(s.Name) == "":
		return f, badFile("has an ending that is none of "+strings.Join(slices.Sorted(maps.Keys(fileTypes)), " "), nil)
	}
	f = form.File{Name: s.Name, Type: fileType(s.Name), Open: s.Open}
	f.Size, err = pack.Within(ctx, func() (int64, error) {
		r, err := s.Open()
		if err != nil {
			return 0, badFile("cannot be opened", err)
		}
		defer pack.Close(r)
		return pack.SizeOf(r)
	})
	if err == nil && f.Size == 0 {
		err = badFile("is empty", nil)
	}
	return f, badRead(err)
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
		w := new(ingestionWire)
		if sent == "" || d.Len() > 0 { // the response to a document with an id may be empty
			if err := d.Decode(w); err != nil {
				return nil, err
			}
			if i := w.ingestion(); i.EntryID == "" && i.JobID == "" && (sent == "" || !i.Status.Known()) {
				return nil, otherDocument("entry_id")
			}
		}
		w.EntryID = cmp.Or(w.EntryID, sent)
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

// stableID returns the EntryID of a StableID.
func (d TextUpload) stableID() string {
	h := identity("text", d.Namespace)
	_, _ = io.WriteString(h, d.Content)
	return hex.EncodeToString(h.Sum(nil))
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
		req.EntryID = req.stableID()
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
	ended := func(err error) error { // reading the file took until the context ended
		if ctx == nil || ctx.Err() == nil {
			return err
		}
		return &TransportError{Op: api.Table[op].Name, Method: api.Table[op].Method, Err: contextError(ctx)}
	}
	file, err := req.File.file(ctx)
	if err != nil {
		return nil, ended(err)
	}
	var own *form.Identity
	if req.StableID {
		own, err = form.Identify(ctx, file, func() hash.Hash { return identity("file", req.Namespace, file.Name) })
		if err != nil {
			return nil, ended(badFile("cannot be read", err))
		}
		req.EntryID, file = own.Sum, own.File()
	}
	body := form.New()
	for _, field := range [...][2]string{{"namespace", req.Namespace}, {"entry_id", req.EntryID}, {"metadata", string(metadata)}} {
		if field[1] != "" {
			body.Field(field[0], field[1])
		}
	}
	body.File("file", file)
	body.End()
	r.form = &upload{contentType: body.ContentType(), open: func() (io.Reader, error) {
		content, err := body.Open()
		switch {
		case err == form.ErrChanged: //nolint:errorlint // not wrapped
			return nil, errChanged()
		case err != nil:
			return nil, badFile("cannot be opened", err)
		}
		return content, nil
	}}
	ingestion, err := do(ctx, s.scope(), r, decodeIngestion(req.EntryID), opts)
	if _, unanswered := err.(*TransportError); unanswered && own != nil && own.Changed() { //nolint:errorlint // that of the call itself
		return ingestion, errChanged()
	}
	return ingestion, err
}

func errChanged() *ArgumentError { return badFile("changed after its StableID was derived", nil) }
