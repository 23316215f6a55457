// Package journal keeps records by key in a file of JSON lines that survives
// the death of the process at any moment.
package journal

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// A File is a journal in a file. Its first line names the format and its
// version. Each further line is a record, and the last line of a key counts.
//
// Beside the file there is another one with the suffix .lock, which the process
// that has the journal open holds locked.
type File struct {
	Path  string
	InUse error // wrapped if another process has the journal open

	lock *os.File
	file *os.File
	real string // the path without symbolic links
	size int64  // of what is known to be good
	// broken is why nothing more can be written: what the disk holds is not
	// known after a failed sync.
	broken error

	mu    sync.Mutex
	lines map[id]place
}

// id identifies a key, in less memory than the key takes.
type id [16]byte

func idOf(key string) id {
	sum := sha256.Sum256([]byte(key))
	return id(sum[:])
}

// place is where the last line of a key is.
type place struct {
	at     int64
	length int32
}

// Open opens the file and reads it. It creates a file that does not exist.
func (f *File) Open(context.Context) error {
	if f.lock != nil {
		return fmt.Errorf("%s: %w: this process has it open", f.Path, f.InUse)
	}
	err := f.open()
	if err != nil {
		_ = f.Close()
	}
	return err
}

func (f *File) open() (err error) {
	f.real, f.broken = f.Path, nil
	if real, err := filepath.EvalSymlinks(f.Path); err == nil {
		f.real = real
	}
	if f.lock, err = lock(f.real + ".lock"); err != nil {
		if errors.Is(err, errLocked) {
			return fmt.Errorf("%s: %w", f.Path, f.InUse)
		}
		return err
	}
	if f.file, err = os.OpenFile(f.real, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	if info, err := f.file.Stat(); err != nil || !info.Mode().IsRegular() {
		return cmp.Or(err, fmt.Errorf("%s is not a regular file", f.Path))
	}
	n, err := f.read()
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", f.Path, err)
	case f.size == 0:
		return f.begin()
	case n > 2*len(f.lines)+slack:
		return f.compact()
	}
	return nil
}

// slack is how many obsolete lines are not worth a new file.
const slack = 256

// read reads the file up to its first incomplete line, and cuts it off there. It
// returns the number of lines.
func (f *File) read() (n int, err error) {
	f.lines, f.size = make(map[id]place), 0
	r := bufio.NewReaderSize(f.file, 64<<10)
	head, err := r.ReadBytes('\n')
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return 0, err
	case err != nil && bytes.HasPrefix([]byte(header), head): // it ended while the file was created
		return 0, nil
	}
	if err := checkHeader(head); err != nil {
		return 0, err
	}
	f.size = int64(len(head))
	for torn := int64(0); ; {
		line, err := r.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if err != nil { // no line, or the beginning of one
			return n, f.file.Truncate(f.size)
		}
		key, _, ok := parse(line)
		switch {
		case !ok && torn == 0:
			torn = f.size
		case ok && torn > 0:
			return 0, fmt.Errorf("the line at byte %d is damaged, and others follow it: remove it, or restore the file", torn)
		case ok:
			f.lines[idOf(key)] = place{f.size, int32(len(line))}
			f.size += int64(len(line))
			n++
		}
	}
}

// begin writes the first line.
func (f *File) begin() error {
	if err := f.append([]byte(header)); err != nil {
		return err
	}
	syncFolder(f.real)
	return nil
}

// compact replaces the file with one that has a line for each key.
func (f *File) compact() (err error) {
	part := f.real + ".part"
	next, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // beside the file that the caller names
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(next, 64<<10)
	_, err = w.WriteString(header)
	places := make([]place, 0, len(f.lines))
	for _, p := range f.lines {
		places = append(places, p)
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.at, b.at) })
	for _, p := range places {
		if err == nil {
			_, err = io.Copy(w, io.NewSectionReader(f.file, p.at, int64(p.length)))
		}
	}
	// Not every system can rename an open file, or replace one.
	err = errors.Join(err, w.Flush(), next.Sync(), next.Close(), f.file.Close())
	f.file = nil
	if err == nil {
		err = os.Rename(part, f.real)
	} else {
		err = errors.Join(err, os.Remove(part))
	}
	syncFolder(f.real)
	if err != nil {
		return err
	}
	if f.file, err = os.OpenFile(f.real, os.O_RDWR, 0o600); err == nil {
		_, err = f.read()
	}
	return err
}

// syncFolder makes the name of a file durable. Not every system can.
func syncFolder(path string) {
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		_ = dir.Sync()
		_ = dir.Close()
	}
}

// Get returns the record of a key, or "" if there is none.
func (f *File) Get(_ context.Context, key string) (record string, err error) {
	f.mu.Lock()
	p, ok := f.lines[idOf(key)]
	f.mu.Unlock()
	if !ok {
		return "", nil
	}
	_, record, err = f.at(p)
	return record, err
}

func (f *File) at(p place) (key, record string, err error) {
	if f.file == nil {
		return "", "", fs.ErrClosed
	}
	line := make([]byte, p.length)
	if _, err := f.file.ReadAt(line, p.at); err != nil {
		return "", "", err
	}
	key, record, ok := parse(line)
	if !ok {
		return "", "", fmt.Errorf("%s: the line at byte %d has changed", f.Path, p.at)
	}
	return key, record, nil
}

// All calls f for each key with its record, in the order in which they were last
// written, until it returns false.
func (f *File) All(ctx context.Context, yield func(key, record string) bool) error {
	f.mu.Lock()
	places := make([]place, 0, len(f.lines))
	for _, p := range f.lines {
		places = append(places, p)
	}
	f.mu.Unlock()
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.at, b.at) })
	for _, p := range places {
		if err := ctx.Err(); err != nil {
			return err
		}
		key, record, err := f.at(p)
		if err != nil {
			return err
		}
		if !yield(key, record) {
			return nil
		}
	}
	return nil
}

// Put writes the records of some keys and returns once they are on disk. It is
// not called while another call of it is in progress.
func (f *File) Put(_ context.Context, records map[string]string) error {
	var block []byte
	places := make(map[id]place, len(records))
	for key, record := range records {
		from := len(block)
		var err error
		if block, err = appendLine(block, key, record); err != nil {
			return err
		}
		places[idOf(key)] = place{f.size + int64(from), int32(len(block) - from)}
	}
	if err := f.append(block); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.Copy(f.lines, places)
	return nil
}

// append writes a block at the end of the file. If that fails, the file ends
// where it did before.
func (f *File) append(block []byte) error {
	switch {
	case f.file == nil:
		return fs.ErrClosed
	case f.broken != nil:
		return f.broken
	}
	if _, err := f.file.WriteAt(block, f.size); err != nil {
		if failed := f.file.Truncate(f.size); failed != nil {
			f.broken = errors.Join(err, failed)
		}
		return err
	}
	if err := f.file.Sync(); err != nil {
		f.broken = err
		return err
	}
	f.size += int64(len(block))
	return nil
}

// Close closes the file and lets other processes open it.
func (f *File) Close() error {
	var errs []error
	for _, file := range []*os.File{f.file, f.lock} {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	f.file, f.lock = nil, nil
	return errors.Join(errs...)
}
