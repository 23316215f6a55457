//go:build race

package connic_test

// The race detector makes the simulations ten times slower, and needs only a
// few of them.
const raceDetector = true
