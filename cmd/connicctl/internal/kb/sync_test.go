package kb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/connic-go/connic/cmd/connicctl/internal/clitest"
	"github.com/connic-go/connic/connictest"
	"github.com/spf13/cobra"
)

func tree(files ...string) fstest.MapFS {
	fsys := make(fstest.MapFS)
	for i := 0; i < len(files); i += 2 {
		fsys[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return fsys
}

// desk is a fake and what a user sees of the command. Make it in a bubble.
type desk struct {
	t      *testing.T
	fake   *connictest.Server
	client *connic.Client
	p      *clitest.Program
	o      options
	env    string // --env
	clitest.Result
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	fake := connictest.New(t)
	client := fake.Client()
	t.Cleanup(func() { _ = client.Close() })
	return &desk{t: t, fake: fake, client: client, p: clitest.New(t, fake), o: options{namespace: "docs", state: filepath.Join(t.TempDir(), "state")}}
}

// key makes the command use another key.
func (d *desk) key(permissions ...string) {
	d.p.Env["CONNIC_API_KEY"] = string(d.fake.Key(permissions...))
}

// The environment is the default one, which may be one for tests or take no
// deployments, or the one of --env.
func TestEnvironments(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.fake.Environments(
			connictest.Environment{ID: "e1", Name: "Production", IsDefault: true, CannotDeploy: true, TestEnvironmentID: "e2"},
			connictest.Environment{ID: "e2", Name: "Tests", Type: connic.EnvironmentTest},
		)
		for i, env := range []string{"", "tests"} {
			d.env, d.o.state = env, filepath.Join(t.TempDir(), "state")
			d.run(t.Context(), tree("a.md", "a"), cli.ExitDone, "1 uploaded")
			if page, err := d.client.Knowledge.List(t.Context(), &connic.EntryListParams{EnvironmentID: []string{"e1", "e2"}[i]}); err != nil || len(page.Items) != 1 {
				t.Error(page, err)
			}
		}
		d.env = "nowhere"
		d.run(t.Context(), tree("a.md", "a"), cli.ExitNotFound, "")
	})
}

// run runs the command with a file system in place of the folder, and compares the
// exit status and what is on standard error, which it returns.
func (d *desk) run(ctx context.Context, fsys fs.FS, status int, summary string) string {
	d.t.Helper()
	d.p.Commands = []func(*cli.App) *cobra.Command{func(a *cli.App) *cobra.Command {
		return &cobra.Command{Use: "sync", RunE: func(cmd *cobra.Command, _ []string) error { return mirror(cmd.Context(), a, fsys, d.o) }}
	}}
	d.Result = d.p.RunContext(ctx, "sync", "--env", d.env)
	if d.Status != status {
		d.t.Errorf("exit status %d, want %d", d.Status, status)
	}
	if !strings.Contains(d.Err, summary) {
		d.t.Errorf("no %q", summary)
	}
	if d.t.Failed() {
		d.t.Logf("%s\n%s", d.Err, d.Out)
	}
	return d.Err
}

// entries are the contents in the service, by id.
func (d *desk) entries() map[string]string {
	d.t.Helper()
	found := make(map[string]string)
	for e, err := range d.client.Knowledge.All(d.t.Context(), &connic.EntryListParams{EnvironmentID: "env-production"}) {
		if err != nil {
			d.t.Fatal(err)
		}
		whole, err := d.client.Knowledge.Get(d.t.Context(), e.EntryID, &connic.EntryParams{EnvironmentID: "env-production", Namespace: e.Namespace})
		if err != nil {
			d.t.Fatal(err)
		}
		found[e.Namespace+"/"+e.EntryID] = whole.Content
	}
	return found
}

func (d *desk) has(want map[string]string) {
	d.t.Helper()
	if got := d.entries(); !maps.Equal(got, want) {
		d.t.Errorf("the service has %q, want %q", got, want)
	}
}

