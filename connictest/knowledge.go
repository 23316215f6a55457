package connictest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// An IngestedEntry is an entry whose ingestion is about to end.
type IngestedEntry struct {
	JobID         string
	EnvironmentID string
	Namespace     string
	EntryID       string
	Source        string // the name of the file; empty for text
	Content       string // of the text or file, unmodified
	Metadata      map[string]any
	Attempt       int // 1, or 2 after a failure
}

// IngestionTime sets how long the ingestion of later uploads takes. The default
// is 1 s. The job is queued for a quarter of that time and then processed.
// Until it is completed, the previous version of the entry is found. With 0,
// uploads are completed at once.
func (s *Server) IngestionTime(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ingestionTime = d
}

// FailIngestion makes ingestions fail for which f returns an error. A failed
// ingestion is retried once, after the same time; if it fails again, the job
// fails with the text of that error. A nil f makes all ingestions succeed
// again.
func (s *Server) FailIngestion(f func(IngestedEntry) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failIngestion = f
}

// entry is an entry of the knowledge base, or one being ingested.
type entry struct {
	environment, namespace, id string

	source   string
	content  string
	metadata map[string]any // numbers are json.Number
	chunks   []string
	created  time.Time
	updated  time.Time
	job      int // the number of the job that created this version
	size     int // of its content and metadata, in bytes
}

func (e *entry) object(whole bool) object {
	o := object{
		"entry_id": e.id, "namespace": text(e.namespace), "source": text(e.source), "chunk_count": len(e.chunks),
		"metadata": object(e.metadata), "created_at": timestamp(e.created), "updated_at": timestamp(e.updated),
	}
	if whole {
		o["content"] = e.content
	}
	return o
}

// is reports whether e and other are versions of the same entry.
func (e *entry) is(other *entry) bool {
	return e.environment == other.environment && e.namespace == other.namespace && e.id == other.id
}

// knowledge returns the environment of a request, and updates the ingestions.
// Every handler of the section calls it first.
func (s *Server) knowledge(x *exchange) (environment string, complaint *answer) {
	s.settle(x.ctx)
	id := x.param("environment_id")
	if id == "" {
		return "", invalid("Field required", "missing", "query", "environment_id")
	}
	var known []string
	for _, e := range s.environments {
		if e.ID == id {
			return id, checkPlace(x.param("namespace"), "query", "namespace")
		}
		known = append(known, e.ID)
	}
	a := problem(404, "Environment not found; expected the id of one: "+strings.Join(known, ", "))
	return "", &a
}

