package connictest

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/internal/typed"
)

// Handle adds an agent with a typed input and output to the default environment. It
// replaces the function of an existing agent with the same name.
//
// The input is decoded as [connic.AgentOf] describes it, and as strictly as
// [connic.OutputAs] decodes an output. If it does not fit, do is not called, and the
// run fails with an error that says why; so it does if the agent takes a message and
// receives a payload or files.
func Handle[In, Out any](s *Server, a connic.AgentOf[In, Out], do func(ctx context.Context, in In) (Out, error)) {
	s.Agent(string(a), func(ctx context.Context, input Input) (any, error) {
		in, err := inputAs[In](input)
		if err != nil {
			return nil, fmt.Errorf("the input is no %v: %w", reflect.TypeFor[In](), err)
		}
		out, err := do(ctx, in)
		if err != nil {
			return nil, err
		}
		if v := reflect.ValueOf(out); v.Kind() == reflect.String {
			return v.String(), nil
		}
		return out, nil
	})
}

// inputAs returns the input of an agent as an In.
func inputAs[In any](input Input) (In, error) {
	var in In
	switch p := any(&in).(type) {
	case *connic.TriggerRequest:
		*p = connic.TriggerRequest{Message: input.Message, Files: input.Files}
		if len(input.Payload) > 0 {
			p.Payload = input.Payload
		}
		return in, nil
	case *connector.Input:
		*p = connector.Input{Message: input.Message}
		for _, f := range input.Files {
			p.Files = append(p.Files, connector.File{Name: f.Name, MIMEType: f.MIMEType, Data: f.Data})
		}
		if len(input.Payload) > 0 {
			p.Payload = input.Payload
		}
		return in, nil
	}
	v := reflect.ValueOf(&in).Elem()
	if v.Kind() == reflect.String {
		if len(input.Payload) > 0 || len(input.Files) > 0 {
			return in, errors.New("it has a payload or files, and the agent takes a message")
		}
		v.SetString(input.Message)
		return in, nil
	}
	t := v.Type()
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	text := string(input.run.body)
	switch t.Kind() {
	case reflect.Struct, reflect.Map, reflect.Interface:
	default: // a connector puts what is not an object under this key
		if raw, ok := input.Payload["payload"]; ok && len(input.Payload) == 1 {
			text = string(raw)
		}
	}
	in, e := typed.Decode[In](text)
	if e != nil {
		return in, e
	}
	return in, nil
}
