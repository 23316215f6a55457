package connic

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
)

const (
	uploadConcurrency    = 8
	maxUploadConcurrency = 64
)

// A Document is a [TextUpload] or a [FileUpload].
type Document interface {
	// upload sends the document.
	upload(ctx context.Context, s *KnowledgeService, opts []RequestOption) (*Ingestion, error)
	// entry returns the document's own id, and whether the document may be sent
	// twice.
	entry() (id string, repeatable bool)
	// target returns where the entry is.
	target() (environment, namespace string)
}

func (d TextUpload) upload(ctx context.Context, s *KnowledgeService, opts []RequestOption) (*Ingestion, error) {
	return s.UploadText(ctx, d, opts...)
}

func (d TextUpload) entry() (id string, repeatable bool) {
	return d.EntryID, d.EntryID != "" || d.StableID
}

func (d TextUpload) target() (environment, namespace string) { return d.EnvironmentID, d.Namespace }
func (d FileUpload) target() (environment, namespace string) { return d.EnvironmentID, d.Namespace }

func (d FileUpload) upload(ctx context.Context, s *KnowledgeService, opts []RequestOption) (*Ingestion, error) {
	return s.UploadFile(ctx, d, opts...)
}

func (d FileUpload) entry() (id string, repeatable bool) {
	return d.EntryID, d.EntryID != "" || d.StableID
}

// UploadAllParams configures [KnowledgeService.UploadAll].
type UploadAllParams struct {
	// Concurrency is the number of documents in flight. The default is 8 and
	// the maximum 64.
	Concurrency int
	// Progress, if not nil, records the documents that are done. Documents that
	// it already records as done are skipped.
	Progress *UploadProgress
}

// UploadResult is the result for one document.
type UploadResult struct {
	// Index is the position of the document in the sequence, starting at 0. It
	// is -1 in the last result of an upload that stopped early.
	Index    int      `json:"index"`
	Document Document `json:"-"`
	// Ingestion is the response of the service. For a document that failed it
	// holds what is known: the document's own EntryID, or whatever the response
	// contained.
	Ingestion
}

// UnmarshalJSON implements [json.Unmarshaler].
func (r *UploadResult) UnmarshalJSON(data []byte) error {
	var own struct {
		Index int `json:"index"`
	}
	if err := json.Unmarshal(data, &own); err != nil {
		return err
	}
	r.Index = own.Index
	return r.Ingestion.UnmarshalJSON(data)
}

// UploadAll uploads many documents. It reads them from the sequence as capacity
// becomes available, sends several at a time under the client's rate limit, and
// yields a result for each as it is accepted or fails. Documents with the same
// EntryID, namespace and environment are sent one at a time, in order, so that
// the last one is the entry:
//
//	for r, err := range client.Knowledge.UploadAll(ctx, docs, nil) {
//		if err != nil {
//			log.Printf("document %d: %v", r.Index, err)
//		}
//	}
//
// The result is never nil. A document that fails does not stop the others,
// unless they would fail too: because the key is refused ([ErrUnauthorized],
// [ErrForbidden]), the client is closed or read-only, or the rate limit leaves
// no time before the deadline. In these cases, and when the context ends, no
// more documents are read, those in flight are yielded, and a last pair with an
// Index of -1 has the reason. There is no such pair if all documents were read.
//
// Leaving the loop cancels the documents in flight. UploadAll does not return
// before all of its goroutines have ended. The sequence is read on the caller's
// goroutine. If the code that reads a document panics, so does the loop, with
// the same value; if it calls [runtime.Goexit], that document fails.
//
// To resume after a stop, pass the same documents in the same order with the
// same [UploadProgress]. No document is sent twice unless its EntryID or
// StableID makes that harmless. A document without either, whose outcome is
// unknown, is yielded with [ErrOutcomeUnknown] again until
// [UploadProgress.Resolve] settles it.
//
// It costs one request per document. Files use a different route from text (see
// [KnowledgeService.UploadFile]). [CaptureResponse] has no effect.
//
//	API:    POST /projects/{project}/knowledge/text
//	Access: knowledge write
//	Status: documented
func (s *KnowledgeService) UploadAll(ctx context.Context, docs iter.Seq[Document], p *UploadAllParams, opts ...RequestOption) iter.Seq2[*UploadResult, error] {
	var params UploadAllParams
	if p != nil {
		params = *p
	}
	if params.Progress != nil {
		params.Progress.open().mu.Unlock() // from here on copies share it
	}
	opts = append(slices.Clone(opts), func(o *callOptions) { o.capture = nil }) // many calls, one Response
	return func(yield func(*UploadResult, error) bool) {
		bad := func(arg, reason string) {
			yield(&UploadResult{Index: -1}, &ArgumentError{Op: uploadAll, Arg: arg, Reason: reason})
		}
		switch {
		case ctx == nil:
			bad("context", "is nil")
		case docs == nil:
			bad("documents", "are a nil sequence")
		case params.Concurrency < 0 || params.Concurrency > maxUploadConcurrency:
			bad("concurrency", fmt.Sprintf("is not between 1 and %d, or 0 for the default", maxUploadConcurrency))
		default:
			n := cmp.Or(params.Concurrency, uploadConcurrency)
			b := &bulkUpload{
				service: s, opts: opts, most: n, results: make(chan uploaded, n), progress: params.Progress, yield: yield, flying: make(map[entryKey]bool),
			}
			b.run(ctx, docs)
		}
	}
}

