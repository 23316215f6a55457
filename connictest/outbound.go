package connictest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
)

// Outbound is an outbound connector of the fake: it posts each run that has completed to
// a URL, signed.
type Outbound struct {
	server *Server
	url    string
	secret connector.Secret
	client *http.Client

	// The rest is guarded by the server's mutex.
	agents     []string
	faults     []DeliveryFault
	deliveries []OutboundDelivery
}

// OutboundDelivery is a delivery that was made.
type OutboundDelivery struct {
	RunID  string
	Header http.Header // the signature's
	Body   []byte
	Status int   // of the receiver's answer; 0 if there was none
	Err    error // why there was none
	At     time.Time
}

// DeliveryFault is something that goes wrong with the deliveries of one run. Its fields
// combine.
type DeliveryFault struct {
	Twice     bool          // it is delivered twice, the second time with a new timestamp
	Late      time.Duration // it is signed, and sent so much later
	Signature bool          // its signature has one digit changed
	Body      bool          // its body has one byte changed after it was signed
}

// Outbound adds an outbound connector that delivers the completed runs of agents, of all
// if none is named, to a URL. Failed and cancelled runs are not delivered. A delivery is
// made once, whatever the answer: whether the service repeats one is not documented.
// [Outbound.Redeliver] repeats it.
//
// In a fake that does not listen, an http.Client with a transport of your own leads to
// your handler; nil is a plain client.
func (s *Server) Outbound(url string, client *http.Client, agents ...string) *Outbound {
	if client == nil {
		client = &http.Client{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &Outbound{server: s, url: url, client: client, agents: slices.Clone(agents)}
	o.secret = connector.Secret("signing-" + s.newID("outbound") + "-0123456789abcdef")
	s.outbound = append(s.outbound, o)
	return o
}

// Secret is the secret that signs the deliveries.
func (o *Outbound) Secret() connector.Secret { return o.secret }

// Fault sets a fault. Several hit one run after the other, in their order.
func (o *Outbound) Fault(f DeliveryFault) {
	o.server.mu.Lock()
	defer o.server.mu.Unlock()
	o.faults = append(o.faults, f)
}

// Deliveries returns the deliveries so far, the oldest first.
func (o *Outbound) Deliveries() []OutboundDelivery {
	o.server.mu.Lock()
	defer o.server.mu.Unlock()
	return slices.Clone(o.deliveries)
}

// Redeliver delivers the newest run again, with a new timestamp. It returns when the
// receiver has answered, and does nothing before the first delivery.
func (o *Outbound) Redeliver() {
	o.server.mu.Lock()
	if len(o.deliveries) == 0 {
		o.server.mu.Unlock()
		return
	}
	last := o.deliveries[len(o.deliveries)-1]
	o.server.mu.Unlock()
	o.deliver(last.RunID, last.Body, DeliveryFault{})
}

// end tells everybody who waits for it of a run that has ended.
func (s *Server) end(r *run) {
	s.mu.Lock()
	close(r.done)
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

// delivery is the body of a delivery. The caller holds the mutex.
func (r *run) delivery() []byte {
	o := r.result()
	o["started_at"], o["ended_at"] = timestamp(r.started), timestamp(r.ended)
	o["token_usage"] = r.object(false)["token_usage"]
	body, _ := json.Marshal(o) //nolint:errchkjson // all its values come from JSON, or are texts and numbers
	return body
}

func (o *Outbound) deliver(runID string, body []byte, f DeliveryFault) {
	s := o.server
	d := OutboundDelivery{RunID: runID, Body: body, Header: connector.Sign(body, time.Now(), o.secret)}
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
	o.deliveries = append(o.deliveries, d)
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
