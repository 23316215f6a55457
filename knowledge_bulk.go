package connic

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/connic-go/connic/internal/intset"
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
	Index    int
	Document Document
	// Ingestion is the response of the service. For a document that failed it
	// holds what is known: the document's own EntryID, or whatever the response
	// contained.
	Ingestion
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
	go func() {
		u := uploaded{result: newUploadResult(index, d), key: key, err: errRanAway}
		defer func() {
			if u.err == errRanAway { //nolint:errorlint // the very same
				u.panicked = recover()
			}
			if _, repeatable := d.entry(); !repeatable || !errors.Is(u.err, ErrOutcomeUnknown) {
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

// UploadProgress records which documents of a call to
// [KnowledgeService.UploadAll] are done, by index. The zero value records none.
// It is safe for concurrent use. It encodes as JSON, so that another process can
// resume the upload: save it after the loop or, from time to time, within it.
//
// Encoding a zero value must not overlap its first use.
//
// Documents in flight when a process dies are not recorded. Use an EntryID or
// StableID if that may happen. Copies share their state, except for copies of
// the zero value.
type UploadProgress struct{ known *progress } //nolint:recvcheck // it encodes by value too

// progress is the state that copies of an UploadProgress share.
type progress struct {
	mu      sync.Mutex
	done    intset.Set
	unknown []int // in order
}

// open returns the state of u, locked. That of nil is empty, and not kept.
func (u *UploadProgress) open() *progress {
	p := new(progress)
	if u != nil {
		// A mutex or an atomic value in the struct would keep it from being encoded
		// by value.
		known := (*unsafe.Pointer)(unsafe.Pointer(&u.known))        //nolint:gosec // the address of a pointer, for package atomic
		atomic.CompareAndSwapPointer(known, nil, unsafe.Pointer(p)) //nolint:gosec // likewise
		p = (*progress)(atomic.LoadPointer(known))
	}
	p.mu.Lock()
	return p
}

// Done reports whether the document was accepted.
func (u *UploadProgress) Done(index int) bool {
	p := u.open()
	defer p.mu.Unlock()
	return p.done.Has(index)
}

// Count returns how many documents were accepted.
func (u *UploadProgress) Count() int {
	p := u.open()
	defer p.mu.Unlock()
	return p.done.Len()
}

// Unknown returns the indexes of documents whose outcome is unknown: they were
// sent without an EntryID or StableID, and no response came. Do not send them
// again blindly.
func (u *UploadProgress) Unknown() []int {
	p := u.open()
	defer p.mu.Unlock()
	return slices.Clone(p.unknown)
}

// Resolve settles a document whose outcome is unknown: either it is done, or it
// is to be sent again.
func (u *UploadProgress) Resolve(index int, done bool) {
	p := u.open()
	defer p.mu.Unlock()
	p.forget(index)
	if done {
		p.done.Add(index)
	}
}

func (u *UploadProgress) isUnknown(index int) bool {
	p := u.open()
	defer p.mu.Unlock()
	return slices.Contains(p.unknown, index)
}

// note records the outcome of a document.
func (u *UploadProgress) note(index int, err error) {
	p := u.open()
	defer p.mu.Unlock()
	p.forget(index)
	switch {
	case err == nil:
		p.done.Add(index)
	case errors.Is(err, ErrOutcomeUnknown):
		at, _ := slices.BinarySearch(p.unknown, index)
		p.unknown = slices.Insert(p.unknown, at, index)
	}
}

func (p *progress) forget(index int) {
	if at, found := slices.BinarySearch(p.unknown, index); found {
		p.unknown = slices.Delete(p.unknown, at, at+1)
	}
}

// progressWire is the JSON form of an UploadProgress.
type progressWire struct {
	Done    intset.Set `json:"done"`
	Unknown []int      `json:"unknown"`
}

// MarshalJSON implements [json.Marshaler].
func (u UploadProgress) MarshalJSON() ([]byte, error) {
	p := u.open() // of this copy, if it is the zero value
	defer p.mu.Unlock()
	return json.Marshal(progressWire{p.done, p.unknown})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (u *UploadProgress) UnmarshalJSON(data []byte) error {
	var w progressWire
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	if err := w.Done.Check(); err != nil {
		return fmt.Errorf("connic: an UploadProgress: %w", err)
	}
	slices.Sort(w.Unknown)
	p := u.open()
	defer p.mu.Unlock()
	p.done, p.unknown = w.Done, slices.Compact(w.Unknown)
	return nil
}