// Only what changed is sent, and what went is deleted.
func TestFollowsFolder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		fsys := tree("a.md", "one", "sub/b.txt", "two", "c.csv", "x,y\n", ".git/d.md", "hidden", "e.go", "package e", "blank.md", " \n")
		lines := d.run(t.Context(), fsys, cli.ExitDone, "3 uploaded, 0 deleted, 0 unchanged, 2 left out, 0 failed")
		if !strings.Contains(lines, "e.go has an ending that the service does not take: left out\n") {
			t.Errorf("the lines are\n%s", lines)
		}
		d.has(map[string]string{"docs/a.md": "one", "docs/sub=2Fb.txt": "two", "docs/c.csv": "x,y\n"})

		sent := len(d.fake.Requests())
		d.run(t.Context(), fsys, cli.ExitDone, "0 uploaded, 0 deleted, 3 unchanged")
		if got := len(d.fake.Requests()) - sent; got != 1 {
			t.Errorf("%d requests although nothing changed, want 1 for the environment", got)
		}

		fsys["a.md"] = &fstest.MapFile{Data: []byte("ONE")}
		delete(fsys, "c.csv")
		before := d.fake.Executions("knowledge.upload_text")
		d.run(t.Context(), fsys, cli.ExitDone, "1 uploaded, 1 deleted, 1 unchanged")
		if got := d.fake.Executions("knowledge.upload_text") - before; got != 1 {
			t.Errorf("%d uploads, want 1", got)
		}
		d.has(map[string]string{"docs/a.md": "ONE", "docs/sub=2Fb.txt": "two"})
	})
}

// A dry run says all and does nothing, and leaves no file behind.
func TestDryRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.run(t.Context(), tree("a.md", "one", "b.md", "two"), cli.ExitDone, "2 uploaded")
		d.o.dry = true
		state, err := os.ReadFile(d.o.state)
		if err != nil {
			t.Fatal(err)
		}
		d.run(t.Context(), tree("a.md", "ONE", "c\x1b[2J.md", "three"), cli.ExitDone,
			"would upload 2 and delete 1; 0 unchanged, 0 left out\n")
		if want := "ACTION   PATH\nchanged  a.md\ndelete   b.md\nnew      c\\x1b[2J.md\n"; d.Out != want {
			t.Errorf("got %q", d.Out)
		}
		if again, err := os.ReadFile(d.o.state); err != nil || !bytes.Equal(again, state) {
			t.Errorf("the state changed, %v", err)
		}
		d.has(map[string]string{"docs/a.md": "one", "docs/b.md": "two"})
		d.o.state = filepath.Join(t.TempDir(), "none")
		d.run(t.Context(), tree("a.md", "one"), cli.ExitDone, "would upload 0 and delete 0; 1 unchanged")
		if _, err := os.Stat(d.o.state); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("there is a state file: %v", err)
		}
	})
}

// After Ctrl-C the next run goes on: what was accepted is not sent again, and its
// ingestion is seen to its end.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		fsys := tree()
		for i := range 100 { // more than the quota of a minute
			fsys[fmt.Sprintf("%03d.md", i)] = &fstest.MapFile{Data: []byte(fmt.Sprint("text ", i))}
		}
		ctx, cancel := context.WithCancel(t.Context())
		d.fake.FailIngestion(func(e connictest.IngestedEntry) error {
			cancel() // the first ingestion ends within the wait for the quota
			return nil
		})
		lines := d.run(ctx, fsys, cli.ExitInterrupted, " uploaded, 0 deleted")
		if !strings.Contains(lines, "the same command line resumes") || strings.Contains(lines, "canceled") {
			t.Errorf("the lines are\n%s", lines)
		}
		d.fake.FailIngestion(nil)
		accepted := d.fake.Executions("knowledge.upload_text")
		if accepted == 0 || accepted == 100 {
			t.Fatalf("%d uploads before the interruption, want some", accepted)
		}
		d.run(t.Context(), fsys, cli.ExitDone, "0 failed")
		if again := d.fake.Executions("knowledge.upload_text") - 100; again > 8 {
			t.Errorf("%d files were sent twice, want those under way at most", again)
		}
		if got := len(d.entries()); got != 100 {
			t.Errorf("%d entries, want 100", got)
		}
	})
}

