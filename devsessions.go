package connic

import (
	"context"
	"errors"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/lenient"
	"github.com/connic-go/connic/internal/mask"
	"github.com/connic-go/connic/internal/pack"
	"github.com/connic-go/connic/internal/watch"
)

// DevSessionsService runs a project's code during development, in an
// environment of its own that accepts changes without a deployment.
type DevSessionsService service

func (s *DevSessionsService) scope() *scope { return (*service)(s).scope() }

// A DevSession is an environment in which a project runs during development.
// Test runs can use it: see [TestRunCreate].
type DevSession struct {
	ID              string          `json:"id" api:"observed,session_id"`
	EnvironmentID   string          `json:"environment_id,omitzero" api:"observed"`
	EnvironmentName string          `json:"environment_name,omitzero" api:"observed"`
	Container       ContainerStatus `json:"container_status,omitzero" api:"observed"`

	// Name is the name that the session was created with. It is empty for a
	// temporary environment, and in responses other than that of Create, which
	// do not repeat it.
	Name string `json:"-"`
	// Folders and Exclude select folders for [DevSessionsService.Sync], as in
	// [UploadParams].
	Folders, Exclude []string `json:"-"`
	// LeftOut is set by [DevSessionsService.Sync], and lists what it did not send,
	// as [Deployment.LeftOut] does.
	LeftOut []string `json:"-"`

	RawItem
}

// ContainerStatus is the status of a dev session's container: "starting",
// "running" or "failed".
type ContainerStatus string

// The observed container statuses. Any other value means that the container is
// not ready yet.
const (
	ContainerStarting ContainerStatus = "starting"
	ContainerRunning  ContainerStatus = "running"
	ContainerFailed   ContainerStatus = "failed"
)

// Known reports whether this version of the package knows s.
func (s ContainerStatus) Known() bool {
	return s == ContainerStarting || s == ContainerRunning || s == ContainerFailed
}

// DevSessionStatus is the status of a dev session: "active" or "ended".
type DevSessionStatus string

// The known dev session statuses. A session that is not active has ended.
const (
	DevSessionActive DevSessionStatus = "active"
	DevSessionEnded  DevSessionStatus = "ended"
)

// Known reports whether this version of the package knows s.
func (s DevSessionStatus) Known() bool { return s == DevSessionActive || s == DevSessionEnded }

// DevUpload is the response to an upload of files to a dev session.
type DevUpload struct {
	FilesHash string `json:"files_hash,omitzero" api:"observed"`
	SizeBytes int64  `json:"size_bytes,omitzero" api:"observed"`

	RawItem
}

const (
	// ErrSessionEnded marks an upload that was refused because the dev session
	// has ended.
	ErrSessionEnded = sentinel("connic: the dev session has ended")
	// ErrSessionOutdated marks an upload that was refused because its
	// requirements.txt needs another container. Create a new session for it.
	ErrSessionOutdated = sentinel("connic: the dev session needs another container for its requirements.txt")
)

// sessionError is an error response with a meaning for the session.
type sessionError struct {
	kind sentinel
	err  error
}

func (e *sessionError) Error() string {
	return string(e.kind) + ": " + strings.TrimPrefix(e.err.Error(), "connic: ")
}
func (e *sessionError) Is(target error) bool { return target == e.kind }
func (e *sessionError) Unwrap() error        { return e.err }

// sessionFailure determines why files were refused. The service says so in
// prose only.
func sessionFailure(err error) error {
	var answer *Error
	if !errors.As(err, &answer) {
		return err
	}
	switch {
	case answer.StatusCode == http.StatusNotFound,
		answer.StatusCode == http.StatusBadRequest && strings.Contains(strings.ToLower(answer.Detail), "not active"):
		return &sessionError{ErrSessionEnded, err}
	case answer.StatusCode == http.StatusConflict && strings.HasPrefix(answer.Detail, "requirements.txt changed"):
		return &sessionError{ErrSessionOutdated, err}
	}
	return err
}

// A DevSessionError is returned with a dev session whose container failed to
// start.
type DevSessionError struct {
	Session *DevSession
	hidden
}

func (e *DevSessionError) Error() string {
	id := ""
	if e.Session != nil {
		id = e.Session.ID
	}
	return e.by.Line("connic: the container of dev session "+id+" failed", maxText)
}

