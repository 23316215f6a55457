// Package tests holds the tests that need a test library: the shape of every
// request and answer, and the search for leaks. It is a module of its own, so
// that whoever imports connic does not find its test libraries among the
// requirements.
package tests