// A process that dies at once leaves no entry that the next one does not know.
func TestKilled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.run(t.Context(), tree("a.md", "one", "b.md", "two"), cli.ExitDone, "2 uploaded")
		state, err := os.ReadFile(d.o.state)
		if err != nil {
			t.Fatal(err)
		}
		// Of b.md the state has only that its upload began, and half a line.
		lines := strings.SplitAfter(string(state), "\n")
		kept := slices.DeleteFunc(lines, func(l string) bool { return strings.Contains(l, "b.md") })
		half := strings.Join(kept, "") + `{"key":"b.md","record":{}}` + "\n" + `{"key":"b.md","record":{"sha2`
		if err := os.WriteFile(d.o.state, []byte(half), 0o600); err != nil {
			t.Fatal(err)
		}
		d.run(t.Context(), tree("a.md", "one"), cli.ExitDone, "0 uploaded, 1 deleted, 1 unchanged")
		d.has(map[string]string{"docs/a.md": "one"})
		d.run(t.Context(), tree("a.md", "one"), cli.ExitDone, "0 uploaded, 0 deleted, 1 unchanged")
	})
}

// Files that fail are named with the reason, are no obstacle to others, and are
// tried again.
func TestFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.fake.FailIngestion(func(e connictest.IngestedEntry) error {
			if strings.Contains(e.Content, "poison") {
				return errors.New("no text in it")
			}
			return nil
		})
		fsys := tree("bad/p.md", "poison", "good.md", "fine")
		lines := d.run(t.Context(), fsys, cli.ExitFailed, "2 uploaded, 0 deleted, 0 unchanged, 0 left out, 1 failed")
		if !strings.Contains(lines, "bad/p.md: no text in it\n") {
			t.Errorf("the lines are\n%s", lines)
		}
		d.fake.FailIngestion(nil)
		// Which of the three uploads is refused is up to the scheduler.
		maps.Copy(fsys, tree("c.md", "x", "d.md", "y"))
		d.fake.Fault(connictest.Fault{Op: "knowledge.upload_text", Status: 422})
		lines = d.run(t.Context(), fsys, cli.ExitOther, "2 uploaded, 0 deleted, 1 unchanged, 0 left out, 1 failed")
		if !strings.Contains(lines, ".md: knowledge.upload_text: 422") {
			t.Errorf("the lines are\n%s", lines)
		}
		d.run(t.Context(), fsys, cli.ExitDone, "1 uploaded, 0 deleted, 3 unchanged, 0 left out, 0 failed")
	})
}

// blind is a file system in which some paths cannot be opened.
type blind struct {
	fstest.MapFS
	not string
}

func (b blind) Open(name string) (fs.File, error) {
	if name == b.not {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return b.MapFS.Open(name)
}

func (b blind) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == b.not {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return b.MapFS.ReadDir(name)
}

// What cannot be read is not taken for gone.
func TestNothingLostByAccident(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		fsys := tree("a.md", "one", "sub/b.md", "two", "sub/c.md", "three")
		all := map[string]string{"docs/a.md": "one", "docs/sub=2Fb.md": "two", "docs/sub=2Fc.md": "three"}
		d.run(t.Context(), fsys, cli.ExitDone, "3 uploaded")
		for _, path := range []string{"sub", "sub/b.md", "."} {
			summary := "0 uploaded, 0 deleted"
			code := cli.ExitOther
			if path == "." {
				summary, code = "", cli.ExitUsage
			}
			if lines := d.run(t.Context(), blind{fsys, path}, code, summary); !strings.Contains(lines, "permission denied") {
				t.Errorf("%s: the lines are\n%s", path, lines)
			}
			d.has(all)
		}
		// An empty folder is likelier a mistake.
		if lines := d.run(t.Context(), tree("x.go", "package x"), cli.ExitUsage, ""); !strings.Contains(lines, "all 3 entries would be deleted") {
			t.Errorf("the lines are\n%s", lines)
		}
		d.has(all)
		// A file that became empty, or a link, keeps its entry.
		d.run(t.Context(), tree("a.md", "", "sub/b.md", "two", "sub/c.md", "three"), cli.ExitDone, "0 uploaded, 0 deleted, 2 unchanged, 1 left out")
		d.has(all)
		// Another namespace or environment does not go with this state.
		d.o.namespace = "other"
		if lines := d.run(t.Context(), fsys, cli.ExitUsage, ""); !strings.Contains(lines, "name another file with --state") {
			t.Errorf("the lines are\n%s", lines)
		}
		d.o.namespace, d.o.keep = "docs", true
		d.run(t.Context(), tree("a.md", "one"), cli.ExitDone, "0 uploaded, 0 deleted, 1 unchanged")
		d.has(all)
		d.o.keep, d.o.empty = false, true
		d.run(t.Context(), tree(), cli.ExitDone, "0 uploaded, 3 deleted, 0 unchanged")
		d.has(map[string]string{})
	})
}

