package journal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var errInUse = errors.New("in use")

func open(t *testing.T, path string) (*File, error) {
	t.Helper()
	f := &File{Path: path, InUse: errInUse}
	err := f.Open(t.Context())
	if err == nil {
		t.Cleanup(func() { _ = f.Close() })
	}
	return f, err
}

func mustOpen(t *testing.T, path string) *File {
	t.Helper()
	f, err := open(t, path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func put(t *testing.T, f *File, records map[string]string) {
	t.Helper()
	if err := f.Put(t.Context(), records); err != nil {
		t.Fatal(err)
	}
}

// content returns all records, after it has compared them with what Get returns.
func content(t *testing.T, f *File) map[string]string {
	t.Helper()
	all := make(map[string]string)
	if err := f.All(t.Context(), func(key, record string) bool {
		if got, err := f.Get(t.Context(), key); got != record || err != nil {
			t.Errorf("Get(%q) is %q, %v, and All has %q", key, got, err, record)
		}
		all[key] = record
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// write makes a journal of several batches. It returns its bytes, and the records
// after each line that is complete.
func write(t *testing.T) (raw []byte, after map[int]map[string]string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal")
	f := mustOpen(t, path)
	now := make(map[string]string)
	after = map[int]map[string]string{0: {}, len(header): {}}
	for i, records := range []map[string]string{
		{"": `{"version":1}`},
		{"a": `{"state":"sending"}`},
		{"b\"\\ <é>\u2028": `{"state":"sending","marker":"connic-X"}`},
		{"a": `{"state":"started","ids":["run-1"]}`},
		{"c": `{}`},
		{"a": `{"state":"done"}`},
	} {
		put(t, f, records)
		maps.Copy(now, records)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := after[int(info.Size())]; twice {
			t.Fatalf("batch %d wrote nothing", i)
		}
		after[int(info.Size())] = maps.Clone(now)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw, after
}

// A file that ends anywhere has what was written before, and takes more.
func TestCutAtEveryByte(t *testing.T) {
	t.Parallel()
	raw, after := write(t)
	path := filepath.Join(t.TempDir(), "journal")
	want := map[string]string{}
	for n := range len(raw) + 1 {
		if at, ok := after[n]; ok {
			want = at
		}
		// Some file systems leave zeros where the data did not arrive in time.
		for _, tail := range []string{"", "\x00\x00\x00", "\x00\n\x00\n"} {
			if n < len(header) && tail != "" {
				continue
			}
			if err := os.WriteFile(path, append(raw[:n:n], tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := open(t, path)
			if err != nil {
				t.Fatalf("after %d bytes and %q: %v", n, tail, err)
			}
			if got := content(t, f); !maps.Equal(got, want) {
				t.Fatalf("after %d bytes and %q: got %q, want %q", n, tail, got, want)
			}
			if tail != "" && n%8 > 0 {
				_ = f.Close()
				continue
			}
			put(t, f, map[string]string{"z": `{"state":"done"}`})
			_ = f.Close()
			f = mustOpen(t, path)
			more := maps.Clone(want)
			more["z"] = `{"state":"done"}`
			if got := content(t, f); !maps.Equal(got, more) {
				t.Fatalf("after %d bytes, %q and a record: got %q, want %q", n, tail, got, more)
			}
			_ = f.Close()
		}
	}
}

// A byte that has changed before the last line is not passed over: what stands
// there might be started twice.
func TestDamage(t *testing.T) {
	t.Parallel()
	raw, _ := write(t)
	last := strings.LastIndexByte(strings.TrimSuffix(string(raw), "\n"), '\n')
	path := filepath.Join(t.TempDir(), "journal")
	for n := range last {
		bad := append([]byte{}, raw...)
		bad[n] ^= 0x01
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := open(t, path)
		if err == nil {
			t.Fatalf("byte %d: %q was taken, and has %q", n, bad, content(t, f))
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != string(bad) {
			t.Fatalf("byte %d: the file has changed", n)
		}
	}
}

// What is no journal stays as it is.
func TestNoJournal(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"x", "{}\n", `{"connic_journal":2}` + "\n", `{"connic_journal":0}` + "\n", "\n", `{"case":"a"}` + "\n"} {
		path := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, path); err == nil || !strings.Contains(err.Error(), "journal") {
			t.Errorf("%q: %v", text, err)
		}
		if raw, err := os.ReadFile(path); err != nil || string(raw) != text {
			t.Errorf("%q has become %q", text, raw)
		}
	}
	if _, err := open(t, t.TempDir()); err == nil {
		t.Error("a folder was opened")
	}
	if _, err := open(t, filepath.Join(t.TempDir(), "none", "journal")); err == nil {
		t.Error("a folder was made")
	}
}

// Lines of a person need no checksum.
func TestLinesByHand(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	text := header + `{"key": "a", "record": {"state": "unknown"}}` + "\n" + ` {"record":{"state":"done"},"key":"a"}` + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := content(t, mustOpen(t, path)); len(got) != 1 || got["a"] != `{"state":"done"}` {
		t.Errorf("got %q", got)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "journal")
	f := mustOpen(t, path)
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Skip("this system makes no symbolic links:", err)
	}
	for _, name := range []string{path, link} {
		if _, err := open(t, name); !errors.Is(err, errInUse) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := f.Open(t.Context()); !errors.Is(err, errInUse) {
		t.Errorf("opened twice: %v", err)
	}
	put(t, f, map[string]string{"a": "{}"})
	_ = f.Close()
	if err := f.Put(t.Context(), map[string]string{"a": "{}"}); err == nil {
		t.Error("a closed journal was written")
	}
	if got := content(t, mustOpen(t, link)); len(got) != 1 {
		t.Errorf("got %q", got)
	}
}

// A file with many obsolete lines is rewritten, whole or not at all.
func TestCompaction(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	f := mustOpen(t, path)
	want := make(map[string]string)
	for i := range 3 * slack {
		records := map[string]string{fmt.Sprint("k", i%10): fmt.Sprintf(`{"n":%d}`, i)}
		put(t, f, records)
		maps.Copy(want, records)
	}
	_ = f.Close()
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".part", []byte("left by a process that died"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		f := mustOpen(t, path)
		if got := content(t, f); !maps.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		put(t, f, map[string]string{"k0": `{"n":-1}`})
		want["k0"] = `{"n":-1}`
		_ = f.Close()
	}
	after, err := os.Stat(path)
	if err != nil || after.Size() > before.Size()/10 {
		t.Errorf("%d bytes have become %d, %v", before.Size(), after.Size(), err)
	}
	if _, err := os.Stat(path + ".part"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the new file is left: %v", err)
	}
}

// A record that cannot be encoded, or written, leaves the others readable.
func TestFailedPut(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	f := mustOpen(t, path)
	put(t, f, map[string]string{"a": `{"n":1}`})
	if err := f.Put(t.Context(), map[string]string{"b": `{`}); err == nil {
		t.Error("half a record was written")
	}
	good := f.file
	broken, err := os.Open(path) // for reading only
	if err != nil {
		t.Fatal(err)
	}
	f.file = broken
	if err := f.Put(context.Background(), map[string]string{"c": `{}`}); err == nil {
		t.Error("written to a file that is open for reading")
	}
	if err := f.Put(context.Background(), map[string]string{"c": `{}`}); err == nil {
		t.Error("written to a file of which the end is not known")
	}
	f.file = good
	_ = broken.Close()
	_ = f.Close()
	f = mustOpen(t, path)
	put(t, f, map[string]string{"d": `{}`})
	if got := content(t, f); len(got) != 2 || got["a"] != `{"n":1}` {
		t.Errorf("got %q", got)
	}
}

// Whatever is in a file, it is read without a panic, and what is read can be
// written and read again.
func FuzzFile(f *testing.F) {
	f.Add([]byte(header))
	f.Add([]byte(header + `{"crc":"00000000","key":"a","record":{}}` + "\n"))
	f.Add([]byte(header + `{"key":"a","record":{"state":"done"}}` + "\n{\n"))
	line, err := appendLine([]byte(header), "k", `{"state":"sending"}`)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Fuzz(func(t *testing.T, raw []byte) {
		path := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := open(t, path)
		if err != nil {
			return
		}
		want := content(t, j)
		put(t, j, map[string]string{"new": `{"state":"started"}`})
		want["new"] = `{"state":"started"}`
		_ = j.Close()
		j = mustOpen(t, path)
		if got := content(t, j); !maps.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		_ = j.Close()
	})
}
