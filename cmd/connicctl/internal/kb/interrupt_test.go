package kb

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
)

// odd is a file system with one odd file.
type odd struct {
	fstest.MapFS
	name string
	open func(fs.File) (fs.File, error)
}

func (o odd) Open(name string) (fs.File, error) {
	f, err := o.MapFS.Open(name)
	if err != nil || name != o.name {
		return f, err
	}
	return o.open(f)
}

type oddFile struct {
	fs.File
	read func() (int, error)
}

func (f oddFile) Read([]byte) (int, error) { return f.read() }

// A file that hangs ends with the program's context, at whatever step it hangs.
func TestFilesThatHang(t *testing.T) {
	t.Parallel()
	for _, opens := range []int{1, 2} { // to hash it, to upload it
		for _, where := range []string{"open", "read"} {
			for _, name := range []string{"b.md", "b.csv"} {
				t.Run(strings.Join([]string{where, name, strings.Repeat("again", opens-1)}, " "), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						d := newDesk(t)
						release := make(chan struct{})
						defer synctest.Wait()
						defer close(release)
						opened, closed := 0, 0
						fsys := odd{tree("a.md", "one", name, "two"), name, func(f fs.File) (fs.File, error) {
							if opened++; opened < opens {
								return f, nil
							}
							if where == "open" {
								<-release
								return closing{f, &closed}, nil
							}
							return oddFile{f, func() (int, error) { <-release; return 0, io.EOF }}, nil
						}}
						ctx, interrupt := context.WithCancel(t.Context())
						time.AfterFunc(time.Minute, interrupt)
						begin := time.Now()
						d.run(ctx, fsys, cli.ExitInterrupted, "")
						if took := time.Since(begin); took > 2*time.Minute {
							t.Errorf("it ended after %v", took)
						}
					})
				})
			}
		}
	}
}

type closing struct {
	fs.File
	closed *int
}

func (c closing) Close() error {
	*c.closed++
	return c.File.Close()
}

// A file that delivers nothing for ever is a failure, and keeps no other back.
func TestFilesThatDeliverNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		fsys := odd{tree("a.md", "one", "b.md", "two"), "b.md", func(f fs.File) (fs.File, error) {
			return oddFile{f, func() (int, error) { return 0, nil }}, nil
		}}
		lines := d.run(t.Context(), fsys, cli.ExitOther, "1 uploaded, 0 deleted, 0 unchanged, 0 left out, 1 failed")
		if !strings.Contains(lines, "b.md: multiple Read calls return no data or error") {
			t.Errorf("the lines are\n%s", lines)
		}
		d.has(map[string]string{"docs/a.md": "one"})
	})
}

// What is read is what the file has, in pieces of any size.
func TestInterruptibleReads(t *testing.T) {
	t.Parallel()
	want := bytes.Repeat([]byte("0123456789"), 30_000)
	fsys := interruptible{fstest.MapFS{"a": {Data: want}}, t.Context()}
	if got, err := fs.ReadFile(fsys, "a"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes of %d, %v", len(got), len(want), err)
	}
}
