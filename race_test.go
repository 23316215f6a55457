//go:build race

package connic_test

// The race detector makes the simulations ten times slower, and it needs few of
// them.
const raceDetector = true
