package listen

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/connic-go/connic/cmd/connicctl/internal/clitest"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
	"github.com/spf13/cobra"
)

// responses is a transport that responds with statuses; 0 is no response, and the
// last one is repeated.
type responses struct {
	statuses []int
	times    []time.Time
	runs     []string
	t        *testing.T
}

func (s *responses) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil || connector.Verify(r.Header, body, "secret") != nil {
		s.t.Errorf("%v: the signature of %s", err, body)
	}
	var run struct {
		ID string `json:"run_id"`
	}
	if err := json.Unmarshal(body, &run); err != nil {
		s.t.Error(err)
	}
	s.times, s.runs = append(s.times, time.Now()), append(s.runs, run.ID)
	status := s.statuses[0]
	if len(s.statuses) > 1 {
		s.statuses = s.statuses[1:]
	}
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader("{}")), Header: make(http.Header)}, nil
}

func TestDeliveries(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		statuses []int
		want     string // what is written of the first run
		pauses   []time.Duration
	}{
		"accepted":       {[]int{204}, `"delivered":true,"http_status":204,"attempts":1,`, nil},
		"a restart":      {[]int{0, 0, 503, 200}, `"delivered":true,"http_status":200,"attempts":4,`, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}},
		"down":           {[]int{500, 500, 500, 500, 204}, `"delivered":false,"http_status":500,"attempts":4,"error":"500 Internal Server Error"`, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}},
		"refused":        {[]int{422, 204}, `"delivered":false,"http_status":422,"attempts":1,"error":"422 Unprocessable Entity"`, nil},
		"another secret": {[]int{401, 204}, `"error":"401: the receiver does not accept the signature; does it have this secret?"`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				fake := connictest.New(t)
				fake.Agent("echo", func(_ context.Context, in connictest.Input) (any, error) { return in.Message, nil })
				transport := &responses{statuses: c.statuses, t: t}
				p := clitest.New(t, fake, func(a *cli.App) *cobra.Command { return command(a, transport) })
				p.Env[signingVariable] = "secret"
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				ctx, interrupt := context.WithCancel(ctx)
				go func() {
					client := fake.Client()
					defer client.Close()
					for range 2 {
						time.Sleep(10 * time.Minute)
						if _, err := client.Agents.TriggerAndWait(ctx, "echo", connic.TriggerRequest{Message: "hi"}); err != nil {
							t.Error(err)
						}
					}
					time.Sleep(10 * time.Minute)
					interrupt()
				}()
				r := p.RunContext(ctx, "listen", "--forward", "http://localhost:1/", "-o", "jsonl")
				lines := strings.Split(r.Out, "\n")
				if r.Status != 130 || len(lines) != 3 || !strings.Contains(lines[0], c.want) {
					t.Errorf("%+v", r)
				}
				tries := len(c.pauses) + 1
				if len(transport.runs) != tries+1 || transport.runs[0] == transport.runs[tries] {
					t.Fatalf("%v", transport.runs)
				}
				for i, pause := range c.pauses {
					if got := transport.times[i+1].Sub(transport.times[i]); got != pause || transport.runs[i+1] != transport.runs[0] {
						t.Errorf("attempt %d after %v", i+2, got)
					}
				}
			})
		})
	}
}

// Ctrl-C between the attempts to post the first run shows where to go on, which
// posts the run.
func TestResumeUndelivered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := connictest.New(t)
		fake.Agent("echo", func(_ context.Context, in connictest.Input) (any, error) { return in.Message, nil })
		transport := &responses{statuses: []int{0}, t: t}
		p := clitest.New(t, fake, func(a *cli.App) *cobra.Command { return command(a, transport) })
		p.Env[signingVariable] = "secret"
		args := []string{"listen", "--forward", "http://localhost:1/", "-o", "jsonl", "--retries", "100"}
		listen := func(more ...string) clitest.Result {
			ctx, cancel := context.WithCancel(t.Context())
			defer time.AfterFunc(10*time.Minute, cancel).Stop()
			return p.RunContext(ctx, append(args, more...)...)
		}
		time.AfterFunc(time.Minute, func() {
			client := fake.Client()
			defer client.Close()
			if _, err := client.Agents.Trigger(t.Context(), "echo", connic.TriggerRequest{Message: "hi"}); err != nil {
				t.Error(err)
			}
		})
		r := listen()
		_, since, ok := strings.Cut(strings.TrimSpace(r.Err), "--since ")
		if !ok || r.Status != 130 || r.Out != "" {
			t.Fatalf("%+v", r)
		}
		transport.statuses = []int{204}
		if r := listen("--since", since); !strings.Contains(r.Out, `"delivered":true`) {
			t.Errorf("%+v", r)
		}
	})
}

// A name of this machine may have the address of another one.
func TestDialsThisMachine(t *testing.T) {
	t.Parallel()
	var f forwarder
	for _, address := range []string{"192.0.2.1:80", "[2001:db8::1]:80"} {
		if _, err := f.dial().DialContext(t.Context(), "tcp", address); err == nil || !strings.Contains(err.Error(), "is not an address of this machine") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
