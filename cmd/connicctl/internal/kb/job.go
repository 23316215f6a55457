package kb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
)

// A job is one ingestion of a folder.
type job struct {
	client *connic.Client
	where  place
	fsys   fs.FS
	state  *state
	app    *cli.App

	found  *folder
	upload []*file
	remove []string // paths whose entries are deleted
	others []string // paths that an unknown run uploaded and that are not in the folder

	same, uploaded, deleted, completed, unseen int

	changes map[string]*change // by path
	failed  []error
	stop    error // why the job is incomplete
}

// ours marks the entries of this program in their metadata.
const ours = "connicctl"

type metadata struct {
	By     string `json:"by"`
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
}

// plan compares the folder with the state.
func (j *job) plan(o options) error {
	for _, name := range slices.Sorted(maps.Keys(j.found.files)) {
		f := j.found.files[name]
		if r, ok := j.state.known[name]; ok && r.SHA256 == f.sha256 {
			j.same++
			continue
		}
		j.upload = append(j.upload, f)
	}
	hidden := j.found.hidden()
	for _, name := range slices.Sorted(maps.Keys(j.state.known)) {
		switch {
		case j.found.files[name] != nil, hidden(name):
		case j.state.fresh && !o.prune: // it may belong to another folder
			j.others = append(j.others, name)
			delete(j.state.known, name)
		case !o.keep:
			j.remove = append(j.remove, name)
		}
	}
	if len(j.found.files) == 0 && len(j.remove) > 0 && !o.empty {
		return fmt.Errorf("the folder has no file to upload, and all %d entries would be deleted: use --empty to allow that", len(j.remove))
	}
	return nil
}

// adopt finds out from the service what an earlier run uploaded, if there is no
// state file. It costs one request per 100 entries.
func (j *job) adopt(ctx context.Context) error {
	for e, err := range j.client.Knowledge.All(ctx, &connic.EntryListParams{EnvironmentID: j.where.Environment, Namespace: j.where.Namespace}) {
		if err != nil {
			if errors.Is(err, connic.ErrNotFound) || errors.Is(err, connic.ErrForbidden) {
				j.app.Progress.Say("note: the entries in the service cannot be listed (%s): all files are uploaded, and nothing is deleted", cli.Message(err))
				return nil
			}
			return err
		}
		var m metadata
		if e.Namespace == j.where.Namespace && e.DecodeMetadata(&m) == nil && m.By == ours && e.EntryID == entryID(m.Path) {
			j.state.known[m.Path] = record{Path: m.Path, SHA256: m.SHA256}
		}
	}
	return nil
}

// run uploads, deletes and waits.
func (j *job) run(ctx context.Context) error {
	if err := j.uploadAll(ctx); err != nil {
		return err
	}
	if j.stop == nil {
		j.deleteAll(ctx)
	}
	if j.stop == nil {
		return j.wait(ctx)
	}
	return nil
}

func (j *job) uploadAll(ctx context.Context) error {
	sent := make(map[string]*file) // by the id of the entry: a path may have characters that a key may not
	begun := make([]record, len(j.upload))
	for i, f := range j.upload {
		sent[entryID(f.path)] = f
		begun[i] = record{Path: f.path}
	}
	// From here on the entries may exist, whatever happens to this process.
	if err := j.state.note(begun...); err != nil {
		return err
	}
	// The sequence is read while the loop runs.
	var mu sync.Mutex
	unread := make(map[string]error)
	docs := func(yield func(string, connic.Document) bool) {
		for _, f := range j.upload {
			d, err := j.document(f)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				mu.Lock()
				unread[f.path] = err
				mu.Unlock()
			case !yield(entryID(f.path), d):
				return
			}
		}
	}
	for r, err := range j.client.Knowledge.UploadAll(ctx, docs, nil) {
		f := sent[r.Key]
		switch {
		case f == nil:
			j.stop = err
		case err != nil && ctx.Err() != nil: // it is uploaded the next time
			j.stop = cmp.Or(j.stop, ctx.Err())
		case err != nil:
			j.fail(f.path, err)
		default:
			j.uploaded++
			jobID := r.Value.JobID
			switch {
			case r.Value.Status.Finished():
				jobID = ""
			case jobID == "":
				j.unseen++
			}
			j.changed(f.path, "uploaded", nil)
			if r.Value.Status == connic.JobFailed {
				j.fail(f.path, cli.Failed("the ingestion failed"))
			} else if err := j.state.note(record{Path: f.path, SHA256: j.sent(f), JobID: jobID}); err != nil {
				return err
			}
		}
		j.show("uploading", j.uploaded+len(j.failed), len(j.upload))
	}
	mu.Lock()
	defer mu.Unlock()
	for _, path := range slices.Sorted(maps.Keys(unread)) {
		j.fail(path, unread[path])
	}
	if ctx.Err() != nil {
		j.stop = cmp.Or(j.stop, ctx.Err())
	}
	return nil
}

