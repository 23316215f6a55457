package progress

import (
	"context"
	"time"

	"github.com/connic-go/connic"
)

// Observe is a [connic.Observer] that shows waits of a second or more, so that
// a program that waits for the quota does not seem to hang.
func (l *Line) Observe(_ context.Context, e connic.Event) {
	wait := e.Wait.Round(time.Second)
	switch {
	case wait < time.Second:
	case e.Kind == connic.EventQueued:
		l.Show("%s waits %s for its turn (%s)", e.Op, wait, e.Reason)
	case e.Kind == connic.EventRetry:
		l.Show("%s is tried again in %s (%s)", e.Op, wait, e.Reason)
	}
}
