package bulk

import (
	"errors"
	"iter"
	"time"
)

type input[In any] struct {
	key string
	in  In
}

// feed reads the sequence on a goroutine of its own, because reading may block,
// as with a queue, while results arrive. It reads only what it is asked for.
type feed[In any] struct {
	out   chan input[In]
	want  chan struct{}
	quit  chan struct{}
	done  chan struct{}
	asked bool

	// Set before done is closed.
	panicked any
	exited   bool
}

// sourceTime is how long the end of a bulk call waits for the code behind the
// sequence to return. Code that blocks goes on by itself until then.
const sourceTime = 50 * time.Millisecond

var errSourceExited = errors.New("the code behind the sequence called runtime.Goexit")

func (f *feed[In]) start(inputs iter.Seq2[string, In]) {
	f.out, f.want = make(chan input[In]), make(chan struct{})
	f.quit, f.done = make(chan struct{}), make(chan struct{})
	go func() {
		f.exited = true
		defer func() {
			if f.exited {
				f.panicked = recover()
			}
			close(f.done)
		}()
		f.read(inputs)
		f.exited = false
	}()
}

func (f *feed[In]) read(inputs iter.Seq2[string, In]) {
	if !f.wanted() {
		return
	}
	for key, in := range inputs {
		select {
		case f.out <- input[In]{key, in}:
		case <-f.quit:
			return
		}
		if !f.wanted() {
			return
		}
	}
}

func (f *feed[In]) wanted() bool {
	select {
	case <-f.want:
		return true
	case <-f.quit:
		return false
	}
}

// end ends the reading.
func (f *feed[In]) end() {
	if f.quit == nil {
		return
	}
	close(f.quit)
	late := time.NewTimer(sourceTime)
	defer late.Stop()
	select {
	case <-f.done:
	case <-late.C:
	}
}

// exhausted handles the end of the sequence.
func (e *engine[In, Out, Part]) exhausted() {
	if e.feed.panicked != nil {
		panic(e.feed.panicked) //nolint:forbidigo // where the caller can recover from it
	}
	if e.feed.exited {
		e.end(errSourceExited)
		return
	}
	e.progress.Complete = true
}
