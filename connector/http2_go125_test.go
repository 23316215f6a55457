//go:build !go1.26

package connector_test

// The HTTP/2 server of net/http in Go 1.25 uses channels of one bubble of virtual
// time in another, which is fatal.
var httpVersions = []int{1}