// MarshalText implements [encoding.TextMarshaler]. It returns the same text as
// Error.
func (e *DevSessionError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

func decodeDevSession(name string) func(d *lenient.Decoder) (*DevSession, error) {
	return func(d *lenient.Decoder) (*DevSession, error) {
		s := new(DevSession)
		// A session that is starting may have an empty response.
		if err := d.End(d.Value(s)); err != nil {
			return nil, err
		}
		finish(d, s, 0)
		s.Name = name
		return s, nil
	}
}

// DevSessionCreate describes a dev session to create.
type DevSessionCreate struct {
	// Name identifies an environment that is kept and reused by the next
	// session of that name. If Name is empty, the environment is deleted with
	// the session.
	Name string `json:"name,omitempty"`
}

// Create creates a dev session. If a session is already active, the error is
// [ErrConflict]. To wait for its container, use [DevSessionsService.Wait]; to
// end it, use [DevSessionsService.Delete]. A session costs money while it runs.
// The call costs one request.
//
//	API:    POST /projects/{project}/test-sessions
//	Access: undocumented
//	Status: observed
func (s *DevSessionsService) Create(ctx context.Context, req DevSessionCreate, opts ...RequestOption) (*DevSession, error) {
	return do(ctx, s.scope(), request{op: api.DevSessionsCreate, body: &req}, decodeDevSession(req.Name), opts)
}

// Get returns a dev session with the status of its container. It costs one
// request.
//
//	API:    GET /test-sessions/{session}
//	Access: undocumented
//	Status: observed
func (s *DevSessionsService) Get(ctx context.Context, id string, opts ...RequestOption) (*DevSession, error) {
	return s.get(ctx, id, LaneCall, opts)
}

func (s *DevSessionsService) get(ctx context.Context, id string, lane Lane, opts []RequestOption) (*DevSession, error) {
	session, err := do(ctx, s.scope(), request{op: api.DevSessionsGet, id: id, lane: lane}, decodeDevSession(""), opts)
	if err != nil {
		return nil, err
	}
	if session.ID == "" {
		session.ID = id
	}
	if session.Container == "" {
		session.Container = ContainerStarting
	}
	return session, nil
}

// Status returns the status of a dev session. A session that the service no
// longer knows has ended; that is not an error. It costs one request.
//
//	API:    GET /test-sessions/{session}/status
//	Access: undocumented
//	Status: observed
func (s *DevSessionsService) Status(ctx context.Context, id string, opts ...RequestOption) (DevSessionStatus, error) {
	status, err := do(ctx, s.scope(), request{op: api.DevSessionsStatus, id: id}, decodeSessionStatus, opts)
	if errors.Is(err, ErrNotFound) {
		return DevSessionEnded, nil
	}
	return status, err
}

func decodeSessionStatus(d *lenient.Decoder) (DevSessionStatus, error) {
	var v struct {
		Status DevSessionStatus `json:"status" api:"observed"`
	}
	err := d.Decode(&v)
	return v.Status, err
}

// Upload sends a tar.gz archive of the project's files to a dev session, which
// applies them immediately. The rules for the archive are those of
// [DeploymentsService.Upload]; the archive may contain the folder apps. A session
// that has ended refuses them with
// [ErrSessionEnded], and one whose container no longer fits requirements.txt
// with [ErrSessionOutdated]. Any other [ErrBadRequest] or [ErrConflict] is
// caused by the files: correct them and upload again.
//
// It costs one request.
//
//	API:    POST /test-sessions/{session}/files
//	Access: undocumented
//	Status: observed
func (s *DevSessionsService) Upload(ctx context.Context, id string, source FileSource, opts ...RequestOption) (*DevUpload, error) {
	given := pack.Selection{Folders: []string{"apps"}} // by whoever made the archive
	return s.upload(ctx, id, func() (*pack.Archive, error) { return given.File(ctx, source.Name, source.Open) }, opts)
}

func (s *DevSessionsService) upload(ctx context.Context, id string, open func() (*pack.Archive, error), opts []RequestOption) (*DevUpload, error) {
	var head strings.Builder
	w := multipart.NewWriter(&head) // writes to it cannot fail
	_, _ = w.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {multipart.FileContentDisposition("file", "files.tar.gz")},
		"Content-Type":        {"application/gzip"},
	})
	form := pack.Form{Head: head.String()}
	head.Reset()
	_ = w.Close()
	tail := head.String()
	form.Tail = func([]byte) string { return tail }
	r := request{op: api.DevSessionsUpload, id: id}
	answer, err := sendArchive(ctx, s.scope(), r, w.FormDataContentType(), form, open, decodeInto[DevUpload], opts)
	return answer, sessionFailure(err)
}

