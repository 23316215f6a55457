package pack

import (
	"errors"
	"io"
	"io/fs"
)

// ErrDirectory is a directory that was given as a file.
var ErrDirectory = errors.New("is a directory")

// SizeOf returns how much there is to read of r, -1 if that is not known.
func SizeOf(r io.Reader) (int64, error) {
	switch r := r.(type) {
	case interface{ Stat() (fs.FileInfo, error) }:
		info, err := r.Stat()
		switch {
		case err != nil:
			return 0, err
		case info.IsDir():
			return 0, ErrDirectory
		case info.Mode().IsRegular():
			return info.Size(), nil
		}
	case interface{ Len() int }:
		return int64(r.Len()), nil
	case interface{ Size() int64 }:
		return r.Size(), nil
	}
	return -1, nil
}

// Close closes r if it can be closed.
func Close(r io.Reader) {
	if c, ok := r.(io.Closer); ok {
		_ = c.Close()
	}
}
