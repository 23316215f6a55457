package kb

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
)

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) { return t(req) }

// A file that changes after the scan, and changes back, is uploaded again.
func TestChangesBack(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a.md", "a.csv"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t)
				began := time.Now()
				fsys := fstest.MapFS{name: {Data: []byte("one"), ModTime: began}}
				next := d.p.Transport
				d.p.Transport = transport(func(req *http.Request) (*http.Response, error) {
					if req.Method == http.MethodGet && strings.HasSuffix(req.URL.Path, "/knowledge") { // after the scan
						fsys[name] = &fstest.MapFile{Data: []byte("two"), ModTime: began.Add(time.Second)}
					}
					return next.RoundTrip(req)
				})
				d.run(t.Context(), fsys, cli.ExitDone, "1 uploaded")
				d.has(map[string]string{"docs/" + name: "two"})
				fsys[name] = &fstest.MapFile{Data: []byte("one"), ModTime: began}
				d.run(t.Context(), fsys, cli.ExitDone, "1 uploaded")
				d.has(map[string]string{"docs/" + name: "one"})
			})
		})
	}
}

// A name may have any characters, and any length.
func TestOddNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		fsys := tree("a\n::error::\x1b.md", "one", strings.Repeat("long/", 300)+"b.csv", "two")
		d.run(t.Context(), fsys, cli.ExitDone, "2 uploaded")
		d.run(t.Context(), fsys, cli.ExitDone, "0 uploaded, 0 deleted, 2 unchanged")
		d.run(t.Context(), tree("c.md", "three"), cli.ExitDone, "1 uploaded, 2 deleted")
		d.has(map[string]string{"docs/c.md": "three"})
	})
}

// A first call that died before it had begun says nothing about the service.
func TestDiedBeforeItBegan(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.run(t.Context(), tree("a.md", "one"), cli.ExitDone, "1 uploaded")
		s, err := openState(d.o.state, place{"env-production", "docs"}, false)
		if err != nil {
			t.Fatal(err)
		}
		a := s.known["a.md"]
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		if err := d.client.Knowledge.Delete(t.Context(), "a.md", &connic.EntryParams{EnvironmentID: "env-production", Namespace: "docs"}); err != nil {
			t.Fatal(err)
		}
		d.o.state = filepath.Join(t.TempDir(), "state")
		if s, err = openState(d.o.state, s.where, false); err != nil {
			t.Fatal(err)
		}
		if err := s.note(a); err != nil {
			t.Fatal(err)
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		d.run(t.Context(), tree("a.md", "one"), cli.ExitDone, "1 uploaded")
		d.has(map[string]string{"docs/a.md": "one"})
	})
}

// A state file that cannot be opened is not said to be one of another version.
func TestNoStateFile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.o.state = filepath.Join(t.TempDir(), "none", "state")
		d.run(t.Context(), tree("a.md", "one"), cli.ExitUsage, "cannot be used, name another one with --state")
	})
}
