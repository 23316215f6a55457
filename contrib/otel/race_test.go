//go:build race

package connicotel

const raceDetector = true
