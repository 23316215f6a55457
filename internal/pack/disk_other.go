//go:build !unix

package pack

import "io/fs"

const nonblock = 0

// linked reports whether a file is known to have several names. On this system
// it never is.
func linked(fs.FileInfo) bool { return false }
