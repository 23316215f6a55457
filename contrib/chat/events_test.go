package chat_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/contrib/chat"
	"github.com/connic-go/connic/contrib/chat/chattest"
)

// Progress events are yielded as they come, with their type, and in order with
// the chunks.
func TestProgressEvents(t *testing.T) {
	t.Parallel()
	srv := connictest.New()
	t.Cleanup(srv.Close)
	srv.Agent("support", func(context.Context, connictest.Input) (any, error) { return "one two", nil })
	service := chattest.NewServer(t, srv.Connector("support"))
	service.Events = func(agent, message string) []chattest.Event {
		return []chattest.Event{
			{Type: "model_call", Data: map[string]any{"model": "m/1", "agent_message": agent + " " + message}},
			{Type: "tool_call", After: 1},
			{Type: "tool_result", After: 9},
		}
	}
	for _, streamed := range []bool{true, false} {
		want := "stream_start  model_call  stream_chunk one  tool_call  stream_chunk two tool_result  stream_end "
		if !streamed {
			service.Split = func(string) []string { return nil }
			want = "model_call  tool_call  tool_result  response one two"
		}
		r, err := dialTest(t, service).Send(t.Context(), chat.Message{Text: "m"})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for e, err := range r.Events() {
			if err != nil || e.Agent != "support" {
				t.Errorf("%+v, %v", e, err)
			}
			if e.Type == "model_call" && !strings.Contains(string(e.Raw), `"agent_message":"support m"`) {
				t.Errorf("%s", e.Raw)
			}
			got = append(got, e.Type+" "+e.Text)
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%q", text)
		}
		if answer, err := r.Wait(); err != nil || answer.Text != "one two" || len(answer.Unknown) != 3 {
			t.Errorf("%+v, %v", answer, err)
		}
	}
}

// A loop over events is left like one over chunks.
func TestEventsThatAreLeft(t *testing.T) {
	t.Parallel()
	s := dial(t, scripted(t, streams(5, time.Millisecond)))
	r, err := s.Send(t.Context(), chat.Message{Text: "m"})
	if err != nil {
		t.Fatal(err)
	}
	for range r.Events() {
		break
	}
	if _, err := r.Wait(); !errors.Is(err, chat.ErrAbandoned) {
		t.Errorf("%v", err)
	}
	for _, err := range r.Events() {
		if !errors.Is(err, chat.ErrConsumed) {
			t.Errorf("%v", err)
		}
	}
	var zero chat.Reply
	for _, err := range zero.Events() {
		if !errors.Is(err, chat.ErrConsumed) {
			t.Errorf("%v", err)
		}
	}
}

