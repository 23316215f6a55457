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

// An ArchiveError is returned for a project that breaks the rules for archives.
// It lists every offending file. It is also an [*ArgumentError]: nothing was
// executed.
type ArchiveError struct {
	Op       string // the operation
	Problems []ArchiveProblem
}

// An ArchiveProblem is what is wrong with one file.
type ArchiveProblem struct {
	Path   string // slash-separated, relative to the project; empty for the project as a whole
	Reason string // completes a sentence that begins with the path
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

// archiveError converts an error of package pack to the public type.
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

// packTries is the maximum number of attempts to pack a project that changes
// meanwhile.
const packTries = 3

// sendArchive makes a call whose body contains an archive from open, wrapped in
// the form. It starts over if the archive changes while it is read: the service
// has then received an incomplete request, which it does not execute.
func sendArchive[T any](ctx context.Context, c *scope, r request, contentType string, form pack.Form,
	open func() (*pack.Archive, error), decode func(*lenient.Decoder) (T, error), opts []RequestOption,
) (T, error) {
	r.extended = form.Text // see textForm
	for try := 1; ; try++ {
		got, err, failure := sendArchiveOnce(ctx, c, r, contentType, form, open, decode, opts)
		if failure == nil {
			return got, err
		}
		if !startOver(failure) || try == packTries || new(callOptions).with(opts).once() || (ctx != nil && ctx.Err() != nil) {
			return got, archiveError(r.op, failure)
		}
	}
}

// sendArchiveOnce also returns why the archive could not be completed, if that
// is why there is no response.
func sendArchiveOnce[T any](ctx context.Context, c *scope, r request, contentType string, form pack.Form,
	open func() (*pack.Archive, error), decode func(*lenient.Decoder) (T, error), opts []RequestOption,
) (got T, err, failure error) {
	archive, err := pack.Within(ctx, open)
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
		// A response, if there is one, says more.
		failure = archive.Failure()
	}
	return got, err, failure
}

// checked opens an archive for the first time, so that an invalid one costs no
// request. It returns an open function that yields that archive first.
func checked(ctx context.Context, op api.Op, open func() (*pack.Archive, error)) (func() (*pack.Archive, error), error) {
	first, err := pack.Within(ctx, open)
	if err != nil && !startOver(err) {
		if ctx != nil && ctx.Err() != nil {
			return open, nil //nolint:nilerr // the call reports it
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

// noting returns open, which also notes what an archive leaves out.
func noting(leftOut *[]string, open func() (*pack.Archive, error)) func() (*pack.Archive, error) {
	return func() (*pack.Archive, error) {
		archive, err := open()
		if err == nil {
			*leftOut = archive.LeftOut()
		}
		return archive, err
	}
}

// startOver reports whether an archive changed while it was read.
func startOver(err error) bool {
	var source *pack.SourceError
	return errors.As(err, &source) && source.Changed
}

// shortHash returns the files_hash of an archive.
func shortHash(digest []byte) string { return hex.EncodeToString(digest)[:12] }

// textHead returns the beginning of the JSON around an archive, which contains
// the fields of WithBodyField.
func textHead(op api.Op, opts []RequestOption) (string, error) {
	added, bad := members(&api.Table[op], new(callOptions).with(opts).fields, nil)
	if bad != nil {
		return "", bad
	}
	if len(added) > 0 {
		added = append(added[1:], ',')
	}
	return "{" + string(added) + `"files_data":"`, nil
}

// textForm is the JSON around an archive. members returns the members after the
// archive, each preceded by a comma.
func textForm(head string, members func(digest []byte) string) pack.Form {
	return pack.Form{Text: true, Head: head, Tail: func(digest []byte) string {
		var b strings.Builder
		b.WriteString(`"`)
		b.WriteString(members(digest))
		b.WriteString("}")
		return b.String()
	}}
}
