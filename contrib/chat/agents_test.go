package chat_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/contrib/chat"
	"github.com/connic-go/connic/contrib/chat/chattest"
)

// two is a session with two agents whose service follows a script.
func two(t *testing.T, do script, f func(*testing.T, *chat.Session), opts ...chat.Option) {
	t.Helper()
	virtuallyConnected(t, `{"type": "connected", "connector_run_id": "cr-1", "agents": ["a", {"name": "b"}]}`, do, f, opts...)
}

func TestTwoAgents(t *testing.T) {
	t.Parallel()
	srv := connictest.New()
	t.Cleanup(srv.Close)
	for name, words := range map[string]string{"support": "We refund within 14 days.", "billing": "The invoice is paid."} {
		srv.Agent(name, func(_ context.Context, in connictest.Input) (any, error) {
			in.Tokens(connic.TokenUsage{Input: 3, Output: 2})
			if in.Message == "fail "+name {
				return nil, errors.New("no idea")
			}
			return words, nil
		})
	}
	service := chattest.NewServer(t, srv.Connector("support"), srv.Connector("billing"))
	service.Agents, service.Pause = []string{"support", "billing"}, time.Millisecond
	session := dialTest(t, service)
	if names := session.Agents(); !slices.Equal(names, service.Agents) {
		t.Errorf("%q", names)
	}
	reply, err := session.Send(t.Context(), chat.Message{Text: "m"})
	if err != nil {
		t.Fatal(err)
	}
	chunks, err := collect(reply)
	if err != nil {
		t.Error(err)
	}
	answer, err := reply.Wait()
	if err != nil || len(answer.Answers) != 2 || strings.Join(chunks, "") != answer.Text || answer.TokenUsage.Total != 10 || answer.Agent != "" {
		t.Errorf("%+v, %v, %q", answer, err, chunks)
	}
	texts := make(map[string]string)
	for _, one := range answer.Answers {
		texts[one.Agent] = one.Text
	}
	if len(texts) != 2 || texts["support"] != "We refund within 14 days." || texts["billing"] != "The invoice is paid." {
		t.Errorf("%q", texts)
	}

	// One of them fails, and the answer of the other is there.
	answer, err = session.Ask(t.Context(), chat.Message{Text: "fail billing"})
	var failed *connic.RunError
	if !errors.As(err, &failed) || failed.Run.AgentName != "billing" || failed.Run.Status != connic.RunFailed || failed.Run.Error != "no idea" || failed.Run.ID == "" {
		t.Errorf("%v", err)
	}
	if errors.Is(err, connic.ErrOutcomeUnknown) || answer.Text != texts["support"] {
		t.Errorf("%+v, %v", answer, err)
	}
	for _, one := range answer.Answers {
		if (one.Err != nil) != (one.Agent == "billing") {
			t.Errorf("%+v", one)
		}
	}

	// Only one is asked for.
	answer, err = session.Ask(t.Context(), chat.Message{Text: "fail support", Agents: []string{"billing"}})
	if err != nil || answer.Agent != "billing" || answer.Text != texts["billing"] || answer.Answers != nil {
		t.Errorf("%+v, %v", answer, err)
	}
	var argument *connic.ArgumentError
	if _, err := session.Send(t.Context(), chat.Message{Text: "m", Agents: []string{"shipping"}}); !errors.As(err, &argument) || argument.Arg != "agents" {
		t.Errorf("%v", err)
	}
}

