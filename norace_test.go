//go:build !race

package connic_test

const raceDetector = false
