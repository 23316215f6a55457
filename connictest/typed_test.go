package connictest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

type order struct {
	Customer int64         `json:"customer" connic:"required"`
	Message  string        `json:"message,omitzero"`
	Files    []connic.File `json:"files,omitzero"`
}

// received is what Handle passes on for a request, or the error of the run.
func received[In any](t *testing.T, request connic.TriggerRequest) (in In, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		agent := connic.AgentOf[In, string]("agent")
		connictest.Handle(srv, agent, func(_ context.Context, got In) (string, error) {
			in = got
			return "ok", nil
		})
		_, err = srv.Client().Agents.TriggerAndWait(t.Context(), "agent", request)
	})
	return in, err
}

func TestInputsOfHandle(t *testing.T) {
	t.Parallel()
	files := []connic.File{{Name: "a.txt", MIMEType: "text/plain", Data: []byte("text")}}
	if in, err := received[order](t, connic.TriggerRequest{Message: "m", Files: files, Payload: map[string]any{"customer": 7.0, "more": 1}}); err != nil ||
		in.Customer != 7 || in.Message != "m" || string(in.Files[0].Data) != "text" {
		t.Errorf("%+v, %v", in, err)
	}
	if in, err := received[order](t, connic.AgentOf[order, string]("a").Request(order{Customer: 8, Message: "m", Files: files})); err != nil || in.Customer != 8 || len(in.Files) != 1 {
		t.Errorf("%+v, %v", in, err)
	}
	if in, err := received[string](t, connic.TriggerRequest{Message: "m"}); err != nil || in != "m" {
		t.Errorf("%q, %v", in, err)
	}
	if in, err := received[map[string]any](t, connic.TriggerRequest{Payload: map[string]int64{"x": 9007199254740993}}); err != nil || in["x"] != json.Number("9007199254740993") {
		t.Errorf("%v, %v", in, err)
	}
	whole := connic.TriggerRequest{Message: "m", Payload: map[string]int{"x": 1}, Files: files}
	if in, err := received[connic.TriggerRequest](t, whole); err != nil || in.Message != "m" || fmt.Sprintf("%s", in.Payload) != "map[x:1]" || len(in.Files) != 1 {
		t.Errorf("%+v, %v", in, err)
	}
	if in, err := received[connector.Input](t, whole); err != nil || in.Message != "m" || fmt.Sprintf("%s", in.Payload) != "map[x:1]" || string(in.Files[0].Data) != "text" {
		t.Errorf("%+v, %v", in, err)
	}
	if in, err := received[[]int](t, connic.AgentOf[[]int, string]("a").Request([]int{1, 2})); err != nil || len(in) != 2 {
		t.Errorf("%v, %v", in, err)
	}
	marked, _ := connic.TriggerRequest{Payload: order{Customer: 9}}.Marked()
	if in, err := received[order](t, marked); err != nil || in.Customer != 9 {
		t.Errorf("%+v, %v", in, err)
	}

	for _, bad := range []struct {
		err  error
		want string
	}{
		{fails(received[order](t, connic.TriggerRequest{Payload: map[string]any{"customer": "7"}})), "the input is no connictest_test.order: customer is a JSON string that is no int64"},
		{fails(received[order](t, connic.TriggerRequest{Message: "m"})), "customer is missing"},
		{fails(received[string](t, connic.TriggerRequest{Payload: order{Customer: 7}})), "it has a payload or files, and the agent takes a message"},
		{fails(received[string](t, connic.TriggerRequest{Message: "m", Files: files})), "it has a payload or files"},
	} {
		var failed *connic.RunError
		if !errors.As(bad.err, &failed) || !strings.Contains(failed.Run.Error, bad.want) {
			t.Errorf("%v, want %s", bad.err, bad.want)
		}
	}
}

func fails[T any](_ T, err error) error { return err }

// returned is the text of a run whose agent returns a value.
func returned[Out any](t *testing.T, out Out) (text string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		agent := connic.AgentOf[string, Out]("agent")
		connictest.Handle(srv, agent, func(context.Context, string) (Out, error) { return out, nil })
		run, err := srv.Client().Agents.TriggerAndWait(t.Context(), "agent", connic.TriggerRequest{Message: "m"})
		if err != nil {
			t.Fatal(err)
		}
		text = run.Output
	})
	return text
}

func TestOutputsOfHandle(t *testing.T) {
	t.Parallel()
	type named string
	for got, want := range map[string]string{
		returned(t, named(`a "text"`)): `a "text"`, returned(t, ""): "", returned(t, (*order)(nil)): "null", returned(t, json.RawMessage(`[1]`)): `[1]`,
		returned(t, order{Customer: 7}): `{"customer":7}`,
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A payload that is not an object is under a key of its own when it comes from a
// connector.
func TestHandleBehindAConnector(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		sum := connic.AgentOf[[]int, int]("sum")
		connictest.Handle(srv, sum, func(_ context.Context, in []int) (total int, err error) {
			for _, n := range in {
				total += n
			}
			return total, nil
		})
		total, result, err := connector.CallAs(t.Context(), srv.Connector("sum").Client(), sum, []int{1, 2, 3})
		if err != nil || total != 6 || result.AgentName != "sum" {
			t.Errorf("%d, %+v, %v", total, result, err)
		}
		pointer := connic.AgentOf[*[]int, int]("count")
		connictest.Handle(srv, pointer, func(_ context.Context, in *[]int) (int, error) { return len(*in), nil })
		total, _, err = connector.CallAs(t.Context(), srv.Connector("count").Client(), pointer, &[]int{1, 2, 3})
		if err != nil || total != 3 {
			t.Errorf("%d, %v", total, err)
		}
	})
}

func ExampleHandle() {
	srv := connictest.New() // in a test: connictest.New(t)
	defer srv.Close()
	const support connic.AgentOf[string, string] = "support"
	connictest.Handle(srv, support, func(_ context.Context, message string) (string, error) {
		return "You said: " + message, nil
	})
	answer, _, err := support.TriggerAndWait(context.Background(), srv.Client(), "hello", quickly)
	fmt.Println(answer, err)
	// Output: You said: hello <nil>
}