// Without a state file the entries themselves say what is there. Those of others,
// and of another folder, stay.
func TestLostState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		foreign := connic.TextUpload{EnvironmentID: "env-production", Namespace: "docs", EntryID: "manual", Content: "by hand"}
		if _, err := d.client.Knowledge.UploadText(t.Context(), foreign); err != nil {
			t.Fatal(err)
		}
		d.run(t.Context(), tree("a.md", "one", "b.md", "two"), cli.ExitDone, "2 uploaded")
		if err := os.Remove(d.o.state); err != nil {
			t.Fatal(err)
		}
		lines := d.run(t.Context(), tree("a.md", "one", "c.md", "three"), cli.ExitDone, "1 uploaded, 0 deleted, 1 unchanged")
		if !strings.Contains(lines, "1 entries of files that are not in the folder, such as b.md") {
			t.Errorf("the lines are\n%s", lines)
		}
		d.run(t.Context(), tree("a.md", "one", "c.md", "three"), cli.ExitDone, "0 uploaded, 0 deleted, 2 unchanged")
		if err := os.Remove(d.o.state); err != nil {
			t.Fatal(err)
		}
		d.o.prune = true
		d.run(t.Context(), tree("a.md", "one", "c.md", "three"), cli.ExitDone, "0 uploaded, 1 deleted, 2 unchanged")
		d.has(map[string]string{"docs/manual": "by hand", "docs/a.md": "one", "docs/c.md": "three"})
	})
}

// The wait takes one look for all files.
func TestWaitsInOneBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		fsys := tree()
		for i := range 40 {
			fsys[fmt.Sprintf("%03d.md", i)] = &fstest.MapFile{Data: []byte(fmt.Sprint("text ", i))}
		}
		d.run(t.Context(), fsys, cli.ExitDone, "40 uploaded")
		looks := 0
		for _, r := range d.fake.Requests() {
			if strings.Contains(r.Path, "/knowledge/jobs") {
				looks++
			}
		}
		if looks == 0 || looks > 5 {
			t.Errorf("%d looks for 40 files, want a few", looks)
		}
	})
}

// A key that may not look at jobs still uploads; one that may not upload stops at
// once.
func TestKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.env = "env-production"
		d.key("knowledge:write")
		fsys := tree("a.md", "one", "b.md", "two")
		lines := d.run(t.Context(), fsys, cli.ExitDone, "2 uploaded, 0 deleted, 0 unchanged, 0 left out, 0 failed")
		if !strings.Contains(lines, "does not show the ingestion of 2 files") || !strings.Contains(lines, "cannot be listed") {
			t.Errorf("the lines are\n%s", lines)
		}
		d.run(t.Context(), fsys, cli.ExitDone, "2 unchanged")
		d.key("knowledge:read")
		lines = d.run(t.Context(), tree("a.md", "ONE", "b.md", "two"), cli.ExitRefused, "0 uploaded")
		if !strings.Contains(lines, "403 Forbidden") {
			t.Errorf("the lines are\n%s", lines)
		}
	})
}

