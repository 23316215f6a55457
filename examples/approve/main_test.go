package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/examples/internal/service"
)

const question = `"payments" wants to call "pay" with "{\"amount\":\"49.90 EUR\",\"invoice\":17}". Approve? [y/N] `

// decide runs the program with a person who types an answer a minute after the
// question.
func decide(ctx context.Context, t *testing.T, srv *connictest.Server, answer string) (string, error) {
	t.Helper()
	in, keyboard := io.Pipe()
	defer in.Close()
	typed := time.AfterFunc(time.Minute, func() { _, _ = io.WriteString(keyboard, answer) })
	defer typed.Stop()
	var out bytes.Buffer
	err := pay(ctx, srv.Client(), in, &out)
	return out.String(), err
}

func TestApprove(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		"y\n":   "Invoice 17 is paid.\n",
		"n\n":   "not paid: connic: run run-00000001 of agent payments ended: failed: connictest: the approval was rejected\n",
		"yes\n": "not paid: connic: run run-00000001 of agent payments ended: failed: connictest: the approval was rejected\n",
	} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv := connictest.New(t)
				service.Furnish(srv)
				if got, err := decide(t.Context(), t, srv, answer); err != nil || got != question+want {
					t.Errorf("%q, %v", got, err)
				}
			})
		})
	}
}

func TestNobodyApproves(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{"no input": "", "typed before the question": "y\ny\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv := connictest.New(t)
				service.Furnish(srv)
				var out bytes.Buffer
				err := pay(t.Context(), srv.Client(), strings.NewReader(in), &out)
				var pending *connic.ApprovalError
				if !errors.As(err, &pending) || out.String() != question {
					t.Errorf("%q, %v", &out, err)
				}
				if n := srv.Executions("approvals.decide"); n != 0 {
					t.Errorf("%d decisions", n)
				}
			})
		})
	}
}

func TestSomebodyElseApproves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		service.Furnish(srv)
		time.AfterFunc(30*time.Second, func() { srv.Approve("run-00000001") })
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if got, err := decide(ctx, t, srv, "n\n"); err != nil || got != question+"Invoice 17 is paid.\n" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestCtrlC(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		service.Furnish(srv)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(30*time.Second, cancel)
		if got, err := decide(ctx, t, srv, "y\n"); !errors.Is(err, context.Canceled) || got != question || srv.Executions("approvals.decide") > 0 {
			t.Errorf("%q, %v", got, err)
		}
	})
}
