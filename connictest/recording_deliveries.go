package connictest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/connic-go/connic/connector"
)

const deliveryOperation = "delivery"

// maxDelivery bounds the body of a delivery that is recorded, in bytes.
const maxDelivery = 32 << 20

// Deliveries returns a handler that also records the deliveries that it passes
// to next, a receiver of package connector, with the status that next responds
// with. When the Recording replays, it returns next.
func (r *Recording) Deliveries(next http.Handler) http.Handler {
	if !r.records {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(io.LimitReader(q.Body, maxDelivery+1))
		q = q.Clone(q.Context())
		q.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), q.Body))
		x := &rawExchange{op: deliveryOperation, method: q.Method, url: q.URL, header: q.Header.Clone(), body: body, unanswered: true}
		r.mu.Lock()
		r.raw = append(r.raw, x)
		if r.size += len(body); r.size > maxRecording || len(body) > maxDelivery || err != nil {
			r.wrong = "a delivery was too large or broke off"
		}
		r.mu.Unlock()
		status := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(status, q)
		r.mu.Lock()
		defer r.mu.Unlock()
		x.status, x.unanswered, x.response = status.status, false, http.Header{}
	})
}

// statusWriter notes the status of a response.
type statusWriter struct {
	http.ResponseWriter
	status int
	wrote  bool
}

func (w *statusWriter) WriteHeader(status int) {
	if !w.wrote && status >= 200 {
		w.status, w.wrote = status, true
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(b)
}

// Unwrap serves [http.ResponseController].
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Deliver sends the recorded deliveries to a handler, in their order and in
// process, signed with the secret and the current time. It returns an error if
// there are none, as while it records, or if the handler responds with another status than when they
// were recorded; it then still delivers the others.
func (r *Recording) Deliver(ctx context.Context, h http.Handler, secret connector.Secret) error {
	type delivery struct {
		body   []byte
		status int
	}
	var all []delivery
	r.mu.Lock()
	if r.file != nil {
		for _, x := range r.file.Exchanges {
			if x.Operation == deliveryOperation {
				r.served[x]++
				all = append(all, delivery{r.encode(x.Request.Body), x.Response.Status})
			}
		}
	}
	r.mu.Unlock()
	if r.records {
		return fmt.Errorf("connictest: %s is being recorded, and has nothing to deliver yet", r.path)
	}
	if len(all) == 0 {
		return fmt.Errorf("connictest: %s has no deliveries", r.path)
	}
	var wrong error
	for i, d := range all {
		q, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/", bytes.NewReader(d.body))
		if err != nil {
			return err
		}
		q.Header = connector.Sign(d.body, time.Now(), secret)
		q.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, q)
		if w.Code != d.status && wrong == nil {
			wrong = fmt.Errorf("connictest: delivery %d of %s: the handler responded with %d, recorded was %d", i+1, r.path, w.Code, d.status)
		}
	}
	return wrong
}
