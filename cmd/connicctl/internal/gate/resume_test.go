package gate

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

	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/connic-go/connic/connictest"
)

// Ctrl-C, and on from there: no run is started twice, none is lost.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{0, time.Millisecond, 3 * time.Second, 6 * time.Second, 61 * time.Second, 66 * time.Second} {
		t.Run(after.String(), func(t *testing.T) {
			t.Parallel()
			state := t.TempDir()
			inBubble(t, func(t *testing.T, h *fixture) {
				h.fake.Fault(connictest.Fault{Op: "agents.trigger", Latency: 100 * time.Millisecond, Times: -1})
				suite := cases(t, 100, "")
				ctx := interruptedAfter(t, after)
				code := h.gate(ctx, suite, "--journal", state)
				h.expect(code, cli.ExitInterrupted, "ended early")
				h.executed("runs.cancel", 0)
				if !strings.Contains(h.Err, "the same command line resumes") {
					t.Error("it does not say how to go on")
				}
				code = h.gate(t.Context(), suite, "--journal", state)
				h.expect(code, cli.ExitDone, "100 of 100 cases passed")
				h.executed("agents.trigger", 100)
				if files, err := filepath.Glob(filepath.Join(state, "*.jsonl")); err != nil || len(files) > 0 {
					t.Errorf("the journal is still there: %v, %v", files, err)
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
				state := t.TempDir()
				inBubble(t, func(t *testing.T, h *fixture) {
					h.judge("quality")
					ctx, interrupt := context.WithCancel(t.Context())
					next := h.p.Transport
					h.p.Transport = transport(func(req *http.Request) (*http.Response, error) {
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
					})
					h.fake.Fault(fault)
					suite := parse(t, "judge: {name: quality, min: 0.8}\ncases: [{name: good, message: good}]")
					h.expect(h.gate(ctx, suite, "--journal", state), cli.ExitInterrupted)
					h.expect(h.gate(t.Context(), suite, "--journal", state), cli.ExitDone, "1 of 1 cases passed")
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
		defer call.Stop()
		sent := 0
		wire := tellBegin(transport(func(*http.Request) (*http.Response, error) {
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
		if sent != 1 || !call.unsent.Load() || call.Err() == nil {
			t.Errorf("sent %d times, given up: %t, %v", sent, call.unsent.Load(), call.Err())
		}
	})
}

// Without a state nobody could collect what goes on, so it is cancelled.
func TestInterruptedWithoutState(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, h *fixture) {
		ctx := interruptedAfter(t, 3*time.Second)
		code := h.gate(ctx, cases(t, 20, ""))
		h.expect(code, cli.ExitInterrupted, "the run was cancelled", "0 of 20 cases passed")
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
		code := h.gate(ctx, cases(t, 3, ""))
		h.expect(code, cli.ExitInterrupted, "the run was cancelled", "0 of 3 cases passed")
		h.executed("runs.cancel", 3)
	})
}

// A wait that fails leaves the runs to the next process.
func TestRevokedKeyAndState(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	inBubble(t, func(t *testing.T, h *fixture) {
		suite := cases(t, 3, "")
		key := h.fake.Key()
		good := h.p.Env["CONNIC_API_KEY"]
		h.p.Env["CONNIC_API_KEY"] = string(key)
		time.AfterFunc(time.Second, func() { h.fake.RevokeKey(key) })
		h.expect(h.gate(t.Context(), suite, "--journal", state), cli.ExitRefused, "401 Unauthorized", "3 without a result")
		h.p.Env["CONNIC_API_KEY"] = good
		h.expect(h.gate(t.Context(), suite, "--journal", state), cli.ExitDone, "3 of 3 cases passed")
		h.executed("agents.trigger", 3)
	})
}

// The process dies between the request and its answer.
func TestCrashed(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	inBubble(t, func(t *testing.T, h *fixture) {
		suite := cases(t, 3, "")
		parsed, err := parseSuite([]byte(suite), false, "")
		if err != nil {
			t.Fatal(err)
		}
		file := h.journal(suite, state)
		j, err := openJournal(file)
		if err != nil {
			t.Fatal(err)
		}
		records := map[string]string{"": `{"version":1,"op":"agents.trigger_all","target":"support"}`}
		for _, c := range parsed.Cases[:2] { // the second request never left
			records[c.key] = fmt.Sprintf(`{"state":"sending","sent":%q}`, time.Now().Format(time.RFC3339))
		}
		if err := j.Put(t.Context(), records); err != nil {
			t.Fatal(err)
		}
		if _, err := h.client.Agents.Trigger(t.Context(), "support", parsed.Cases[0].request); err != nil {
			t.Fatal(err)
		}
		if err := j.finish(false); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.WriteString(f, `{"crc": "half a li`)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		code := h.gate(t.Context(), suite, "--journal", state)
		h.expect(code, cli.ExitUnknown, "2 of 3 cases passed, 1 without a result", "one may have been started", "with --resend-unknown")
		h.executed("agents.trigger", 2)

		// It stays that way until somebody has looked: starting again asks for nothing.
		code = h.gate(t.Context(), suite, "--journal", state)
		h.expect(code, cli.ExitUnknown, "2 of 3 cases passed, 1 without a result")
		h.executed("agents.trigger", 2)

		h.fake.Fault(connictest.Fault{Op: "runs.list", Status: 403, Times: -1})
		h.gate(t.Context(), suite, "--journal", state, "--resend-unknown")
		h.executed("agents.trigger", 2) // who has not looked does not know
		h.fake.ClearFaults()

		code = h.gate(t.Context(), suite, "--journal", state, "--resend-unknown")
		h.expect(code, cli.ExitDone, "3 of 3 cases passed")
		h.executed("agents.trigger", 3)
	})
}

// A case that has changed is another one.
func TestChangedCase(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	inBubble(t, func(t *testing.T, h *fixture) {
		ctx := interruptedAfter(t, 3*time.Second)
		h.expect(h.gate(ctx, parse(t, "cases: [{name: a, message: x}]"), "--journal", state), cli.ExitInterrupted, "the run is still in progress")
		code := h.gate(t.Context(), parse(t, "cases: [{name: a, message: y}]"), "--journal", state)
		h.expect(code, cli.ExitDone)
		h.executed("agents.trigger", 2)
	})
}

// journal returns the name of the journal of the suite in a folder.
func (h *fixture) journal(suite, folder string) string {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.t.Context())
	cancel()
	h.gate(ctx, suite, "--journal", folder)
	files, err := filepath.Glob(filepath.Join(folder, "*.jsonl"))
	if err == nil && len(files) == 1 {
		err = os.Remove(files[0])
	}
	if err != nil || len(files) != 1 {
		h.t.Fatal(files, err)
	}
	return files[0]
}

// A journal that is kept gives the same runs again, to other expectations too, and
// only cases whose input is new are triggered.
func TestKeep(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	inBubble(t, func(t *testing.T, h *fixture) {
		suite := cases(t, 3, "max_cost: 0.05 EUR\ncase_cost: 0.01 EUR")
		for range 2 {
			h.expect(h.gate(t.Context(), suite, "--journal", folder, "--keep"), cli.ExitDone, "3 of 3 cases passed; cost 0.03 EUR")
		}
		other := strings.Replace(suite, "said: message 1", "said: message one", 1) + "  - {name: new, message: new}\n"
		h.expect(h.gate(t.Context(), other, "--journal", folder, "--keep"), cli.ExitFailed, "3 of 4 cases passed, 1 failed; cost 0.04 EUR")
		h.executed("agents.trigger", 4)
		h.p.Env["CONNIC_ENVIRONMENT"] = "env-test" // has a journal of its own
		h.gate(t.Context(), suite, "--journal", folder, "--keep")
		h.executed("agents.trigger", 7)
	})
}
