//go:build !unix

package pack

import "io/fs"

const nonblock = 0

// linked reports whether a file is known to have several names. Here that is
// known of none.
func linked(fs.FileInfo) bool { return false }