// Events that nobody reads are bounded, and cost nothing to who only waits.
func TestEventsThatNobodyReads(t *testing.T) {
	t.Parallel()
	event := `{"type":"tool_call","arguments":"` + strings.Repeat("x", 1<<20) + `"}`
	frames := []string{event, event, event, event, event, event, event, event, event, `{"type":"stream_end","full_response":"ab"}`}
	virtually(t, answering(frames, frames, frames), func(t *testing.T, s *chat.Session) {
		t.Helper()
		answer, err := s.Ask(t.Context(), chat.Message{Text: "m"})
		if err != nil || answer.Text != "ab" || len(answer.Unknown) != 0 {
			t.Errorf("%q, %d unknown, %v", answer.Text, len(answer.Unknown), err)
		}
		for name, read := range map[string]func(*chat.Reply) error{
			"chunks": func(r *chat.Reply) (err error) { _, err = collect(r); return err },
			"events": func(r *chat.Reply) (err error) {
				for _, err = range r.Events() {
				}
				return err
			},
		} {
			r, err := s.Send(t.Context(), chat.Message{Text: "m"})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second) // it comes meanwhile
			if err := read(r); !errors.Is(err, chat.ErrTooLarge) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// An approval takes days, within a bound, and nothing else does.
func TestApprovals(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	end := []string{`{"type":"stream_chunk","id":"ID","chunk":"x"}`, "4m", `{"type":"stream_end","id":"ID"}`}
	for name, test := range map[string]struct {
		frames []string
		bound  time.Duration // at which the reply ends with ErrIdle; 0 means that it does not
	}{
		"six days":       {append([]string{`{"type":"approval_required","id":"ID"}`, "144h"}, end...), 0},
		"eight days":     {append([]string{`{"type":"approval_required","id":"ID"}`, "192h"}, end...), 7 * day},
		"a status":       {append([]string{`{"type":"run_status","status":"awaiting_approval"}`, "144h"}, end...), 0},
		"an inner type":  {append([]string{`{"type":"progress","payload":{"event":"tool.approval.requested"}}`, "144h"}, end...), 0},
		"decided":        {append([]string{`{"type":"approval_required","id":"ID"}`, "144h", `{"type":"approval_approved","id":"ID"}`, "6m"}, end...), 6*day + 5*time.Minute},
		"a decision":     {append([]string{`{"type":"approval","id":"ID","status":"approved"}`, "6m"}, end...), 5 * time.Minute},
		"silent after":   {append([]string{`{"type":"approval_required","id":"ID"}`, "144h", `{"type":"stream_chunk","id":"ID","chunk":"x"}`, "6m"}, end...), 6*day + 5*time.Minute},
		"a mere tool":    {append([]string{`{"type":"tool_call","id":"ID"}`, "6m"}, end...), 5 * time.Minute},
		"an ack between": {append([]string{`{"type":"approval_required","id":"ID"}`, `{"type":"ack","id":"ID"}`, "144h"}, end...), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtually(t, answering(test.frames), func(t *testing.T, s *chat.Session) {
				t.Helper()
				start := time.Now()
				_, err := s.Ask(t.Context(), chat.Message{Text: "m"})
				took := time.Since(start)
				if test.bound == 0 && err != nil || test.bound > 0 && (!errors.Is(err, chat.ErrIdle) || took != test.bound) {
					t.Errorf("%v after %v", err, took)
				}
			}, chat.WithPing(12*time.Hour, time.Second))
		})
	}
	// The bound can be set, and the approval of one agent does not end with what
	// another one says.
	const b = `{"type":"stream_chunk","id":"ID","agent":"b","chunk":"x"}`
	two(t, answering([]string{`{"type":"approval_required","id":"ID","agent":"a"}`, b, "20m", b, `{"type":"stream_end","id":"ID","agent":"b"}`}), func(t *testing.T, s *chat.Session) {
		t.Helper()
		start := time.Now()
		_, err := s.Ask(t.Context(), chat.Message{Text: "m"})
		if took := time.Since(start); !errors.Is(err, chat.ErrIdle) || took != 50*time.Minute {
			t.Errorf("%v after %v", err, took)
		}
	}, chat.WithApprovalTimeout(30*time.Minute))
	if _, err := chat.Dial(t.Context(), "wss://connector.invalid/x", canary, chat.WithApprovalTimeout(0)); err == nil {
		t.Error("no time is accepted")
	}
}

// What the service says is masked wherever it can be printed.
func TestTextOfTheServiceIsMasked(t *testing.T) {
	t.Parallel()
	secret := string(canary)
	connected := `{"type":"connected","connector_run_id":"cr ` + secret + `\u001b[31m\n` + strings.Repeat("x", 300) + `","agents":["a ` + secret + `","b\n` + secret + `"]}`
	frames := []string{
		`{"type":"tool ` + secret + `","id":"ID","agent":"a ` + secret + `","arguments":"` + secret + `"}`,
		`{"type":"stream_start","id":"ID","agent":"a ` + secret + `","x":"` + secret + `"}`,
		`{"type":"error","id":"ID","agent":"a ` + secret + `","run_id":"run ` + secret + `\n","message":"` + secret + `\u001b[31m"}`,
		`{"type":"stream_end","id":"ID","agent":"b\n` + secret + `","status":"failed","error":"` + secret + `"}`,
	}
	virtuallyConnected(t, connected, func(ctx context.Context, c *websocket.Conn) {
		answering(frames)(ctx, c)
		_ = c.Close(1011, "reason "+secret)
	}, func(t *testing.T, s *chat.Session) {
		t.Helper()
		r, err := s.Send(t.Context(), chat.Message{Text: "m"})
		if err != nil {
			t.Fatal(err)
		}
		texts := []string{s.ID(), fmt.Sprintf("%v %+v %s", s, s, s), fmt.Sprint(s.Agents(), r.Agents())}
		for e, err := range r.Events() {
			texts = append(texts, fmt.Sprintf("%+v %s %v %+v", e, e.Raw, err, err))
		}
		answer, err := r.Wait()
		var failed *chat.ReplyError
		var run *connic.RunError
		if !errors.As(err, &failed) || !errors.As(err, &run) {
			t.Fatal(err)
		}
		texts = append(texts, fmt.Sprintf("%+v %v %+v %+v %+v", answer, err, *failed, run, *run.Run), fmt.Sprintf("%s", answer.Unknown))
		for _, text := range texts {
			if strings.Contains(text, secret) || strings.ContainsAny(text, "\x1b\n") {
				t.Errorf("%q", text)
			}
		}
		if len(s.ID()) > 210 || len(texts) < 8 {
			t.Errorf("%d texts, %q", len(texts), s.ID())
		}
	})
	for _, short := range []string{"short", "1234567"} {
		var argument *connic.ArgumentError
		_, err := chat.Dial(t.Context(), "wss://connector.invalid/x?secret="+short, "")
		if !errors.As(err, &argument) || argument.Arg != "secret" || strings.Contains(err.Error(), short) {
			t.Errorf("%v", err)
		}
	}
}
