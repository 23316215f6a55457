package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/examples/internal/service"
)

func TestTyped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		service.Furnish(srv)
		var out bytes.Buffer
		err := add(t.Context(), srv.Client(), "Screws Ltd.\nscrews 10.00\nnuts 2.505\n", &out)
		if err != nil || out.String() != "Screws Ltd.: 2 items, 12.505 in all\n" {
			t.Errorf("%q, %v", &out, err)
		}
	})
}

func TestTypedOutputThatDoesNotFit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		srv.Agent(string(ExtractInvoice), func(context.Context, connictest.Input) (any, error) {
			return map[string]any{"items": []any{}}, nil
		})
		var out bytes.Buffer
		err := add(t.Context(), srv.Client(), "Screws Ltd.\n", &out)
		var unfit *connic.OutputError
		if !errors.As(err, &unfit) || !strings.Contains(err.Error(), "read run run-00000001 by hand") || out.Len() > 0 {
			t.Errorf("%q, %v", &out, err)
		}
	})
}
