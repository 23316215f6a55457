package pack

import (
	"errors"
	"io"
	"io/fs"
)

// ErrDirectory is returned for a directory in place of a file.
var ErrDirectory = errors.New("is a directory")

// SizeOf returns the number of bytes left to read from r, or -1 if it is not
// known.
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

// Close closes r if it is an [io.Closer].
func Close(r io.Reader) {
	if c, ok := r.(io.Closer); ok {
		_ = c.Close()
	}
}