const uploadAll = "knowledge.upload_all"

// bulkUpload is one call of UploadAll.
type bulkUpload struct {
	service  *KnowledgeService
	opts     []RequestOption
	most     int // maximum number in flight
	progress *UploadProgress
	yield    func(*UploadResult, error) bool

	results chan uploaded // has a buffer of most, so that no sender blocks
	running int
	flying  map[entryKey]bool // the entries of the documents in flight that name them
	stop    error             // why no more documents are read
}

// entryKey identifies an entry. Documents for the same one are sent one at a
// time, in order: if the first is retried, it must not replace the second.
type entryKey struct{ environment, namespace, id string }

func (b *bulkUpload) keyOf(d Document) (key entryKey, named bool) {
	if isNil(d) {
		return key, false
	}
	id, _ := d.entry()
	environment, namespace := d.target()
	return entryKey{cmp.Or(environment, b.service.scope().environment), namespace, id}, id != ""
}

type uploaded struct {
	result *UploadResult
	key    entryKey
	err    error
	// panicked is what the code behind a document panicked with, nil if it did not.
	panicked any
}

func (b *bulkUpload) run(caller context.Context, docs iter.Seq[Document]) {
	ctx, cancel := context.WithCancel(caller)
	defer func() {
		cancel()
		for ; b.running > 0; b.running-- {
			<-b.results
		}
	}()
	index := -1
	left := false
	for d := range docs {
		index++
		if b.progress.Done(index) {
			continue
		}
		key, named := b.keyOf(d)
		for b.running == b.most || len(b.results) > 0 || named && b.flying[key] {
			if !b.next() {
				return
			}
		}
		if b.stop == nil && caller.Err() != nil {
			b.stop = contextError(caller)
		}
		if b.stop != nil {
			left = true
			break
		}
		if err := b.refuse(index, d); err != nil {
			if !b.yield(newUploadResult(index, d), err) {
				return
			}
			continue
		}
		if named {
			b.flying[key] = true
		}
		b.start(ctx, index, d, key)
	}
	for b.running > 0 {
		if !b.next() {
			return
		}
	}
	if left {
		b.yield(&UploadResult{Index: -1}, fmt.Errorf("connic: %s: stopped before document %d: %w", uploadAll, index, b.stop))
	}
}

func newUploadResult(index int, d Document) *UploadResult {
	r := &UploadResult{Index: index, Document: d}
	if !isNil(d) {
		r.EntryID, _ = d.entry()
	}
	return r
}

// isNil reports whether a document is nil, or a nil pointer to one.
func isNil(d Document) bool {
	switch d := d.(type) {
	case nil:
		return true
	case *TextUpload:
		return d == nil
	case *FileUpload:
		return d == nil
	}
	return false
}

// refuse returns why a document is not sent at all.
func (b *bulkUpload) refuse(index int, d Document) error {
	if isNil(d) {
		return &ArgumentError{Op: uploadAll, Arg: "document", Reason: "is nil"}
	}
	if _, repeatable := d.entry(); !repeatable && b.progress.isUnknown(index) {
		return fmt.Errorf("connic: %s: not sent again after an earlier attempt: %w", uploadAll, ErrOutcomeUnknown)
	}
	return nil
}

func (b *bulkUpload) start(ctx context.Context, index int, d Document, key entryKey) {
	b.running++
	u := uploaded{result: newUploadResult(index, d), key: key, err: errRanAway}
	_, repeatable := d.entry()
	// The caller may use a pointer again for the next document.
	switch p := d.(type) {
	case *TextUpload:
		d = *p
	case *FileUpload:
		d = *p
	}
	go func() {
		defer func() {
			if u.err == errRanAway { //nolint:errorlint // the very same
				u.panicked = recover()
			}
			if !repeatable || !errors.Is(u.err, ErrOutcomeUnknown) {
				b.progress.note(index, u.err)
			}
			b.results <- u
		}()
		ingestion, err := d.upload(ctx, b.service, b.opts)
		if ingestion != nil {
			u.result.Ingestion = *ingestion
		}
		u.err = err
	}()
}

// errRanAway is the error of a document whose code called runtime.Goexit, or
// panicked: it may have been sent.
var errRanAway = fmt.Errorf("connic: %s: the code that reads the document did not return: %w", uploadAll, ErrOutcomeUnknown)

// next waits for a document that is under way and yields it. It reports whether
// the caller wants more.
func (b *bulkUpload) next() bool {
	u := <-b.results
	b.running--
	delete(b.flying, u.key)
	if u.panicked != nil {
		panic(u.panicked) //nolint:forbidigo // here it can be recovered
	}
	if b.stop == nil && endsUploads(u.err) {
		b.stop = u.err
	}
	return b.yield(u.result, u.err)
}

// endsUploads reports whether other documents would fail in the same way.
func endsUploads(err error) bool {
	var limit *LimitError
	return errors.As(err, &limit) || errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrForbidden) ||
		errors.Is(err, ErrClosed) || errors.Is(err, ErrReadOnly)
}
