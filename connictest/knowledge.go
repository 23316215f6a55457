package connictest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/connic-go/connic"
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

// job is the ingestion of an entry.
type job struct {
	id      string
	number  int
	entry   *entry
	status  connic.JobStatus // final, or empty
	problem string
	attempt int
	asking  bool // FailIngestion is being asked
	takes   time.Duration
	created time.Time
	began   time.Time // of the attempt
	ended   time.Time
}

func (j *job) due() time.Time { return j.began.Add(j.takes) }

func (j *job) state(now time.Time) (status connic.JobStatus, since time.Time) {
	processing := j.created.Add(j.takes / 4)
	switch {
	case j.status != "":
		return j.status, j.ended
	case j.attempt > 1:
		return connic.JobRetrying, j.began
	case now.Before(processing):
		return connic.JobQueued, j.created
	}
	return connic.JobProcessing, processing
}

func (j *job) object(now time.Time) object {
	status, since := j.state(now)
	o := object{
		"id": j.id, "status": string(status), "entry_id": j.entry.id, "namespace": text(j.entry.namespace),
		"error": text(j.problem), "chunk_count": nil, "created_at": timestamp(j.created), "updated_at": timestamp(since),
	}
	if status == connic.JobCompleted {
		o["chunk_count"] = len(j.entry.chunks)
	}
	return o
}

// settle updates the ingestions, in the order in which they end. It uses no
// goroutine, so a test that does not wait for its uploads leaves none behind.
// The caller holds the mutex.
func (s *Server) settle(ctx context.Context) {
	now := s.now()
	for {
		var first *job
		for _, j := range s.jobs {
			if j.status == "" && !j.asking && !j.due().After(now) && (first == nil || j.due().Before(first.due())) {
				first = j
			}
		}
		if first == nil || !s.ingest(ctx, first) {
			return
		}
	}
}

// ingest ends an attempt of a job. It reports false if the request that
// triggered it has gone.
func (s *Server) ingest(ctx context.Context, j *job) bool {
	if fail := s.failIngestion; fail != nil {
		e := IngestedEntry{
			JobID: j.id, EnvironmentID: j.entry.environment, Namespace: j.entry.namespace, EntryID: j.entry.id,
			Source: j.entry.source, Content: j.entry.content, Metadata: maps.Clone(j.entry.metadata), Attempt: j.attempt,
		}
		j.asking = true
		problem, err := ask(ctx, s, "the function of FailIngestion", func() string { return errorText(fail(e)) })
		j.asking = false
		switch {
		case j.status != "": // its entry was deleted
			return true
		case err != nil && (ctx.Err() != nil || s.ctx.Err() != nil):
			return false
		case err != nil:
			problem = err.Error()
		}
		switch {
		case problem != "" && j.attempt == 1:
			j.began = j.due()
			j.attempt++
			return true
		case problem != "":
			j.end(connic.JobFailed, j.due(), problem)
			return true
		}
	}
	j.end(connic.JobCompleted, j.due(), "")
	e := j.entry
	e.updated = j.ended
	for i, former := range s.entries {
		if former.is(e) {
			if former.job < j.number { // otherwise a later upload ended first
				e.created = former.created
				s.entries[i] = e
			}
			return true
		}
	}
	e.created = j.ended
	s.entries = append(s.entries, e)
	return true
}

func (j *job) end(status connic.JobStatus, at time.Time, problem string) {
	j.status, j.ended, j.problem = status, at, problem
}

// abandon ends the open jobs of deleted entries, and reports whether there were
// any.
func (s *Server) abandon(deleted func(*entry) bool) bool {
	found := false
	for _, j := range s.jobs {
		if j.status == "" && deleted(j.entry) {
			j.end(connic.JobFailed, s.now(), "The entry was deleted")
			found = true
		}
	}
	return found
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
	e.chunks = chunks(e)
	j := &job{
		id: s.newID("job"), number: len(s.jobs), entry: e, attempt: 1, takes: s.ingestionTime,
		created: s.now(), began: s.now(),
	}
	e.job = j.number
	var before object
	for _, former := range s.entries {
		if former.is(e) {
			before = former.object(false)
		}
	}
	s.jobs = append(s.jobs, j)
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

func (s *Server) listJobs(x *exchange) answer {
	environment, complaint := s.knowledge(x)
	if complaint != nil {
		return *complaint
	}
	want := connic.JobStatus(x.param("status"))
	if x.has("status") && !want.Known() {
		return *invalid("Input should be a job status", "enum", "query", "status")
	}
	var items []object
	now := s.now()
	for _, j := range slices.Backward(s.jobs) {
		if status, _ := j.state(now); j.entry.environment == environment && (want == "" || status == want) {
			items = append(items, j.object(now))
		}
	}
	return x.page(items)
}

func (s *Server) getJob(x *exchange) answer {
	environment, complaint := s.knowledge(x)
	if complaint != nil {
		return *complaint
	}
	for _, j := range s.jobs {
		if j.id == x.id && j.entry.environment == environment {
			return ok(j.object(s.now()))
		}
	}
	return notFound("Job")
}
