package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// Ctrl-C, and on from there: no run is started twice, none is lost.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{0, time.Millisecond, 3 * time.Second, 6 * time.Second, 61 * time.Second, 66 * time.Second} {
		t.Run(after.String(), func(t *testing.T) {
			t.Parallel()
			state := filepath.Join(t.TempDir(), "state")
			inBubble(t, func(t *testing.T, h *fixture) {
				h.fake.Fault(connictest.Fault{Op: "agents.trigger", Latency: 100 * time.Millisecond, Times: -1})
				suite := cases(t, 100, "")
				ctx := interruptedAfter(t, after)
				code := h.check(ctx, suite, options{state: state})
				h.expect(code, exitInterrupted, "The gate ended early")
				h.executed("runs.cancel", 0)
				if !strings.Contains(h.said.String(), "start again with -state") {
					t.Error("it does not say how to go on")
				}
				code = h.check(t.Context(), suite, options{state: state})
				h.expect(code, exitPassed, "100 of 100 cases passed")
				h.executed("agents.trigger", 100)
				if _, err := os.Stat(state); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("the state is still there: %v", err)
				}
			})
		})
	}
}

// Only a 429 is a refusal: a trigger or an evaluation whose response is another
// error may have been executed, also if the gate is interrupted before it is read.
func TestInterruptedByAnError(t *testing.T) {
	t.Parallel()
	for _, fault := range []connictest.Fault{
		{Op: "agents.trigger", After: true, Status: 502},
		{Op: "judges.evaluate", After: true, Status: 504},
	} {
		for _, answered := range []bool{true, false} {
			t.Run(fmt.Sprint(fault.Op, answered), func(t *testing.T) {
				t.Parallel()
				state := filepath.Join(t.TempDir(), "state")
				inBubble(t, func(t *testing.T, h *fixture) {
					h.judge("quality")
					ctx, interrupt := context.WithCancel(t.Context())
					h.client = h.fake.Client(connic.WithTransport(func(next http.RoundTripper) http.RoundTripper {
						return tellFlight(transport(func(req *http.Request) (*http.Response, error) {
							resp, err := next.RoundTrip(req)
							if err != nil || resp.StatusCode != fault.Status {
								return resp, err
							}
							if !answered {
								resp.Body.Close()
								interrupt()
								return nil, io.ErrUnexpectedEOF
							}
							resp.Body = &interrupting{resp.Body, interrupt}
							return resp, nil
						}))
					}))
					h.fake.Fault(fault)
					suite := parse(t, "judge: {name: quality, min: 0.8}\ncases: [{name: good, message: good}]")
					h.expect(h.check(ctx, suite, options{state: state}), exitInterrupted)
					h.expect(h.check(t.Context(), suite, options{state: state}), exitPassed, "1 of 1 cases passed")
					h.executed("agents.trigger", 1)
					h.executed("judges.evaluate", 1)
				})
			})
		}
	}
}

// interrupting is a body that interrupts the gate when it is read.
type interrupting struct {
	io.ReadCloser
	interrupt func()
}

func (b *interrupting) Read(p []byte) (int, error) {
	b.interrupt()
	<-time.After(time.Second)
	return b.ReadCloser.Read(p)
}

// A request that could not be connected is not sent after the interruption, and
// known not to have been executed.
func TestInterruptedBetweenAttempts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		call := graced(ctx)
		defer call.done()
		sent := 0
		wire := tellFlight(transport(func(*http.Request) (*http.Response, error) {
			sent++
			interrupt()
			return nil, errors.New("no connection")
		}))
		for range 2 {
			req, err := http.NewRequestWithContext(call, http.MethodPost, "http://localhost", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			if resp, err := wire.RoundTrip(req); err == nil {
				resp.Body.Close()
			}
		}
		if sent != 1 || !call.gaveUp() || call.Err() == nil {
			t.Errorf("sent %d times, given up: %t, %v", sent, call.gaveUp(), call.Err())
		}
	})
}

// Without a state nobody could collect what goes on, so it is cancelled.
func TestInterruptedWithoutState(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		ctx := interruptedAfter(t, 3*time.Second)
		code := h.check(ctx, cases(t, 20, ""), options{})
		h.expect(code, exitInterrupted, "the run was cancelled", "0 of 20 cases passed")
		h.executed("runs.cancel", 20)
	})
}

// The process dies between the request and its answer.
func TestCrashed(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	inBubble(t, func(t *testing.T, h *fixture) {
		suite := cases(t, 3, "")
		j, err := openJournal(state)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range suite.Cases[:2] { // the second request never left
			if err := j.note(c, record{Began: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := h.client.Agents.Trigger(t.Context(), "support", suite.Cases[0].request); err != nil {
			t.Fatal(err)
		}
		if err := j.close(false); err != nil {
			t.Fatal(err)
		}
		file, err := os.OpenFile(state, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.WriteString(file, `{"crc": "half a li`)
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
		code := h.check(t.Context(), suite, options{state: state})
		h.expect(code, exitIncomplete, "2 of 3 cases passed, 1 without a result", "one may have been started")
		h.executed("agents.trigger", 2)

		// It stays that way until somebody has looked: starting again asks for nothing.
		code = h.check(t.Context(), suite, options{state: state})
		h.expect(code, exitIncomplete, "2 of 3 cases passed, 1 without a result")
		h.executed("agents.trigger", 2)

		h.fake.Fault(connictest.Fault{Op: "runs.list", Status: 403, Times: -1})
		h.check(t.Context(), suite, options{state: state, again: true})
		h.executed("agents.trigger", 2) // who has not looked does not know
		h.fake.ClearFaults()

		code = h.check(t.Context(), suite, options{state: state, again: true})
		h.expect(code, exitPassed, "3 of 3 cases passed")
		h.executed("agents.trigger", 3)
	})
}

// A case that has changed is another one.
func TestChangedCase(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	inBubble(t, func(t *testing.T, h *fixture) {
		ctx := interruptedAfter(t, 3*time.Second)
		h.expect(h.check(ctx, parse(t, "cases: [{name: a, message: x}]"), options{state: state}), exitInterrupted, "the run is still in progress")
		code := h.check(t.Context(), parse(t, "cases: [{name: a, message: y}]"), options{state: state})
		h.expect(code, exitPassed)
		h.executed("agents.trigger", 2)
	})
}
