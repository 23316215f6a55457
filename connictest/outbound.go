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

// An Outbound is an outbound connector of the fake. It posts each completed run
// to a URL, signed.
type Outbound struct {
	server *Server
	url    string
	secret func() connector.Secret
	client *http.Client

	// The remaining fields are guarded by the mutex of the server.
	agents     []string
	faults     []DeliveryFault
	deliveries history[OutboundDelivery]
}

// An OutboundDelivery is a delivery that was made.
type OutboundDelivery struct {
	RunID  string
	Header http.Header // the headers of the signature
	Body   []byte
	Status int   // of the response; 0 if there was none
	Err    error // why there was no response
	At     time.Time
}

// A DeliveryFault makes the deliveries of one run fail. Its fields can be
// combined.
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
func (o *Outbound) Secret() connector.Secret { return o.secret() }

// Fault sets a fault. Several faults apply to successive runs, in order.
func (o *Outbound) Fault(f DeliveryFault) {
	o.server.mu.Lock()
	defer o.server.mu.Unlock()
	o.faults = append(o.faults, f)
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
	type job struct {
		to   *Outbound
		with DeliveryFault
	}
	var jobs []job
	var body []byte
	if r.status == connic.RunCompleted {
		body = r.delivery()
		for _, o := range s.outbound {
			if len(o.agents) > 0 && !slices.Contains(o.agents, r.agent) {
				continue
			}
			j := job{to: o}
			if len(o.faults) > 0 {
				j.with, o.faults = o.faults[0], o.faults[1:]
			}
			jobs = append(jobs, j)
		}
	}
	s.mu.Unlock()
	for _, j := range jobs {
		j.to.deliver(r.id, body, j.with)
		if j.with.Twice {
			j.to.deliver(r.id, body, DeliveryFault{})
		}
	}
}

// delivery returns the body of a delivery. The caller holds the mutex.
func (r *run) delivery() []byte {
	o := r.result()
	o["started_at"], o["ended_at"] = timestamp(r.started), timestamp(r.ended)
	o["token_usage"] = r.object(false)["token_usage"]
	body, _ := json.Marshal(o) //nolint:errchkjson // all its values come from JSON, or are texts and numbers
	return body
}

func (o *Outbound) deliver(runID string, body []byte, f DeliveryFault) {
	s := o.server
	d := OutboundDelivery{RunID: runID, Body: body, Header: connector.Sign(body, time.Now(), o.Secret())}
	if f.Signature {
		text := d.Header.Get(connector.SignatureHeader)
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
		return
	}
	d.At = time.Now()
	d.Status, d.Err = o.post(s.ctx, d.Header, sent)
	s.mu.Lock()
	defer s.mu.Unlock()
	o.deliveries.push(d, len(d.Body), maxDelivered, maxDeliverBytes)
}

func (o *Outbound) post(ctx context.Context, header http.Header, body []byte) (int, error) {
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
