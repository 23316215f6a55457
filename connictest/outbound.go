package connictest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
)

// An Outbound is an outbound connector of the fake, and a channel of drains. It
// posts to a URL, signed: each completed run by itself, and on demand what an
// agent's tool or middleware posts ([Outbound.Send]), notices of approvals
// ([Outbound.Notify]), and drains ([Outbound.DrainRuns] and the like). Use
// [connector.Sign] to post anything else.
type Outbound struct {
	server *Server
	url    string
	client *http.Client

	// The remaining fields are guarded by the mutex of the server.
	secret     func() connector.Secret
	agents     []string
	noRuns     bool
	faults     []DeliveryFault
	deliveries history[OutboundDelivery]
	drained    map[string]drained // by run id
	audited    string             // the id of the last audit entry that was drained
}

// An OutboundDelivery is a delivery that was made.
type OutboundDelivery struct {
	RunID  string      // of a run that was delivered by itself
	Header http.Header // the headers of the signature
	Body   []byte
	Status int   // of the response; 0 if there was none
	Err    error // why there was no response
	At     time.Time
}

// A DeliveryFault makes one delivery fail. Its fields can be combined.
type DeliveryFault struct {
	Twice     bool          // deliver twice, the second time with a new timestamp
	Late      time.Duration // delay between signing and sending
	Signature bool          // change one digit of the signature
	Body      bool          // change one byte of the body after signing
}