// sent returns the hash of what was uploaded, or "" if the file has changed since
// the scan: then it is uploaded again the next time, also if it changes back.
func (j *job) sent(f *file) string {
	info, err := fs.Stat(j.fsys, f.path)
	if err != nil || info.Size() != f.size || !info.ModTime().Equal(f.modified) {
		return ""
	}
	return f.sha256
}

// document returns the upload of a file.
func (j *job) document(f *file) (connic.Document, error) {
	note := map[string]any{"by": ours, "path": f.path, "sha256": f.sha256}
	if f.text {
		content, err := fs.ReadFile(j.fsys, f.path)
		if err != nil {
			return nil, err
		}
		if utf8.Valid(content) {
			return connic.TextUpload{
				EnvironmentID: j.where.Environment, Namespace: j.where.Namespace, EntryID: entryID(f.path),
				Content: string(content), Metadata: note,
			}, nil
		}
	}
	return connic.FileUpload{
		EnvironmentID: j.where.Environment, Namespace: j.where.Namespace, EntryID: entryID(f.path),
		File: connic.FSFile(j.fsys, f.path), Metadata: note,
	}, nil
}

func (j *job) deleteAll(ctx context.Context) {
	for i, name := range j.remove {
		j.show("deleting", i, len(j.remove))
		if j.stop = j.delete(ctx, name); j.stop != nil {
			return
		}
	}
}

// delete deletes the entry of a path. It returns only errors after which no
// other entry can be deleted.
func (j *job) delete(ctx context.Context, name string) error {
	err := j.client.Knowledge.Delete(ctx, entryID(name), &connic.EntryParams{EnvironmentID: j.where.Environment, Namespace: j.where.Namespace})
	switch {
	case err == nil, errors.Is(err, connic.ErrNotFound): // already deleted
		j.deleted++
		j.changed(name, "deleted", nil)
		return j.state.note(record{Path: name, Gone: true})
	case ctx.Err() != nil, errors.Is(err, connic.ErrUnauthorized), errors.Is(err, connic.ErrForbidden):
		return fmt.Errorf("%s is not deleted: %w", name, err)
	}
	j.fail(name, fmt.Errorf("not deleted: %w", err))
	return nil
}

// wait waits for the ingestions, including those of earlier runs, with shared
// polls.
func (j *job) wait(ctx context.Context) error {
	paths := make(map[string][]string) // by job, of which several paths may share one
	all := 0
	for name, r := range j.state.known {
		if r.JobID != "" {
			paths[r.JobID] = append(paths[r.JobID], name)
			all++
		}
	}
	for got, err := range j.client.Knowledge.WaitJobs(ctx, slices.Sorted(maps.Keys(paths)), &connic.KnowledgeParams{EnvironmentID: j.where.Environment}) {
		var ended *connic.JobError
		var gone *connic.WaitError
		switch {
		case err == nil:
			j.completed += len(paths[got.ID])
			err = j.settle(paths[got.ID])
		case errors.As(err, &ended):
			why := cli.Failed("%s", cmp.Or(ended.Job.Error, err.Error()))
			err = nil
			for _, name := range paths[got.ID] {
				j.fail(name, why)
				err = errors.Join(err, j.state.note(record{Path: name})) // tried again the next time
			}
		case !errors.As(err, &gone):
			return err
		case errors.Is(err, connic.ErrNotFound), errors.Is(err, connic.ErrForbidden):
			// The service does not list the job, and will not do so the next
			// time either.
			err = nil
			unseen := gone.Pending
			if len(unseen) == 0 {
				unseen = []string{gone.ID}
			}
			for _, id := range unseen {
				j.unseen += len(paths[id])
				err = errors.Join(err, j.settle(paths[id]))
			}
		default: // waited for again the next time
			j.stop, err = cmp.Or(j.stop, err), nil
		}
		if err != nil {
			return err
		}
		j.show("ingesting", j.completed+j.unseen, all)
	}
	return nil
}

// settle records that some uploads have ended.
func (j *job) settle(names []string) error {
	ended := make([]record, len(names))
	for i, name := range names {
		ended[i] = j.state.known[name]
		ended[i].JobID = ""
	}
	return j.state.note(ended...)
}

func (j *job) fail(name string, err error) {
	j.failed = append(j.failed, err)
	j.app.Progress.Say("%s: %s", name, reason(err))
	j.changed(name, "failed", err)
}

// changed adds a change to those that are listed.
func (j *job) changed(name, action string, err error) {
	c := &change{Path: name, Action: action, Entry: entryID(name)}
	if err != nil {
		c.Error = reason(err)
	}
	j.changes[name] = c
}

// reason returns an error without what the line already says.
func reason(err error) string {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err.Error()
	}
	return cli.Message(err)
}

// show shows the progress. Files that could not be read count as failed, and are
// not among all.
func (j *job) show(what string, done, all int) {
	text := fmt.Sprintf("%s: %d of %d", what, min(done, all), all)
	if n := len(j.failed); n > 0 {
		text += fmt.Sprintf(", %d failed", n)
	}
	j.app.Progress.Show("%s", text)
}