func dialTest(t *testing.T, service *chattest.Server, opts ...chat.Option) *chat.Session {
	t.Helper()
	s, err := chat.Dial(t.Context(), service.URL(), service.Secret(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// The texts of agents that speak at the same time are not mixed.
func TestAgentsThatInterleave(t *testing.T) {
	t.Parallel()
	frames := []string{
		`{"type":"ack","id":"ID"}`, `{"type":"stream_start","id":"ID","agent":"b"}`, `{"type":"stream_start","id":"ID","agent":"a"}`,
		`{"type":"stream_chunk","id":"ID","agent":"a","chunk":"a1"}`, `{"type":"stream_chunk","id":"ID","agent":"b","chunk":"b1"}`,
		`{"type":"tool_call","id":"ID","agent":"b","name":"lookup"}`,
		`{"type":"stream_chunk","id":"ID","agent":"b","chunk":"b2"}`, `{"type":"stream_chunk","id":"ID","agent":"b","chunk":"b3"}`,
		`{"type":"stream_end","id":"ID","agent":"b","full_response":"b1b2b3"}`, "1s", `{"type":"stream_chunk","id":"ID","agent":"a","chunk":"a2"}`,
		`{"type":"stream_end","id":"ID","agent":"a","token_usage":{"input":1,"total":3}}`,
	}
	two(t, answering(frames, frames), func(t *testing.T, s *chat.Session) {
		t.Helper()
		r, err := s.Send(t.Context(), chat.Message{Text: "m"})
		if err != nil {
			t.Fatal(err)
		}
		if chunks, err := collect(r); err != nil || strings.Join(chunks, "") != "b1b2b3\n\na1a2" {
			t.Errorf("%q, %v", chunks, err)
		}
		if r, err = s.Send(t.Context(), chat.Message{Text: "m"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // chunks that are next to each other are merged
		var got []string
		for e, err := range r.Events() {
			if err != nil {
				t.Error(err)
			}
			if (e.Raw == nil) != (e.Type == "stream_chunk") {
				t.Errorf("%s: %s", e.Type, e.Raw)
			}
			got = append(got, strings.Join([]string{e.Type, e.Agent, e.Text}, " "))
		}
		want := []string{
			"stream_start b ", "stream_start a ", "stream_chunk a a1", "stream_chunk b b1", "tool_call b ", "stream_chunk b b2b3", "stream_end b ",
			"stream_chunk a a2", "stream_end a ",
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		answer, err := r.Wait()
		if err != nil || len(answer.Answers) != 2 || answer.Answers[0].Text != "b1b2b3" || answer.Answers[1].Text != "a1a2" || answer.TokenUsage.Total != 3 {
			t.Errorf("%+v, %v", answer, err)
		}
		if _, err := collect(r); !errors.Is(err, chat.ErrConsumed) {
			t.Errorf("%v", err)
		}
	})
}

// The answers that are there come with an error that says who is missing.
func TestAnAgentThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	frames := []string{`{"type":"stream_chunk","id":"ID","agent":"a","chunk":"a1"}`, "4m", `{"type":"stream_end","id":"ID","agent":"a"}`}
	late := append([]string{`{"type":"stream_end","id":"connic-go-1","agent":"b"}`, `{"type":"stream_end","id":"connic-go-2","agent":"b"}`}, "1s",
		`{"type":"response","id":"ID","agent":"b","response":"b2"}`, `{"type":"response","id":"ID","agent":"a","response":"a2"}`)
	two(t, answering(frames, frames, late), func(t *testing.T, s *chat.Session) {
		t.Helper()
		for _, bound := range []time.Duration{9 * time.Minute, 6 * time.Minute} { // the idle timeout, the context
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
			want := context.DeadlineExceeded
			if bound > 6*time.Minute {
				ctx, want = t.Context(), chat.ErrIdle
			}
			answer, err := s.Ask(ctx, chat.Message{Text: "m"})
			cancel()
			var failed *chat.ReplyError
			if !errors.Is(err, want) || !errors.As(err, &failed) || !slices.Equal(failed.Missing, []string{"b"}) || !errors.Is(err, connic.ErrOutcomeUnknown) || !strings.HasSuffix(err.Error(), "; missing: b") {
				t.Errorf("%v", err)
			}
			if len(answer.Answers) != 1 || answer.Answers[0].Text != "a1" || answer.Answers[0].Err != nil || failed.Partial != "a1" {
				t.Errorf("%+v", answer)
			}
			if took := time.Since(start); took != bound {
				t.Errorf("%v", took)
			}
		}
		answer, err := s.Ask(t.Context(), chat.Message{Text: "m"})
		if err != nil || answer.Text != "b2\n\na2" {
			t.Errorf("%+v, %v", answer, err)
		}
	})
}

// An agent that is not asked for neither ends a reply nor delays the next one.
func TestOneOfTwoAgents(t *testing.T) {
	t.Parallel()
	frames := []string{
		`{"type":"stream_chunk","id":"ID","agent":"b","chunk":"no"}`, `{"type":"error","id":"ID","agent":"b"}`, `{"type":"model_call","id":"ID","agent":"b"}`,
		`{"type":"model_call","id":"ID","agent":"a"}`, `{"type":"stream_chunk","id":"ID","agent":"a","chunk":"a1"}`, `{"type":"stream_end","id":"ID","agent":"a"}`,
	}
	silent := []string{`{"type":"stream_start","id":"ID","agent":"b"}`, `{"type":"response","id":"ID","agent":"a","response":"a2"}`}
	after := []string{`{"type":"stream_chunk","id":"connic-go-2","agent":"b","chunk":"late"}`, `{"type":"response","id":"ID","agent":"a","response":"a3"}`}
	two(t, answering(frames, silent, after), func(t *testing.T, s *chat.Session) {
		t.Helper()
		start := time.Now()
		for n, want := range []string{"a1", "a2", "a3"} {
			r, err := s.Send(t.Context(), chat.Message{Text: "m", Agents: []string{"a"}})
			if err != nil {
				t.Fatal(err)
			}
			text, kinds := "", 0
			for e, err := range r.Events() {
				if err != nil || e.Agent != "a" {
					t.Errorf("%+v, %v", e, err)
				}
				text += e.Text
				kinds++
			}
			if answer, err := r.Wait(); err != nil || answer.Text != want || text != want || answer.Agent != "a" || len(r.Agents()) != 1 {
				t.Errorf("%+v, %v, %q", answer, err, text)
			}
			if n == 0 && kinds != 3 {
				t.Errorf("%d events", kinds)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("%v", took)
		}
	})
}

// Services name less than is documented, or otherwise.
func TestNamesOfAgents(t *testing.T) {
	t.Parallel()
	const one, none = `{"type":"connected","session_id":"cr-1","agents":["a"]}`, `{"connector_run_id":"cr-1"}`
	const both = `{"type":"connected","connector_run_id":"cr-1","agents":["a","b"]}`
	for name, test := range map[string]struct {
		connected    string
		agents       []string
		frames       []string
		agent, text  string
		answers, err int
	}{
		"not named":         {one, nil, []string{`{"type":"stream_chunk","chunk":"x"}`, `{"type":"stream_end"}`}, "a", "x", 0, 0},
		"a variant":         {one, nil, []string{`{"type":"stream_start"}`, `{"type":"stream_chunk","chunk":"x","agent":"a-test-2"}`, `{"type":"stream_end","agent":"a-test-2"}`}, "a-test-2", "x", 0, 0},
		"unknown":           {none, nil, []string{`{"type":"stream_chunk","chunk":"x","agent":"c"}`, `{"type":"stream_end","agent":"c"}`}, "c", "x", 0, 0},
		"several unknown":   {none, nil, []string{`{"type":"stream_chunk","chunk":"x","agent":"c"}`, `{"type":"stream_chunk","chunk":"y","agent":"d"}`, `{"type":"stream_end","agent":"d"}`, `{"type":"stream_end","agent":"c"}`}, "", "x\n\ny", 2, 0},
		"one of unknown":    {none, []string{"d"}, []string{`{"type":"response","response":"x","agent":"c"}`, `{"type":"response","response":"y","agent":"d"}`}, "d", "y", 0, 0},
		"variants of two":   {both, nil, []string{`{"type":"response","response":"y","agent":"b-test-x"}`, `{"type":"response","response":"x","agent":"a-test-1"}`}, "", "y\n\nx", 2, 0},
		"two, not named":    {both, nil, []string{`{"type":"response","response":"x"}`, `{"type":"response","response":"y"}`}, "", "x\n\ny", 2, 0},
		"one of two":        {both, nil, []string{`{"type":"response","response":"x","agent":"b"}`, `{"type":"stream_chunk","chunk":"y"}`, `{"type":"stream_end"}`}, "", "x\n\ny", 2, 0},
		"twice":             {both, nil, []string{`{"type":"response","response":"x","agent":"b"}`, `{"type":"response","response":"z","agent":"b"}`, `{"type":"response","response":"y","agent":"a"}`}, "", "x\n\ny", 2, 0},
		"all fail":          {both, nil, []string{`{"type":"error"}`}, "", "", 2, 2},
		"both fail":         {both, nil, []string{`{"type":"error","agent":"a"}`, `{"type":"response","agent":"b","status":"failed","error":"why","response":null}`}, "", "", 2, 2},
		"a failed response": {one, nil, []string{`{"type":"stream_chunk","chunk":"x"}`, `{"type":"stream_end","status":"cancelled"}`}, "a", "x", 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtuallyConnected(t, test.connected, answering(test.frames), func(t *testing.T, s *chat.Session) {
				t.Helper()
				start := time.Now()
				answer, err := s.Ask(t.Context(), chat.Message{Text: "m", Agents: test.agents})
				if answer.Agent != test.agent || answer.Text != test.text || len(answer.Answers) != test.answers || (err != nil) != (test.err > 0) {
					t.Errorf("%+v, %v", answer, err)
				}
				if name == "one of two" && (answer.Answers[0].Agent != "b" || answer.Answers[1].Agent != "a") {
					t.Errorf("%+v", answer)
				}
				var failed *connic.RunError
				if err != nil && (!errors.As(err, &failed) || errors.Is(err, connic.ErrOutcomeUnknown) || strings.Count(fmt.Sprint(err), "ended: ") != test.err) {
					t.Errorf("%v", err)
				}
				if s.ID() != "cr-1" || time.Since(start) != 0 {
					t.Errorf("%q, %v", s.ID(), time.Since(start))
				}
			})
		})
	}
}

// A variant is one of the agent with the longest name that it begins with.
func TestVariantsOfAgentsWithLikeNames(t *testing.T) {
	t.Parallel()
	virtuallyConnected(t, `{"type": "connected", "connector_run_id": "cr-1", "agents": ["load", "load-test-desk"]}`, answering([]string{
		`{"type":"response","id":"ID","response":"x","agent":"load-test-desk-test-b"}`, `{"type":"response","id":"ID","response":"y","agent":"load-test-b"}`,
	}), func(t *testing.T, s *chat.Session) {
		t.Helper()
		answer, err := s.Ask(t.Context(), chat.Message{Text: "m"})
		if err != nil || answer.Text != "x\n\ny" {
			t.Errorf("%+v, %v", answer, err)
		}
	})
}
