package tests

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/stretchr/testify/assert"
)

// A connection that has died without a word is found by a ping and left, well before
// the attempt's time is up.
func TestHTTP2DeadConnectionsAreLeft(t *testing.T) {
	t.Parallel()
	s := newFrameServer(t, `{"id": "r1", "status": "completed"}`)
	released := make(chan struct{})
	defer close(released)
	s.fault = func(c *frameConn, _ uint32, whole bool) bool {
		if whole && s.connections.Load() == 1 {
			<-released // reads nothing and says nothing any more
			return true
		}
		return false
	}
	var mu sync.Mutex
	var attempts []error
	client := s.client(t, connic.WithTimeout(9*time.Second), connic.WithObserver(func(_ context.Context, e connic.Event) {
		if e.Kind == connic.EventAttempt {
			mu.Lock()
			defer mu.Unlock()
			attempts = append(attempts, e.Err)
		}
	}))
	_, err := client.Runs.Get(t.Context(), "r1")
	assert.NoError(t, err)
	assert.EqualValues(t, 2, s.connections.Load())
	mu.Lock()
	defer mu.Unlock()
	if assert.Len(t, attempts, 2) {
		assert.Error(t, attempts[0])
		assert.NotErrorIs(t, attempts[0], context.DeadlineExceeded, "the attempt's time ran out before the connection was left")
	}
}

// A server that grants no flow control for a body ends the attempt, and no other.
func TestHTTP2FlowControlThatStalls(t *testing.T) {
	t.Parallel()
	s := newFrameServer(t, `{"id": "r1", "entry_id": "e1", "status": "completed"}`) // which grants nothing for streams
	client := s.client(t, connic.WithEnvironment("e"), connic.WithTimeout(time.Second), connic.WithRetry(connic.RetryPolicy{MaxAttempts: 1}))
	large := strings.NewReader(strings.Repeat("x", 1<<20))
	_, err := client.Knowledge.UploadFile(t.Context(), connic.FileUpload{File: connic.ReaderAtFile("a.txt", large, large.Size())})
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorIs(t, err, connic.ErrOutcomeUnknown)
	assert.Zero(t, s.executions.Load())
	_, err = client.Runs.Get(t.Context(), "r1")
	assert.NoError(t, err)
	assert.Zero(t, client.RateLimit().InFlight)
}
