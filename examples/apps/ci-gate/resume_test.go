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

// A run whose trigger got no response before Ctrl-C is searched for, if nobody can
// resume: it is cancelled too.
func TestInterruptedWithoutResponse(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		h.fake.Fault(connictest.Fault{Op: "agents.trigger", After: true, Drop: true, Times: 2, Latency: 2900 * time.Millisecond})
		h.fake.Fault(connictest.Fault{Op: "runs.list", Latency: time.Second, Times: -1})
		ctx := interruptedAfter(t, 3*time.Second)
		code := h.check(ctx, cases(t, 3, ""), options{})
		h.expect(code, exitInterrupted, "the run was cancelled", "0 of 3 cases passed")
		h.executed("runs.cancel", 3)
	})
}

// A wait that fails leaves the runs to the next process.
func TestRevokedKeyAndState(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	inBubble(t, func(t *testing.T, h *fixture) {
		suite := cases(t, 3, "")
		key := h.fake.Key()
		good := h.client
		h.client = h.fake.ClientWithKey(key, connic.WithTransport(tellFlight))
		time.AfterFunc(time.Second, func() { h.fake.RevokeKey(key) })
		h.expect(h.check(t.Context(), suite, options{state: state}), exitIncomplete, "401 Unauthorized", "3 without a result")
		_ = h.client.Close()
		h.client = good
		h.expect(h.check(t.Context(), suite, options{state: state}), exitPassed, "3 of 3 cases passed")
		h.executed("agents.trigger", 3)
	})
}

// A file that an earlier version has written is refused: it says nothing of what
// TriggerAll asks for, and its cases would be triggered again.
func TestStateOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	line := `{"key":"case 0","record":{"digest":"9f2c61d09f2c61d0","began":"2026-10-01T00:00:00Z","run_id":"run-1"}}`
	if err := os.WriteFile(state, []byte(`{"connic_journal":1}`+"\n"+line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	inBubble(t, func(t *testing.T, h *fixture) {
		h.expect(h.check(t.Context(), cases(t, 3, ""), options{state: state}), exitUsage)
		h.executed("agents.trigger", 0)
		if !strings.Contains(h.said.String(), "an earlier version of ci-gate") {
			t.Errorf("it says %q", h.said.String())
		}
		if raw, err := os.ReadFile(state); err != nil || !strings.Contains(string(raw), "run-1") {
			t.Errorf("the file has changed: %v\n%s", err, raw)
		}
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
		records := map[string]string{"": `{"version":1,"op":"agents.trigger_all","target":"support"}`}
		for _, c := range suite.Cases[:2] { // the second request never left
			records[c.key] = fmt.Sprintf(`{"state":"sending","sent":%q}`, time.Now().Format(time.RFC3339))
		}
		if err := j.Put(t.Context(), records); err != nil {
			t.Fatal(err)
		}
		if _, err := h.client.Agents.Trigger(t.Context(), "support", suite.Cases[0].request); err != nil {
			t.Fatal(err)
		}
		if err := j.finish(false); err != nil {
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
