package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"unicode/utf8"
)

// file is a file that can become knowledge.
type file struct {
	path   string // with slashes, below the folder
	size   int64
	sha256 string
	text   bool // it can go as a text
}

// folder is what is in the folder.
type folder struct {
	files   map[string]*file
	skipped []note // what is no knowledge
	broken  []note // what could not be read: a file, or a folder with all below it
}

// note is a path and what is to be said about it.
type note struct{ path, text string }

// formats are the endings that the service takes. Texts go by the route that is
// documented, the others by the one for files, which is assumed.
var formats = map[string]bool{
	".txt": true, ".md": true, ".markdown": true, ".log": true,
	".csv": false, ".json": false, ".jsonl": false, ".yaml": false, ".yml": false,
	".pdf": false, ".png": false, ".jpg": false, ".jpeg": false, ".gif": false, ".webp": false,
}

// maxText is the size of the largest text that is sent as one: it is held in
// memory, and files are not.
const maxText = 1 << 20

// scan looks at all files and hashes them. Hidden files and folders are left out,
// symbolic links are not followed. The error is of the folder itself.
func scan(fsys fs.FS) (*folder, error) {
	f := &folder{files: make(map[string]*file)}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && name == ".":
			return err
		case err != nil:
			f.broken = append(f.broken, note{name, reason(err)})
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case name == ".":
			return nil
		case strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			return nil
		}
		f.look(fsys, name, d)
		return nil
	})
	return f, err
}

func (f *folder) look(fsys fs.FS, name string, d fs.DirEntry) {
	text, known := formats[strings.ToLower(path.Ext(name))]
	skip := func(why string) { f.skipped = append(f.skipped, note{name, why}) }
	switch {
	case d.Type()&fs.ModeSymlink != 0:
		skip("is a symbolic link")
	case !d.Type().IsRegular():
		skip("is no regular file")
	case !known:
		skip("has an ending that the service does not take")
	case !utf8.ValidString(name):
		skip("has a name that is not valid UTF-8")
	default:
		found := &file{path: name, text: text}
		blank, err := found.hash(fsys)
		switch {
		case err != nil:
			f.broken = append(f.broken, note{name, reason(err)})
		case found.size == 0 || text && blank:
			skip("is empty")
		default:
			found.text = text && found.size <= maxText
			f.files[name] = found
		}
	}
}

// hash reads a file, and reports whether it is blank.
func (f *file) hash(fsys fs.FS) (blank bool, err error) {
	r, err := fsys.Open(f.path)
	if err != nil {
		return false, err
	}
	defer func() { _ = r.Close() }() // only read
	h := sha256.New()
	block := make([]byte, 64<<10)
	blank = true
	for {
		n, err := r.Read(block)
		_, _ = h.Write(block[:n])
		f.size += int64(n)
		blank = blank && len(bytes.TrimSpace(block[:n])) == 0
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return false, err
		}
	}
	f.sha256 = hex.EncodeToString(h.Sum(nil))
	return blank, nil
}

// hidden returns a function that reports whether a path may be there although the
// scan did not see it as a file: it was left out, or it or a folder above it could
// not be read.
func (f *folder) hidden() func(string) bool {
	unseen := make(map[string]bool)
	for _, list := range [][]note{f.broken, f.skipped} {
		for _, n := range list {
			unseen[n.path] = true
		}
	}
	return func(name string) bool {
		for ; name != "."; name = path.Dir(name) {
			if unseen[name] {
				return true
			}
		}
		return false
	}
}

// maxID is the longest id that is made of a path; no bound is known, and ids are
// parts of URLs.
const maxID = 200

// entryID makes an id of a path: ids have no slashes. Letters, digits and - _ .
// stay, other bytes become =XX, so that different paths have different ids; of
// long ones the hash is taken, after == which no other id has.
func entryID(name string) string {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
			b.WriteByte(c)
		default:
			_, _ = fmt.Fprintf(&b, "=%02X", c)
		}
	}
	if b.Len() <= maxID {
		return b.String()
	}
	sum := sha256.Sum256([]byte(name))
	return "==" + hex.EncodeToString(sum[:])
}
