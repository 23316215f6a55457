package connic

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"strings"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/pack"
)

// ArchiveError is a project that breaks the rules for archives. It names every
// file that is in the way, and is an [*ArgumentError] too: nothing was executed.
type ArchiveError struct {
	Op       string // the operation
	Problems []ArchiveProblem
}

// ArchiveProblem is what is wrong with one file.
type ArchiveProblem struct {
	Path   string // within the project, with slashes; empty for the project as a whole
	Reason string // completes the sentence that begins with the path
}

func (p ArchiveProblem) String() string { return pack.Problem(p).String() }

func (e *ArchiveError) Error() string { return e.argument().Error() }

func (e *ArchiveError) argument() *ArgumentError {
	problems := make([]pack.Problem, len(e.Problems))
	for i, p := range e.Problems {
		problems[i] = pack.Problem(p)
	}
	return &ArgumentError{Op: e.Op, Arg: "project", Reason: "cannot be deployed: " + (&pack.RuleError{Problems: problems}).Error()}
}

// Unwrap returns the error as an [*ArgumentError].
func (e *ArchiveError) Unwrap() error { return e.argument() }

// archiveError makes the public error of one that package pack found.
func archiveError(op api.Op, err error) error {
	var broken *pack.RuleError
	var source *pack.SourceError
	switch name := api.Table[op].Name; {
	case errors.As(err, &broken):
		e := &ArchiveError{Op: name, Problems: make([]ArchiveProblem, len(broken.Problems))}
		for i, p := range broken.Problems {
			e.Problems[i] = ArchiveProblem(p)
		}
		return e
	case errors.As(err, &source):
		e := &ArgumentError{Op: name, Arg: source.Source, Reason: source.Reason, err: source.Err}
		if source.Err != nil {
			e.Reason += ": " + source.Err.Error()
		}
		return e
	default:
		return err
	}
}

// packTries is how often a project is packed that changes while it is packed.
const packTries = 3

// sendArchive makes a call whose body has an archive: of open, in the form. It
// starts over when the archive changes while it is read. The service has then a
// part of a request, and nothing to execute.
func sendArchive[T any](ctx context.Context, c *Client, r request, contentType string, form pack.Form,
	open func() (*pack.Archive, error), decode func(*lenient.Decoder) (T, error), opts []RequestOption,
) (T, error) {
	for try := 1; ; try++ {
		got, err, failure := sendArchiveOnce(ctx, c, r, contentType, form, open, decode, opts)
		if failure == nil {
			return got, err
		}
		if !startOver(failure) || try == packTries || onlyOnce(opts) || (ctx != nil && ctx.Err() != nil) {
			return got, archiveError(r.op, failure)
		}
	}
}

// onlyOnce reports whether a call must not send a second request.
func onlyOnce(opts []RequestOption) bool {
	var o callOptions
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	return o.once()
}

// sendArchiveOnce also returns why the archive could not be made to its end,
// where that is why there is no answer.
func sendArchiveOnce[T any](ctx context.Context, c *Client, r request, contentType string, form pack.Form,
	open func() (*pack.Archive, error), decode func(*lenient.Decoder) (T, error), opts []RequestOption,
) (got T, err, failure error) {
	archive, err := open()
	if err != nil {
		if ctx != nil && ctx.Err() != nil {
			op := &api.Table[r.op]
			return got, &TransportError{Op: op.Name, Method: op.Method, Err: contextError(ctx)}, nil
		}
		return got, nil, err
	}
	r.form = &upload{contentType: contentType, open: func() (io.Reader, error) {
		body, err := archive.Open(form)
		if err != nil {
			return nil, archiveError(r.op, err)
		}
		return body, nil
	}}
	got, err = do(ctx, c, r, decode, opts)
	if _, unanswered := err.(*TransportError); unanswered { //nolint:errorlint // that of the call itself
		// An answer, where there is one, says more.
		failure = archive.Failure()
	}
	return got, err, failure
}

// openArchive makes the archive of a tar.gz.
func openArchive(ctx context.Context, source *FileSource) func() (*pack.Archive, error) {
	return func() (*pack.Archive, error) { return pack.File(ctx, source.Name, source.Open) }
}

// checked opens an archive for the first time, so that one that breaks the rules
// costs no request. It returns an open that yields that archive first.
func checked(ctx context.Context, op api.Op, open func() (*pack.Archive, error)) (func() (*pack.Archive, error), error) {
	first, err := open()
	if err != nil && !startOver(err) {
		if ctx != nil && ctx.Err() != nil {
			return open, nil //nolint:nilerr // the call says so
		}
		return nil, archiveError(op, err)
	}
	return func() (*pack.Archive, error) {
		archive := first
		if first = nil; archive != nil {
			return archive, nil
		}
		return open()
	}, nil
}

// startOver reports whether an archive changed while it was read.
func startOver(err error) bool {
	var source *pack.SourceError
	return errors.As(err, &source) && source.Changed
}

// shortHash is the files_hash of an archive.
func shortHash(digest []byte) string { return hex.EncodeToString(digest)[:12] }

// textForm is the JSON around an archive. Members are those that follow the
// archive, each with a comma in front.
func textForm(members func(digest []byte) string) pack.Form {
	return pack.Form{Text: true, Head: `{"files_data":"`, Tail: func(digest []byte) string {
		var b strings.Builder
		b.WriteString(`"`)
		b.WriteString(members(digest))
		b.WriteString("}")
		return b.String()
	}}
}
