package pack

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"
)

// A folder is an open folder of a project. It opens what is in that folder, and
// does not follow a symbolic link that was put there in the meantime.
type folder interface {
	list() ([]fs.DirEntry, error)
	// enter opens a subfolder.
	enter(name string) (folder, error)
	// open opens a file in the folder. It opens only regular files, and does
	// not wait for the writer of a named pipe.
	open(name string) (fs.File, fs.FileInfo, error)
	close()
}

var (
	errNotFolder  = changedError("is no longer a folder")
	errNotRegular = changedError("is no longer a regular file")
)

// open opens the root of a project.
//
// A folder on disk is walked through its open folders, each compared with what
// its parent reports about it, so it does not matter if the path changes in the
// meantime. [os.DirFS] is such a folder; on its own it would follow links.
func openProject(fsys fs.FS) (folder, error) {
	if dir := reflect.ValueOf(fsys); dir.Type() == dirFS {
		root, err := os.OpenRoot(dir.String())
		if err != nil {
			return nil, err
		}
		return diskFolder{root}, nil
	}
	return &fsFolder{fsys: fsys, path: "."}, nil
}

var dirFS = reflect.TypeOf(os.DirFS("."))

// A diskFolder is a folder on disk.
type diskFolder struct{ root *os.Root }

func (d diskFolder) close() { _ = d.root.Close() }

func (d diskFolder) list() ([]fs.DirEntry, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return f.ReadDir(-1)
}

func (d diskFolder) enter(name string) (folder, error) {
	found, err := d.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !found.IsDir() {
		return nil, errNotFolder
	}
	inner, err := d.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	opened, err := inner.Stat(".")
	if err == nil && !os.SameFile(found, opened) {
		err = errNotFolder
	}
	if err != nil {
		_ = inner.Close()
		return nil, err
	}
	return diskFolder{inner}, nil
}

func (d diskFolder) open(name string) (fs.File, fs.FileInfo, error) {
	found, err := d.root.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !found.Mode().IsRegular() {
		return nil, nil, errNotRegular
	}
	f, err := d.root.OpenFile(name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || !os.SameFile(found, info)) {
		err = errNotRegular
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// An fsFolder is a folder of any other file system. If the file system supports
// links, every segment of a file's path is checked again after the file was
// opened.
type fsFolder struct {
	fsys fs.FS
	path string
}

func (*fsFolder) close() {}

func (f *fsFolder) list() ([]fs.DirEntry, error) { return fs.ReadDir(f.fsys, f.path) }

func (f *fsFolder) enter(name string) (folder, error) {
	return &fsFolder{f.fsys, path.Join(f.path, name)}, nil
}

func (f *fsFolder) open(name string) (fs.File, fs.FileInfo, error) {
	name = path.Join(f.path, name)
	links, known := f.fsys.(fs.ReadLinkFS)
	if known {
		// Opening anything but a regular file may block.
		if info, err := links.Lstat(name); err != nil {
			return nil, nil, err
		} else if !info.Mode().IsRegular() {
			return nil, nil, errNotRegular
		}
	}
	file, err := f.fsys.Open(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err == nil && known {
		err = verifyPath(links, name, info)
	}
	if err != nil {
		_ = file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

// verifyPath returns an error unless an opened file is the one with the given
// name, and not the target of a link.
func verifyPath(links fs.ReadLinkFS, name string, opened fs.FileInfo) error {
	for i, c := range name {
		if c != '/' {
			continue
		}
		if info, err := links.Lstat(name[:i]); err != nil {
			return err
		} else if !info.IsDir() {
			return errNotRegular
		}
	}
	info, err := links.Lstat(name)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errNotRegular
	case os.SameFile(info, info) && !os.SameFile(info, opened): // false for a FileInfo that is not from package os
		return errNotRegular
	}
	return nil
}

// openIn opens a file by its path below a folder.
func openIn(root folder, name string) (fs.File, fs.FileInfo, error) {
	at := root
	for {
		first, rest, nested := strings.Cut(name, "/")
		if !nested {
			file, info, err := at.open(first)
			if at != root {
				at.close()
			}
			return file, info, err
		}
		inner, err := at.enter(first)
		if at != root {
			at.close()
		}
		if err != nil {
			return nil, nil, err
		}
		at, name = inner, rest
	}
}

// OpenFile opens a regular file on disk. It follows symbolic links, and does
// not wait for the writer of a named pipe.
func OpenFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|nonblock, 0) //nolint:gosec // the caller names the file that is to be sent
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// OpenFSFile opens a regular file of a file system. It does not open anything
// that is known to be something else, since that may block. A file on disk may
// become a named pipe in between, so a file in an [os.DirFS] is opened without
// blocking.
func OpenFSFile(fsys fs.FS, name string) (io.Reader, error) {
	if dir := reflect.ValueOf(fsys); fsys != nil && dir.Type() == dirFS && dir.String() != "" && fs.ValidPath(name) {
		f, err := OpenFile(filepath.Join(dir.String(), filepath.FromSlash(name)))
		if err != nil {
			var named *fs.PathError
			if errors.As(err, &named) {
				named.Path = name
			}
			return nil, err
		}
		return f, nil
	}
	info, err := fs.Stat(fsys, name)
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	if err != nil {
		return nil, err
	}
	return fsys.Open(name)
}