// Sync packs a project folder, as [DeploymentsService.UploadFS] does, and sends
// it to a dev session. If requirements.txt needs another container, Sync
// deletes the session, creates one with the same name (that of its
// environment, if the session has none and its environment is kept), waits
// until its container runs, and sends the files to that. It returns the session that has
// the files; use that session from then on.
//
// Errors in the files, and sessions that have ended, are reported as by
// [DevSessionsService.Upload].
//
// It costs one request. A new session costs three more, plus one per poll as
// described at [DevSessionsService.Wait].
//
//	API:    POST /test-sessions/{session}/files
//	Access: undocumented
//	Status: observed
func (s *DevSessionsService) Sync(ctx context.Context, session DevSession, project fs.FS, opts ...WaitOption) (*DevSession, error) {
	conf := newWaitConfig(opts)
	var leftOut []string
	open := noting(&leftOut, func() (*pack.Archive, error) {
		return pack.Selection{Folders: session.Folders, Exclude: session.Exclude}.Tree(ctx, project)
	})
	_, err := s.upload(ctx, session.ID, open, conf.request)
	if !errors.Is(err, ErrSessionOutdated) {
		if err == nil {
			session.LeftOut = leftOut
		}
		return &session, err
	}
	deleted, err := s.Delete(ctx, session.ID, conf.request...)
	if err != nil {
		return &session, err
	}
	name := session.Name
	if name == "" && !deleted {
		// The environment is kept, so it has a name: do not replace it by a
		// temporary one.
		if name = session.EnvironmentName; name == "" {
			return &session, &ArgumentError{Op: api.Table[api.DevSessionsCreate].Name, Arg: "session", Reason: "has no Name, and its environment is kept; create a session with the name"}
		}
	}
	created, err := s.Create(ctx, DevSessionCreate{Name: name}, conf.request...)
	if err != nil {
		return &session, err
	}
	created.Folders, created.Exclude = session.Folders, session.Exclude
	if _, err = s.Wait(ctx, created.ID, opts...); err == nil {
		if _, err = s.upload(ctx, created.ID, open, conf.request); err == nil {
			created.LeftOut = leftOut
		}
	}
	return created, err
}

// Wait waits until the container of a dev session runs. A session whose
// container failed is returned together with a [*DevSessionError]. If the wait
// itself ends first, the session as last seen is returned together with a
// [*WaitError]. The vendor's own client waits for at most ten minutes.
//
// Wait polls immediately, after 2 s, and then at growing intervals of up to 15 s
// (see [WithPoll]). A poll costs one request, which all waits of a Client for
// the same session share.
//
//	API:    GET /test-sessions/{session}
//	Access: undocumented
//	Status: observed
func (s *DevSessionsService) Wait(ctx context.Context, id string, opts ...WaitOption) (*DevSession, error) {
	conf := newWaitConfig(opts)
	w := newWaiter(s.scope(), &conf, "", (*DevSession).failure, watch.Kind[DevSession]{
		Name: "dev session",
		ID:   func(d *DevSession) string { return d.ID },
		State: func(d *DevSession) watch.State {
			return watch.State{Status: mask.Text(string(d.Container)), Done: d.Container == ContainerRunning || d.Container == ContainerFailed}
		},
		Get: func(ctx context.Context, id string, a watch.Ask) (*DevSession, error) {
			return s.get(ctx, id, LanePoll, conf.asked(a))
		},
		Copy: (*DevSession).clone,
	})
	return w.one(ctx, api.Table[api.DevSessionsGet].Name, id, &DevSession{ID: id})
}

func (v *DevSession) clone() *DevSession {
	own := *v
	own.Folders, own.Exclude, own.LeftOut = slices.Clone(v.Folders), slices.Clone(v.Exclude), slices.Clone(v.LeftOut)
	return &own
}

// failure returns the error of a session whose container failed.
func (v *DevSession) failure() error {
	if v.Container == ContainerFailed {
		return &DevSessionError{Session: v}
	}
	return nil
}

// Delete ends a dev session. It reports whether the environment was deleted
// too, which is not the case for a named one. A session that the service no
// longer knows is not an error. It costs one request.
//
//	API:    DELETE /test-sessions/{session}
//	Access: undocumented
//	Status: observed
func (s *DevSessionsService) Delete(ctx context.Context, id string, opts ...RequestOption) (environmentDeleted bool, err error) {
	deleted, err := do(ctx, s.scope(), request{op: api.DevSessionsDelete, id: id}, decodeSessionEnd, opts)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return deleted, err
}

func decodeSessionEnd(d *lenient.Decoder) (bool, error) {
	var v struct {
		Deleted bool `json:"environment_deleted" api:"observed"`
	}
	if d.Len() == 0 {
		return false, nil
	}
	err := d.End(d.Value(&v))
	return v.Deleted, err
}