// checkPlace refuses invalid namespaces.
func checkPlace(namespace string, loc ...string) *answer {
	if namespace == "" {
		return nil
	}
	levels := strings.Split(namespace, ".")
	if len(levels) > 10 {
		return invalid("A namespace has at most 10 levels", "too_long", loc...)
	}
	for _, level := range levels {
		if level == "" || strings.ContainsAny(level, `/\`) || strings.ContainsFunc(level, func(r rune) bool { return r < ' ' }) {
			return invalid("A level of a namespace is a text without dots and slashes", "string_pattern_mismatch", loc...)
		}
	}
	return nil
}

func (s *Server) uploadText(x *exchange) answer {
	environment, complaint := s.knowledge(x)
	if complaint != nil {
		return *complaint
	}
	var body struct {
		Content   *string         `json:"content"`
		Namespace string          `json:"namespace"`
		EntryID   *string         `json:"entry_id"`
		Metadata  json.RawMessage `json:"metadata"`
	}
	if media, _, err := mime.ParseMediaType(x.contentType); err != nil || media != "application/json" {
		return *invalid("The body should be application/json", "media_type", "header", "content-type")
	}
	if complaint := x.decode(&body); complaint != nil {
		return *complaint
	}
	if body.Content == nil {
		return *invalid("Field required", "missing", "body", "content")
	}
	e := &entry{environment: environment, namespace: body.Namespace, content: *body.Content}
	return s.accept(x, e, body.EntryID, body.Metadata, "content")
}

// accept starts the ingestion of an entry.
func (s *Server) accept(x *exchange, e *entry, id *string, metadata []byte, field string) answer {
	if complaint := checkPlace(e.namespace, "body", "namespace"); complaint != nil {
		return *complaint
	}
	if strings.TrimSpace(e.content) == "" {
		return *invalid("There is no content", "string_too_short", "body", field)
	}
	switch {
	case id == nil:
		e.id = s.newID("entry")
	case *id == "" || *id == "." || *id == ".." || strings.ContainsAny(*id, `/\`):
		return *invalid("An entry id is a text without slashes", "string_pattern_mismatch", "body", "entry_id")
	default:
		e.id = *id
	}
	if len(metadata) > 0 {
		decoder := json.NewDecoder(bytes.NewReader(metadata))
		decoder.UseNumber()
		if err := decoder.Decode(&e.metadata); err != nil || decoder.More() {
			return *invalid("Input should be a JSON object", "dict_type", "body", "metadata")
		}
	}
	e.chunks, e.size = chunks(e), len(e.content)+len(metadata)
	if complaint := s.fullOf(e); complaint != nil {
		return *complaint
	}
	s.uploads++
	j := &job{
		id: s.newID("job"), number: s.uploads, environment: e.environment, namespace: e.namespace, entryID: e.id,
		chunks: len(e.chunks), entry: e, attempt: 1, takes: s.ingestionTime,
		created: s.now(), began: s.now(),
	}
	e.job = j.number
	var before object
	for _, former := range s.entries {
		if former.is(e) {
			before = former.object(false)
		}
	}
	if s.jobs = append(s.jobs, j); len(s.jobs) > maxJobs {
		if i := slices.IndexFunc(s.jobs, func(j *job) bool { return j.status != "" }); i >= 0 {
			s.jobs = slices.Delete(s.jobs, i, i+1)
		}
	}
	s.changed(x, "knowledge_entry", e.id, before, e.object(false))
	s.settle(x.ctx)
	status, _ := j.state(s.now())
	return ok(object{"entry_id": e.id, "job_id": j.id, "status": string(status), "queued": !status.Finished()})
}

// fileTypes maps the accepted extensions to MIME types. For formats other than
// text, the fake only knows the name of the file.
var fileTypes = map[string]string{
	".txt": "text/plain", ".md": "text/markdown", ".markdown": "text/markdown", ".csv": "text/csv",
	".json": "application/json", ".jsonl": "application/jsonl", ".yaml": "application/yaml", ".yml": "application/yaml",
	".log": "text/plain", ".pdf": "application/pdf", ".png": "image/png", ".jpg": "image/jpeg",
	".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp",
}

func fileType(name string) string { return fileTypes[strings.ToLower(path.Ext(name))] }

func binary(mimeType string) bool {
	return strings.HasPrefix(mimeType, "image/") || mimeType == "application/pdf"
}

func (s *Server) uploadFile(x *exchange) answer {
	environment, complaint := s.knowledge(x)
	if complaint != nil {
		return *complaint
	}
	e := &entry{environment: environment}
	fields, complaint := x.form(e)
	if complaint != nil {
		return *complaint
	}
	e.namespace = fields["namespace"]
	var id *string
	if own, given := fields["entry_id"]; given {
		id = &own
	}
	return s.accept(x, e, id, []byte(fields["metadata"]), "file")
}

// form parses a multipart form: the file into the entry, and the other parts
// into fields.
func (x *exchange) form(e *entry) (fields map[string]string, complaint *answer) {
	media, params, err := mime.ParseMediaType(x.contentType)
	if err != nil || media != "multipart/form-data" || params["boundary"] == "" {
		return nil, invalid("The body should be multipart/form-data with a boundary", "media_type", "header", "content-type")
	}
	fields = make(map[string]string)
	files := 0
	for reader := multipart.NewReader(bytes.NewReader(x.body), params["boundary"]); ; {
		part, err := reader.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		var content []byte
		if err == nil {
			content, err = io.ReadAll(part)
		}
		if err != nil {
			return nil, invalid("The form is not whole: "+err.Error(), "multipart", "body")
		}
		name := part.FormName()
		_, twice := fields[name]
		switch {
		case !slices.Contains(x.op.Body, name):
			return nil, invalid("Unknown part; expected "+expected(x.op.Body), "extra_forbidden", "body", name)
		case twice || (name == "file" && files > 0):
			return nil, invalid("The part comes twice", "extra_forbidden", "body", name)
		case (part.FileName() != "") != (name == "file"):
			return nil, invalid("The part file has a file name, and the others have none", "multipart", "body", name)
		case name != "file":
			fields[name] = string(content)
		case fileType(part.FileName()) == "":
			return nil, invalid("The file has an unsupported type", "file_type", "body", name)
		case part.Header.Get("Content-Type") != fileType(part.FileName()):
			return nil, invalid("Expected the content type "+fileType(part.FileName()), "file_type", "body", name)
		case !binary(fileType(part.FileName())) && !utf8.Valid(content):
			return nil, invalid("The file is not valid UTF-8", "string_unicode", "body", name)
		default:
			files++
			e.source, e.content = part.FileName(), string(content)
		}
	}
	if files == 0 {
		return nil, invalid("Field required", "missing", "body", "file")
	}
	return fields, nil
}
