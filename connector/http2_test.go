//go:build go1.26

package connector_test

// httpVersions are the versions of HTTP that run in a bubble of virtual time.
var httpVersions = []int{1, 2}
