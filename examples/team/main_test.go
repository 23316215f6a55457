package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/connic-go/connic"
)

// answers is all that it takes to replace the assistant.
type answers func(question string) (string, error)

func (f answers) Answer(_ context.Context, question string) (string, error) { return f(question) }

func TestTeam(t *testing.T) {
	t.Parallel()
	other := errors.New("other")
	asked := fmt.Errorf("assistant: %w", &connic.WaitError{Kind: "run", ID: "run-1", Err: &connic.LimitError{}})
	for _, test := range []struct {
		want   string
		answer string
		err    error
		failed error
	}{
		{"Dear customer,\nHow long? 30 days.\n", "30 days.", nil, nil},
		{"Dear customer,\nwe have many questions today, and answer yours tomorrow.\n", "", fmt.Errorf("assistant: %w", &connic.LimitError{}), nil},
		{"", "", other, other},
		{"", "", asked, asked},
	} {
		var out bytes.Buffer
		a := answers(func(question string) (string, error) { return question + " " + test.answer, test.err })
		if err := reply(t.Context(), a, "How long?", &out); !errors.Is(err, test.failed) || out.String() != test.want {
			t.Errorf("%q, %v", &out, err)
		}
	}
}
