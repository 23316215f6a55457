//go:build unix

package pack

import (
	"io/fs"
	"syscall"
)

// nonblock makes opening a named pipe return at once.
const nonblock = syscall.O_NONBLOCK

// linked reports whether a file is known to have several names.
func linked(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Nlink > 1
}
