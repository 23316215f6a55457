package kb

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
	"time"
	"unicode/utf8"
)

// A file is a file that can be uploaded.
type file struct {
	path     string // slash-separated, relative to the folder
	size     int64
	modified time.Time // before it was read
	sha256   string
	text     bool // it can be uploaded as text
}

// A folder is the result of a scan.
type folder struct {
	files   map[string]*file
	skipped []note // files that cannot be uploaded
	broken  []note // what could not be read: a file, or a folder with everything below it
}

// A note is a remark about a path.
type note struct{ path, text string }

// formats lists the accepted extensions. Text uses the documented route, other
// formats the route for files, which is assumed.
var formats = map[string]bool{
	".txt": true, ".md": true, ".markdown": true, ".log": true,
	".csv": false, ".json": false, ".jsonl": false, ".yaml": false, ".yml": false,
	".pdf": false, ".png": false, ".jpg": false, ".jpeg": false, ".gif": false, ".webp": false,
}

// maxText is the maximum size of a file that is uploaded as text, which is held
// in memory.
const maxText = 1 << 20

// scan hashes all files. It skips hidden files and folders, and does not follow
// symbolic links. The error is that of the folder itself.
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
		skip("is not a regular file")
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
	defer func() { _ = r.Close() }() // opened for reading only
	info, err := r.Stat()
	if err != nil {
		return false, err
	}
	f.modified = info.ModTime()
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

// hidden returns a function that reports whether a path may exist although the
// scan did not list it as a file: it was skipped, or it or one of its parents
// could not be read.
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

// maxID is the maximum length of an id derived from a path. No limit is
// documented, but ids are parts of URLs.
const maxID = 200

// entryID derives an id from a path, because ids cannot contain slashes.
// Letters, digits and - _ . are kept, and other bytes become =XX, so that
// different paths have different ids. A long id is replaced by its hash after
// ==, which occurs in no other id.
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
