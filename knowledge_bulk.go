package connic

import (
	"cmp"
	"context"
	"iter"
	"slices"

	"github.com/connic-go/connic/internal/bulk"
)

const (
	uploadInFlight = 8
	uploadSenders  = 64
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

// UploadAll uploads many documents, each with a key that is the caller's own. It
// reads them from the sequence as capacity becomes available, sends 8 at a time
// (see [WithInFlight]; at most 64) under the client's rate limit, and yields a
// result for each as it is accepted or fails. To wait for the ingestion, use
// [KnowledgeService.WaitJobs]. Documents with the same EntryID, namespace and
// environment are sent one at a time, in order, so that the last one is the entry:
//
//	for r, err := range client.Knowledge.UploadAll(ctx, docs, connic.FileJournal("docs.journal")) {
//		if err != nil {
//			log.Printf("%s: %v", r.Key, err)
//		}
//	}
//
// It works as [AgentsService.TriggerAll] does. With an error, the value holds what
// is known: the document's own EntryID, or whatever the response contained.
// Without a journal, the end of the context and of the loop cancel the documents
// in flight.
//
// With a journal, a document that was accepted is not sent again. One whose
// outcome is unknown is sent again by the next call if its EntryID or StableID
// makes that harmless. Otherwise it is yielded as unknown, because nothing can
// find its entry: see [ResendUnknown] and [WithSettle].
//
// It costs one request per document. Files use a different route from text (see
// [KnowledgeService.UploadFile]).
//
//	API:    POST /projects/{project}/knowledge/text
//	Access: knowledge write
//	Status: documented
func (s *KnowledgeService) UploadAll(ctx context.Context, docs iter.Seq2[string, Document], journal Journal, opts ...BulkOption) iter.Seq2[BulkResult[Ingestion], error] {
	o := newBulkOptions(opts)
	return runBulk(ctx, s.scope(), &bulk.Job[Document, Ingestion, struct{}]{
		Op: uploadAll, InFlight: uploadInFlight, Senders: uploadSenders, Grace: graceOf(journal),
		Check: func(d Document) error {
			if isNil(d) {
				return &ArgumentError{Op: uploadAll, Arg: "document", Reason: "is nil"}
			}
			return nil
		},
		Own:  ownDocument,
		Lane: s.laneOf,
		Repeatable: func(d Document) bool {
			_, repeatable := d.entry()
			return repeatable
		},
		Send: func(ctx context.Context, d Document, begin func() error) bulk.Sent[Ingestion] {
			return s.uploadOne(ctx, d, begin, o.Request)
		},
		Recover: func(ids []string) (*Ingestion, error) {
			i := &Ingestion{EntryID: ids[0]}
			if len(ids) > 1 {
				i.JobID = ids[1]
			}
			return i, nil
		},
		Over: func(error) bool { return false },
	}, docs, journal, o)
}

const uploadAll = "knowledge.upload_all"

// uploadOne sends one document.
func (s *KnowledgeService) uploadOne(ctx context.Context, d Document, begin func() error, opts []RequestOption) bulk.Sent[Ingestion] {
	value := new(Ingestion)
	value.EntryID, _ = d.entry()
	accepted, err := d.upload(ctx, s, append(slices.Clone(opts), withBegin(begin)))
	if accepted != nil {
		value = accepted
	}
	if err != nil {
		return bulk.Sent[Ingestion]{Value: value, Err: err}
	}
	return bulk.Sent[Ingestion]{Value: value, IDs: []string{value.EntryID, value.JobID}, Final: true}
}

// entryKey identifies an entry. Documents for the same one are sent one at a
// time, in order: if the first is retried, it must not replace the second.
type entryKey struct{ environment, namespace, id string }

func (s *KnowledgeService) laneOf(d Document) (lane any, named bool) {
	id, _ := d.entry()
	environment, namespace := d.target()
	return entryKey{cmp.Or(environment, s.scope().environment), namespace, id}, id != ""
}

// ownDocument returns a copy of a document that is passed by pointer: the caller
// may use the pointer again for the next one.
func ownDocument(d Document) Document {
	if isNil(d) {
		return nil
	}
	switch p := d.(type) {
	case *TextUpload:
		return *p
	case *FileUpload:
		return *p
	}
	return d
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
