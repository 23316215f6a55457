package tests

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/stretchr/testify/assert"
	"golang.org/x/net/http2"
)

// counting is a Limiter that admits everybody and counts what was sent.
type counting struct{ sent, unsent atomic.Int32 }

func (*counting) Acquire(ctx context.Context, _ connic.Admission) (connic.Permit, error) {
	return connic.Permit{}, ctx.Err()
}

func (l *counting) Release(_ connic.Permit, o connic.Outcome) {
	if o.Kind == connic.OutcomeNotSent {
		l.unsent.Add(1)
	} else {
		l.sent.Add(1)
	}
}

func (*counting) Status() connic.RateLimitStatus { return connic.RateLimitStatus{} }

// notExecuted names the faults after which it is known that no stream was executed:
// GOAWAY names the last one that was, or may be (RFC 9113, 6.8).
const notExecuted = "none"

// frameFaults are the ways in which a server ends a stream or a connection.
func frameFaults() map[string]func(c *frameConn, stream uint32) {
	faults := map[string]func(c *frameConn, stream uint32){
		"cut": func(c *frameConn, _ uint32) { _ = c.Close() },
		"half an answer, cut": func(c *frameConn, stream uint32) {
			_ = c.answer(stream, "200", "{", false)
			_ = c.Close()
		},
		"half an answer, reset": func(c *frameConn, stream uint32) {
			_ = c.answer(stream, "200", "{", false)
			_ = c.WriteRSTStream(stream, http2.ErrCodeInternal)
		},
		"informed, refused": func(c *frameConn, stream uint32) {
			_ = c.inform(stream)
			_ = c.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
		},
		"informed, goaway": func(c *frameConn, stream uint32) {
			_ = c.inform(stream)
			_ = c.WriteGoAway(0, http2.ErrCodeNo, nil)
			_ = c.Close()
		},
		"a frame that nobody may send": func(c *frameConn, stream uint32) { _ = c.WriteRawFrame(http2.FrameData, 0, 0, []byte("x")) },
	}
	for code := http2.ErrCodeNo; code <= http2.ErrCodeHTTP11Required; code++ {
		faults["reset "+code.String()] = func(c *frameConn, stream uint32) { _ = c.WriteRSTStream(stream, code) }
		for _, last := range []string{notExecuted, "this"} {
			for _, then := range []string{"cut", "open"} {
				if last == "this" && then == "open" {
					continue // the answer may still come
				}
				faults[fmt.Sprintf("goaway %v, last %s, %s", code, last, then)] = func(c *frameConn, stream uint32) {
					id := stream
					if last == notExecuted {
						id = 0
					}
					_ = c.WriteGoAway(id, code, nil)
					if then == "cut" {
						_ = c.Close()
					}
				}
			}
		}
	}
	return faults
}

// Over HTTP/2, net/http repeats requests by itself. None of that may get past the
// limiter or the retry table.
func TestHTTP2FaultMatrix(t *testing.T) {
	t.Parallel()
	const run = `{"id": "r1", "run_id": "r1", "status": "completed", "agent_name": "a", "results": []}`
	operations := map[string]struct {
		unsafe bool
		call   func(ctx context.Context, c *connic.Client) error
	}{
		"agents.trigger": {true, func(ctx context.Context, c *connic.Client) error {
			_, err := c.Agents.Trigger(ctx, "a", connic.TriggerRequest{Message: "m"})
			return err
		}},
		"runs.rerun": {true, func(ctx context.Context, c *connic.Client) error {
			_, err := c.Runs.Rerun(ctx, "r1")
			return err
		}},
		"runs.get": {false, func(ctx context.Context, c *connic.Client) error {
			_, err := c.Runs.Get(ctx, "r1")
			return err
		}},
		"runs.delete": {false, func(ctx context.Context, c *connic.Client) error { return c.Runs.Delete(ctx, "r1") }},
		"knowledge.query": {false, func(ctx context.Context, c *connic.Client) error {
			_, err := c.Knowledge.Query(ctx, connic.KnowledgeQuery{EnvironmentID: "e", Query: "q"})
			return err
		}},
	}
	for name, fault := range frameFaults() {
		for op, operation := range operations {
			// Without a body, that of NO_ERROR is known only from the second request on: see
			// the next test.
			known := strings.Contains(name, "last "+notExecuted) && (op != "runs.rerun" || !strings.Contains(name, "NO_ERROR"))
			for _, after := range []bool{false, true} {
				if known && after {
					continue // it was executed
				}
				for _, always := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/%s/after=%v/always=%v", name, op, after, always), func(t *testing.T) {
						t.Parallel()
						s := newFrameServer(t, run)
						var faults atomic.Int32
						type place struct {
							conn   *frameConn
							stream uint32
						}
						var refused sync.Map // places of requests that were ended before they were whole
						s.fault = func(c *frameConn, stream uint32, whole bool) bool {
							if _, over := refused.Load(place{c, stream}); over && whole {
								return true
							}
							if whole != after || !always && faults.Load() > 0 {
								return false
							}
							faults.Add(1)
							if !whole {
								refused.Store(place{c, stream}, true)
							}
							fault(c, stream)
							return true
						}
						limiter := new(counting)
						c := s.client(t, connic.WithLimiter(limiter), connic.WithTimeout(5*time.Second))
						ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
						defer cancel()
						err := operation.call(ctx, c)

						requests := s.requests.Load()
						assert.Equal(t, limiter.sent.Load(), requests, "requests that the limiter saw, and the server: %v", err)
						switch {
						case operation.unsafe && !known:
							assert.Equal(t, int32(1), requests)
							assert.ErrorIs(t, err, connic.ErrOutcomeUnknown)
						case always:
							assert.Error(t, err)
							assert.LessOrEqual(t, requests, int32(4))
							assert.NotErrorIs(t, err, connic.ErrOutcomeUnknown)
						default:
							assert.NoError(t, err)
							assert.Equal(t, int32(2), requests)
						}
						assert.NotErrorIs(t, err, context.DeadlineExceeded)
					})
				}
			}
		}
	}
}

// A service that has spoken HTTP/2 before says with GOAWAY what it has not executed,
// also of a request without a body, and of one on a connection that was idle.
func TestHTTP2GoAwayIsNoUnknownOutcome(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(ctx context.Context, c *connic.Client) error{
		"with a body": func(ctx context.Context, c *connic.Client) error {
			_, err := c.Agents.Trigger(ctx, "a", connic.TriggerRequest{Message: "m"})
			return err
		},
		"without a body": func(ctx context.Context, c *connic.Client) error {
			_, err := c.Runs.Rerun(ctx, "r1")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newFrameServer(t, `{"id": "r1", "run_id": "r1", "status": "completed"}`)
			var executed atomic.Int32
			s.fault = func(c *frameConn, stream uint32, whole bool) bool {
				if stream > 1 { // what was executed is the first stream of each connection
					_ = c.WriteGoAway(1, http2.ErrCodeNo, nil)
					_ = c.Close()
					return true
				}
				if whole {
					executed.Add(1)
				}
				return false
			}
			c := s.client(t, connic.WithoutRateLimit())
			for range 3 {
				assert.NoError(t, call(t.Context(), c))
			}
			assert.EqualValues(t, 3, executed.Load())
		})
	}
}
