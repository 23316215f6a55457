package listen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/connic-go/connic/connector"
)

const (
	// attemptTimeout is how long an attempt may take.
	attemptTimeout = 30 * time.Second
	// firstPause is the time before the first repetition. Each further one is
	// twice as long.
	firstPause = time.Second
	maxPause   = time.Minute
)

// A delivery is what became of a run.
type delivery struct {
	At         time.Time        `json:"at"`
	RunID      string           `json:"run_id"`
	AgentName  string           `json:"agent_name"`
	Status     connic.RunStatus `json:"status"`
	Delivered  bool             `json:"delivered"`
	HTTPStatus int              `json:"http_status,omitzero"` // of the last response
	Attempts   int              `json:"attempts"`
	Error      string           `json:"error,omitzero"` // why it was not delivered
	// Resume is the --since with which another call misses nothing after this one.
	Resume time.Time `json:"resume,omitzero"`
}

// A forwarder posts runs to a URL.
type forwarder struct {
	secret    connector.Secret
	retries   int
	remote    bool // other machines are allowed
	transport http.RoundTripper

	url    string
	client *http.Client
}

// to sets the URL.
func (f *forwarder) to(target string) error {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return cli.Usage("--forward is no URL such as http://localhost:8080/hooks/connic")
	}
	if !f.remote && !local(u.Hostname()) {
		return cli.Usage("%s is not this machine: the outputs of the runs would leave it. Use --allow-remote if they may", u.Hostname())
	}
	f.url = target
	if f.transport == nil {
		f.transport = f.dial()
	}
	f.client = &http.Client{Transport: f.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return nil
}

// local reports whether a host names this machine.
func local(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback() || err != nil && (host == "localhost" || strings.HasSuffix(host, ".localhost"))
}

// dial returns a transport that reaches this machine only, unless others are
// allowed: a name can have any address.
func (f *forwarder) dial() *http.Transport {
	dialer := net.Dialer{Timeout: attemptTimeout}
	transport := &http.Transport{DialContext: dialer.DialContext, Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: attemptTimeout}
	if !f.remote {
		transport.Proxy = nil
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			if addr, err := netip.ParseAddrPort(address); err != nil || !addr.Addr().Unmap().IsLoopback() {
				return fmt.Errorf("%s is not an address of this machine", address)
			}
			return nil
		}
	}
	return transport
}

func (f *forwarder) close() { f.client.CloseIdleConnections() }

// run posts runs as they end, and writes what became of each.
func (f *forwarder) run(ctx context.Context, a *cli.App, client *connic.Client, p *connic.RunListParams) error {
	posted, failed := 0, 0
	var resume time.Time
	err := cli.Stream(a, func(yield func(delivery, error) bool) {
		for event, err := range client.Runs.Follow(ctx, connic.FollowEnded, p) {
			if err != nil {
				yield(delivery{}, err)
				return
			}
			d := f.deliver(ctx, client, event.Run)
			if ctx.Err() != nil && !d.Delivered {
				if created := event.Run.CreatedAt; resume.IsZero() && !created.IsZero() { // it is the first one, and was not posted
					if resume = created.Add(-time.Second); !event.Resume.IsZero() && event.Resume.Before(resume) {
						resume = event.Resume
					}
				}
				continue // Follow ends with the reason
			}
			d.Resume, resume = event.Resume, event.Resume
			if posted++; !d.Delivered {
				failed++
			}
			if !yield(d, nil) {
				return
			}
			a.Progress.Show("delivered: %d, not delivered: %d", posted-failed, failed)
		}
	}, columns(a)...)
	text := fmt.Sprintf("delivered: %d, not delivered: %d", posted-failed, failed)
	if !resume.IsZero() {
		text += "; to go on from here: --since " + resume.Format(time.RFC3339Nano)
	}
	a.Progress.Say("%s", text)
	return err
}

// whole returns a run with its output, which lists may lack.
func whole(ctx context.Context, client *connic.Client, run *connic.Run) (*connic.Run, error) {
	if run.Output != "" || run.Status != connic.RunCompleted {
		return run, nil
	}
	return client.Runs.Get(ctx, run.ID, connic.WithLane(connic.LaneLow))
}

// deliver posts a run until it is accepted, refused, or given up.
func (f *forwarder) deliver(ctx context.Context, client *connic.Client, run *connic.Run) (d delivery) {
	d = delivery{At: time.Now(), RunID: run.ID, AgentName: run.AgentName, Status: run.Status}
	var body []byte
	run, err := whole(ctx, client, run)
	if err == nil {
		body, err = envelope(run)
	}
	if err != nil {
		d.Error = err.Error()
		return d
	}
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		d.At, d.Attempts = time.Now(), d.Attempts+1
		again, err := f.post(ctx, body, &d.HTTPStatus)
		if d.Error = ""; err == nil {
			d.Delivered = true
			return d
		}
		if d.Error = err.Error(); !again || d.Attempts > f.retries {
			return d
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return d
		}
	}
}

// post posts a body once. It reports whether that may succeed another time.
func (f *forwarder) post(ctx context.Context, body []byte, status *int) (again bool, err error) {
	*status = 0
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	request.Header = connector.Sign(body, time.Now(), f.secret)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "connicctl/"+connic.Version)
	response, err := f.client.Do(request)
	if err != nil {
		wrapped, op := (*url.Error)(nil), (*net.OpError)(nil)
		switch { // without the URL and its address, which are known
		case errors.As(err, &op):
			err = op.Err
		case errors.As(err, &wrapped):
			err = wrapped.Err
		}
		return true, err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16))
	*status = response.StatusCode
	switch code := response.StatusCode; {
	case code/100 == 2:
		return false, nil
	case code == http.StatusUnauthorized:
		return false, errors.New("401: the receiver does not accept the signature; does it have this secret?")
	default:
		return code >= 500 || code == http.StatusRequestTimeout || code == http.StatusTooManyRequests,
			fmt.Errorf("%d %s", code, http.StatusText(code))
	}
}

// envelope returns the body of a delivery.
func envelope(run *connic.Run) ([]byte, error) {
	var output any
	switch data := []byte(run.Output); {
	case run.Output == "":
	case data[0] == '{' && json.Valid(data):
		output = json.RawMessage(data)
	default:
		output = run.Output
	}
	return json.Marshal(struct {
		RunID      string            `json:"run_id"`
		AgentName  string            `json:"agent_name"`
		Status     connic.RunStatus  `json:"status"`
		Output     any               `json:"output"`
		Error      *string           `json:"error"`
		StartedAt  *time.Time        `json:"started_at"`
		EndedAt    *time.Time        `json:"ended_at"`
		TokenUsage connic.TokenUsage `json:"token_usage"`
	}{run.ID, run.AgentName, run.Status, output, known(run.Error), known(run.StartedAt), known(run.EndedAt), run.TokenUsage})
}

// known returns nil for a zero value, which is null in an envelope.
func known[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