// Different paths have different ids, which go into a URL as they are.
func TestEntryID(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä/", 120) + "x.md"
	seen := make(map[string]string)
	for _, path := range []string{"a/b.md", "a=2Fb.md", "a-b.md", "a b.md", "a\\b.md", "ä.md", "a.md", "A.md", "%2F.md", long, long + "x"} {
		id := entryID(path)
		if strings.ContainsAny(id, "/\\%?# ") || len(id) > maxID {
			t.Errorf("%q has the id %q", path, id)
		}
		if other, ok := seen[id]; ok {
			t.Errorf("%q and %q have the same id", path, other)
		}
		seen[id] = path
	}
	if got := entryID("a/b.md"); got != "a=2Fb.md" {
		t.Errorf("got %q", got)
	}
}

// A broken state file is no reason to forget what is in it.
func TestBrokenState(t *testing.T) {
	t.Parallel()
	where := place{"env", "docs"}
	const head = `{"connic_journal":1}` + "\n"
	const about = `{"key":"","record":{"environment":"env","namespace":"docs"}}` + "\n"
	for content, want := range map[string]string{
		"x": "not a journal", "{}\n": "not a journal",
		`{"environment":"env","namespace":"docs"}` + "\n" + `{"path":"a"}` + "\n":   "the entries in the service are asked", // of an earlier version
		head + about + "x\n" + `{"key":"a","record":{}}` + "\n":                     "damaged",
		head + `{"key":"","record":{"version":1,"op":"agents.trigger_all"}}` + "\n": "is not a state file",
	} {
		name := filepath.Join(t.TempDir(), "state")
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openState(name, where, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", content, err, want)
		}
	}
}

// Two processes would upload and delete what the other one has just done.
func TestStateInUse(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "state")
	s, err := openState(name, place{"env", "docs"}, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openState(name, s.where, true); !errors.Is(err, connic.ErrJournalInUse) {
		t.Errorf("got %v, want %v", err, connic.ErrJournalInUse)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// A process that dies before it has recorded all that the service has said is
// there asks again.
func TestKilledAtTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.run(t.Context(), tree("a.md", "one", "b.md", "two"), cli.ExitDone, "2 uploaded")
		half := `{"connic_journal":1}` + "\n" + `{"key":"a.md","record":{}}` + "\n" + `{"key":"b.md","record":{"sha2`
		if err := os.WriteFile(d.o.state, []byte(half), 0o600); err != nil {
			t.Fatal(err)
		}
		d.run(t.Context(), tree("a.md", "one", "b.md", "two"), cli.ExitDone, "0 uploaded, 0 deleted, 2 unchanged")
	})
}

// Links that lead out of the folder are not followed, whoever makes them.
func TestLinks(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), t.TempDir()
	secret := filepath.Join(outside, "secret.md")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Symlink(secret, filepath.Join(dir, "link.md")), os.Symlink(outside, filepath.Join(dir, "folder"))); err != nil {
		t.Skip("this system makes no symbolic links:", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	found, err := scan(root.FS())
	if err != nil || len(found.files) > 0 || len(found.skipped) != 2 {
		t.Errorf("found %+v, %v", found, err)
	}
	swapped := &file{path: "link.md", text: true} // it was a file when the folder was scanned
	if d, err := (&job{fsys: root.FS()}).document(swapped); err == nil {
		t.Errorf("a link that leads out was read: %+v", d)
	}
}

// The command takes a folder, and refuses what would harm.
func TestFolder(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "a.md"), []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		p := clitest.New(t, connictest.New(t), Command)
		for _, args := range [][]string{{}, {folder, folder}, {folder, "-x"}, {filepath.Join(folder, "missing")}, {folder, "--state", filepath.Join(folder, "state.jsonl")}} {
			if r := p.Run(append([]string{"kb", "sync"}, args...)...); r.Status != cli.ExitUsage || r.Out != "" {
				t.Errorf("%q: %+v", args, r)
			}
		}
		for _, want := range []string{`[]`, `{"path":"a.md","action":"uploaded","entry_id":"a.md"}`, ""} {
			args := []string{"kb", "sync", folder, "-o", "jsonl"}
			if want == "[]" {
				args, want = append(args, "--dry-run"), `{"path":"a.md","action":"new","entry_id":"a.md"}`
			}
			if r := p.Run(args...); r.Status != cli.ExitDone || strings.TrimSpace(r.Out) != want {
				t.Errorf("%+v, want %s", r, want)
			}
		}
	})
}

