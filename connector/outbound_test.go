package connector_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

func outboundDeliveries(t *testing.T) {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("echo", func(_ context.Context, in connictest.Input) (any, error) { return in.Message, nil })
	srv.Agent("fail", func(context.Context, connictest.Input) (any, error) { return nil, errors.New("no") })
	var stored []string
	receiver := &connector.Receiver{Handle: func(_ context.Context, d connector.Delivery) error {
		stored = append(stored, d.Output)
		return nil
	}}
	out := srv.Outbound("http://localhost/hooks/connic", &http.Client{Transport: inProcess{receiver}}, "echo", "fail")
	receiver.Secrets = []connector.Secret{out.Secret()}
	hook := srv.Connector("echo").Inbound().Client()
	send := func(message string, f connictest.DeliveryFault) {
		t.Helper()
		out.Fault(f)
		if _, err := hook.Send(t.Context(), connector.Input{Message: message}); err != nil {
			t.Fatal(err)
		}
		sleepUntil(t, time.Now().Add(10*time.Minute))
		synctest.Wait()
	}
	send("well", connictest.DeliveryFault{})
	out.Redeliver()
	send("twice", connictest.DeliveryFault{Twice: true})
	send("a little late", connictest.DeliveryFault{Late: 4 * time.Minute})
	send("too late", connictest.DeliveryFault{Late: 6 * time.Minute})
	send("signature", connictest.DeliveryFault{Signature: true})
	send("body", connictest.DeliveryFault{Body: true})
	if _, err := srv.Connector("fail").Client().Call(t.Context(), connector.Input{Message: "m"}); err == nil {
		t.Error("the agent fails, and the call does not")
	}
	if want := []string{"well", "twice", "a little late"}; !reflect.DeepEqual(stored, want) {
		t.Errorf("stored: %q", stored)
	}
	var answers []int
	for _, d := range out.Deliveries() {
		answers = append(answers, d.Status)
	}
	if want := []int{204, 204, 204, 204, 204, 401, 401, 401}; !reflect.DeepEqual(answers, want) {
		t.Errorf("answers: %v", answers)
	}
}

// inProcess leads requests to a handler without a connection.
type inProcess struct{ http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w.Result(), nil
}
