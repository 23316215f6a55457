package connic

import (
	"context"
	"time"

	"github.com/connic-go/connic/internal/journal"
)

// A Journal records, across processes, what became of the inputs of one bulk
// call, such as [AgentsService.TriggerAll]. It is a set of texts by key, for a
// file (see [FileJournal]), a table or a hash.
//
// The keys are those of the inputs; the empty key has the record of the journal
// itself. A record is a line of JSON, in the form of a [JournalRecord].
//
// A bulk call opens the journal, uses it, and closes it. Get is called at the
// same time as Put, every other method by itself. If a method fails, the bulk
// call starts nothing more.
type Journal interface {
	// Open opens the journal. It must fail while another process, or another
	// bulk call, has it open, with an error that matches [ErrJournalInUse]: two
	// of them would start every input twice. If a process dies, the next one
	// must be able to open the journal.
	Open(ctx context.Context) error
	// Get returns the record of a key, or "" if there is none.
	Get(ctx context.Context, key string) (record string, err error)
	// All calls yield for each key and its record, in any order, until yield
	// returns false.
	All(ctx context.Context, yield func(key, record string) bool) error
	// Put replaces the records of some keys. When it returns, they survive the
	// end of the process and of the machine. If it fails, each of them may have
	// been replaced or not.
	Put(ctx context.Context, records map[string]string) error
	Close() error
}

// ErrJournalInUse marks the failure to open a [Journal] that another process, or
// another call, has open.
const ErrJournalInUse = sentinel("connic: the journal is in use")

// FileJournal returns a [Journal] in a file, which is created if it does not
// exist. Beside it is a file with the suffix .lock, which keeps other processes
// away, and which is to stay there. The lock ends with the process. On systems
// that have none (Plan 9, AIX, Solaris, WebAssembly), the journal cannot be
// opened.
//
// The file consists of lines of JSON, and the last line of a key counts. It
// survives the end of the process at any moment: an incomplete line at its end is
// dropped. Damage elsewhere is an error, because what it concerns might be started
// twice. A file with many obsolete lines is rewritten when it is opened.
//
// It takes about 60 bytes of memory for each key that it has ever had, and on disk
// three lines of about 200 bytes until it is rewritten, and then one. For inputs
// without end, use a store that forgets the keys that cannot come again.
func FileJournal(path string) Journal { return &journal.File{Path: path, InUse: ErrJournalInUse} }

// JournalState is what a [Journal] knows of an input: "sending", "unknown",
// "started", "done" or "not_started".
type JournalState string

// The states of an input in a journal.
const (
	// JournalSending: it was about to be sent. If the process has ended since, it
	// is not known whether it was executed.
	JournalSending JournalState = "sending"
	// JournalUnknown: no response came, and it may have been executed.
	JournalUnknown JournalState = "unknown"
	// JournalStarted: it was started, and its result was not handled yet.
	JournalStarted JournalState = "started"
	// JournalDone: the caller has handled its result.
	JournalDone JournalState = "done"
	// JournalNotStarted: it was certainly not executed, and is sent the next time.
	JournalNotStarted JournalState = "not_started"
)

// Known reports whether the state is one of those above.
func (s JournalState) Known() bool {
	switch s {
	case JournalSending, JournalUnknown, JournalStarted, JournalDone, JournalNotStarted:
		return true
	}
	return false
}

// A JournalRecord is the record of an input in a [Journal].
type JournalRecord struct {
	Key   string       `json:"-"`
	State JournalState `json:"state"`
	// Sent is when it was about to be sent, by the clock of that process.
	Sent time.Time `json:"sent,omitzero"`
	// Marker is a string that is unique to the input and part of it, or "": see
	// [WithMarker].
	Marker string `json:"marker,omitzero"`
	// IDs are those of the runs that the input has started or, of a document, those
	// of its entry and job. A done input keeps them.
	IDs []string `json:"ids,omitzero"`
	// Cost and Currency are what the run of a done input cost.
	Cost     string `json:"cost,omitzero"`
	Currency string `json:"currency,omitzero"`
	// Repeatable is set if sending the input twice does no harm.
	Repeatable bool `json:"repeatable,omitzero"`
}