// Outbound adds an outbound connector that delivers the completed runs of the
// given agents, or of all agents if none is given, to a URL. Failed and
// cancelled runs are not delivered. Each delivery is made once, whatever the
// response: whether the service repeats deliveries is not documented. Use
// [Outbound.Redeliver] to repeat one.
//
// A nil client means a plain one. [Server.OutboundHandler] needs no URL.
func (s *Server) Outbound(url string, client *http.Client, agents ...string) *Outbound {
	if client == nil {
		client = &http.Client{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &Outbound{server: s, url: url, client: client, agents: slices.Clone(agents)}
	o.secret = kept(connector.Secret("signing-" + s.newID("outbound") + "-0123456789abcdef"))
	s.outbound = append(s.outbound, o)
	return o
}

// OutboundHandler adds an outbound connector that delivers to a handler in
// process, as [Server.Outbound] does to a URL. A handler that panics, ends its
// goroutine or does not return within 30 s gives no response.
func (s *Server) OutboundHandler(h http.Handler, agents ...string) *Outbound {
	return s.Outbound("http://localhost/", &http.Client{Transport: handlerTransport{s, h}}, agents...)
}

// handlerTransport reaches a handler in process.
type handlerTransport struct {
	server  *Server
	handler http.Handler
}

// RoundTrip implements [http.RoundTripper].
func (t handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.RequestURI, in.RemoteAddr = r.URL.RequestURI(), "192.0.2.1:1234" // reserved for documentation
	w := httptest.NewRecorder()
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	if _, err := ask(r.Context(), t.server, "the handler", func() struct{} {
		t.handler.ServeHTTP(w, in)
		return struct{}{}
	}); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// Secret returns the secret that signs the deliveries.
func (o *Outbound) Secret() connector.Secret {
	o.server.mu.Lock()
	defer o.server.mu.Unlock()
	return o.secret()
}

// WithSecret makes o sign with a given secret or, if that is empty, post without a
// signature, as a drain may. It returns o.
func (o *Outbound) WithSecret(secret connector.Secret) *Outbound {
	o.server.mu.Lock()
	defer o.server.mu.Unlock()
	o.secret = kept(secret)
	return o
}

// WithoutRuns makes o post on demand only. It returns o.
func (o *Outbound) WithoutRuns() *Outbound {
	o.server.mu.Lock()
	defer o.server.mu.Unlock()
	o.noRuns = true
	return o
}

// Fault sets a fault. Several faults apply to successive deliveries, in order.
func (o *Outbound) Fault(f DeliveryFault) {
	o.server.mu.Lock()
	defer o.server.mu.Unlock()
	o.faults = append(o.faults, f)
}

// nextFault returns the fault of the next delivery. The caller holds the mutex.
func (o *Outbound) nextFault() (f DeliveryFault) {
	if len(o.faults) > 0 {
		f, o.faults = o.faults[0], o.faults[1:]
	}
	return f
}

// Send posts a payload of any shape, as JSON, like an agent's tool or middleware. It
// returns when the receiver has responded, and may be called by an agent. If a
// fault delivers twice, the result is that of the second.
func (o *Outbound) Send(payload any) OutboundDelivery {
	body, err := json.Marshal(payload)
	if err != nil {
		return OutboundDelivery{Err: err, At: time.Now()}
	}
	return o.post("", body)
}

// Notify posts the notice of an approval, as [Outbound.Send] does. The form of the
// service's notices is not documented.
func (o *Outbound) Notify(a *connic.Approval) OutboundDelivery {
	return o.Send(object{"event": "approval.requested", "approval": a})
}

// Deliveries returns the newest 1,000 deliveries, oldest first, with at most 16
// MiB of bodies.
func (o *Outbound) Deliveries() []OutboundDelivery {
	o.server.mu.Lock()
	defer o.server.mu.Unlock()
	return slices.Clone(o.deliveries.items)
}

// Redeliver delivers the newest run again with a new timestamp. It returns when
// the receiver has responded, and does nothing before the first delivery.
func (o *Outbound) Redeliver() {
	o.server.mu.Lock()
	if len(o.deliveries.items) == 0 {
		o.server.mu.Unlock()
		return
	}
	last := o.deliveries.items[len(o.deliveries.items)-1]
	o.server.mu.Unlock()
	o.deliver(last.RunID, last.Body, DeliveryFault{})
}

// end notifies everything that waits for the end of a run.
func (s *Server) end(r *run) {
	s.mu.Lock()
	close(r.done)
	s.retire(r)
	var to []*Outbound
	var body []byte
	if r.status == connic.RunCompleted {
		body = r.delivery()
		for _, o := range s.outbound {
			if !o.noRuns && o.covers(r) {
				to = append(to, o)
			}
		}
	}
	s.mu.Unlock()
	for _, o := range to {
		o.post(r.id, body)
	}
}

func (o *Outbound) covers(r *run) bool {
	return len(o.agents) == 0 || slices.Contains(o.agents, r.agent)
}

// delivery returns the body of a delivery. The caller holds the mutex.
func (r *run) delivery() []byte {
	o := r.result()
	o["started_at"], o["ended_at"] = timestamp(r.started), timestamp(r.ended)
	o["token_usage"] = r.object(false)["token_usage"]
	body, _ := json.Marshal(o) //nolint:errchkjson // all its values come from JSON, or are texts and numbers
	return body
}

// post makes a delivery with the next fault.
func (o *Outbound) post(runID string, body []byte) OutboundDelivery {
	o.server.mu.Lock()
	f := o.nextFault()
	o.server.mu.Unlock()
	d := o.deliver(runID, body, f)
	if f.Twice {
		d = o.deliver(runID, body, DeliveryFault{})
	}
	return d
}

func (o *Outbound) deliver(runID string, body []byte, f DeliveryFault) OutboundDelivery {
	s := o.server
	d := OutboundDelivery{RunID: runID, Body: body, Header: make(http.Header)}
	if secret := o.Secret(); secret != "" {
		d.Header = connector.Sign(body, time.Now(), secret)
	}
	if text := d.Header.Get(connector.SignatureHeader); f.Signature && text != "" {
		digit := "0"
		if strings.HasPrefix(text, digit) {
			digit = "1"
		}
		d.Header.Set(connector.SignatureHeader, digit+text[1:])
	}
	sent := body
	if f.Body {
		sent = bytes.Clone(body)
		sent[len(sent)-1] ^= 1
	}
	if f.Late > 0 && !s.pass(s.ctx, f.Late) {
		d.At, d.Err = time.Now(), errClosed
		return d
	}
	d.At = time.Now()
	d.Status, d.Err = o.request(s.ctx, d.Header, sent)
	s.mu.Lock()
	defer s.mu.Unlock()
	o.deliveries.push(d, len(d.Body), maxDelivered, maxDeliverBytes)
	return d
}

func (o *Outbound) request(ctx context.Context, header http.Header, body []byte) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, o.url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header = header.Clone()
	r.Header.Set("Content-Type", "application/json")
	resp, err := o.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, nil
}
