package pack

import (
	"context"
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

// Within returns the results of f, which opens or reads a file, or the error of
// ctx if it ends first: a file may hang. F then goes on, and what it returns is
// lost. If f panics, so does Within; if it calls runtime.Goexit, Within fails.
func Within[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type outcome struct {
		value    T
		err      error
		panicked any
	}
	var none T
	if ctx == nil || ctx.Done() == nil {
		return f()
	}
	if err := ctx.Err(); err != nil {
		return none, err
	}
	done := make(chan outcome, 1)
	go func() {
		o := outcome{err: errors.New("the code that reads it called runtime.Goexit")}
		defer func() {
			o.panicked = recover()
			done <- o
		}()
		o.value, o.err = f()
	}()
	select {
	case o := <-done:
		if o.panicked != nil {
			panic(o.panicked) //nolint:forbidigo // where the caller can recover from it
		}
		return o.value, o.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// Close closes r if it is an [io.Closer].
func Close(r io.Reader) {
	if c, ok := r.(io.Closer); ok {
		_ = c.Close()
	}
}