// A job that the service does not show any more ends the wait for it, and for
// that one only.
func TestForgottenJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		fsys := tree("a.md", "one", "b.md", "two")
		d.run(t.Context(), fsys, cli.ExitDone, "2 uploaded")
		f, err := os.OpenFile(d.o.state, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = fmt.Fprintf(f, `{"key":"a.md","record":{"sha256":%q,"job_id":"forgotten"}}`+"\n", mustHash(t, fsys, "a.md"))
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		fsys["b.md"] = &fstest.MapFile{Data: []byte("TWO")}
		lines := d.run(t.Context(), fsys, cli.ExitDone, "1 uploaded, 0 deleted, 1 unchanged")
		if !strings.Contains(lines, "does not show the ingestion of 1 files") {
			t.Errorf("the lines are\n%s", lines)
		}
		d.run(t.Context(), fsys, cli.ExitDone, "2 unchanged")
	})
}

func mustHash(t *testing.T, fsys fs.FS, name string) string {
	t.Helper()
	f := &file{path: name}
	if _, err := f.hash(fsys); err != nil {
		t.Fatal(err)
	}
	return f.sha256
}

// A service may have one job for several files, or name none.
func TestJobsOfSeveral(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.run(t.Context(), tree("a.md", "one"), cli.ExitDone, "1 uploaded")
		s, err := openState(d.o.state, place{"env-production", "docs"}, false)
		if err != nil {
			t.Fatal(err)
		}
		var job string
		for j, err := range d.client.Knowledge.AllJobs(t.Context(), &connic.JobListParams{EnvironmentID: "env-production"}) {
			if err != nil {
				t.Fatal(err)
			}
			job = j.ID
		}
		for _, name := range []string{"a.md", "b.md"} {
			err = errors.Join(err, s.note(record{Path: name, SHA256: s.known["a.md"].SHA256, JobID: job}))
		}
		if err := errors.Join(err, s.close()); err != nil {
			t.Fatal(err)
		}
		d.run(t.Context(), tree("a.md", "one", "b.md", "one"), cli.ExitDone, "2 unchanged")
		if s, err = openState(d.o.state, s.where, true); err != nil {
			t.Fatal(err)
		}
		defer s.close()
		for name, r := range s.known {
			if r.JobID != "" {
				t.Errorf("%s is still waited for", name)
			}
		}
	})
}

// A deletion that fails is named and tried again; one that is forbidden ends the
// run.
func TestDeletionFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.env = "env-production"
		d.run(t.Context(), tree("a.md", "one", "b.md", "two", "c.md", "three"), cli.ExitDone, "3 uploaded")
		d.fake.Fault(connictest.Fault{Op: "knowledge.delete", Status: 409})
		lines := d.run(t.Context(), tree("c.md", "three"), cli.ExitOther, "0 uploaded, 1 deleted, 1 unchanged, 0 left out, 1 failed")
		if !strings.Contains(lines, "a.md: not deleted: knowledge.delete: 409") {
			t.Errorf("the lines are\n%s", lines)
		}
		full := d.p.Env["CONNIC_API_KEY"]
		d.key("knowledge:read")
		lines = d.run(t.Context(), tree("c.md", "three"), cli.ExitRefused, "0 deleted")
		if !strings.Contains(lines, "stopped: a.md is not deleted: ") || !strings.Contains(lines, "403") {
			t.Errorf("the lines are\n%s", lines)
		}
		d.p.Env["CONNIC_API_KEY"] = full
		d.run(t.Context(), tree("c.md", "three"), cli.ExitDone, "1 deleted")
		d.has(map[string]string{"docs/c.md": "three"})
	})
}
