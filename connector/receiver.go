package connector

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Handler returns an [http.Handler] that receives deliveries of outbound
// connectors, and whatever else is signed in the same way. It is a [Receiver]
// with default settings:
//
//	http.Handle("POST /hooks/connic", connector.Handler(handle, secret))
//
// It responds with a 2xx only after handle has returned nil for this delivery,
// now or earlier. Register the exact path, because a redirect turns a POST into
// a GET.
func Handler(handle func(ctx context.Context, d Delivery) error, secrets ...Secret) http.Handler {
	return &Receiver{Handle: handle, Secrets: secrets}
}

// A Receiver is the configurable form of [Handler]. Do not modify or copy it
// after first use.
//
// The sender receives one of these statuses, each with a fixed body:
//
//   - 204: Handle returned nil, now or earlier.
//   - 401: The delivery is refused for any of these reasons: it is not signed, the
//     signature is wrong, the timestamp is too far from the current time, or the body
//     is not declared as JSON.
//   - 400: The delivery is signed but not JSON.
//   - 405: The method is not POST.
//   - 413: The body is too large.
//   - 422: Handle returned an error marked by [Permanent].
//   - 503: The same delivery is being handled, or the Store failed.
//   - 500: Handle returned another error or panicked, no secret is set, or middleware
//     has consumed the body.
//
// A batch is one delivery: it is acknowledged, or refused, as a whole.
//
// A delivery that is refused before its body was read is answered without waiting for
// it. Its connection is closed within a second, unless it is one of HTTP/2.
//
// Whether the service repeats a delivery that did not receive a 2xx is not documented.
type Receiver struct {
	// Handle handles a delivery. Its context ends when the sender disconnects,
	// and after 5 minutes. Handle should store the delivery and return, and
	// leave the actual work for later. It must tolerate repeated deliveries,
	// since a process can die after the work is done but before that is
	// recorded.
	Handle func(ctx context.Context, d Delivery) error
	// Secrets are the signing secrets; a delivery must match one of them. Blank
	// ones are ignored.
	Secrets []Secret
	// Unsigned accepts deliveries without verifying anything, for a drain
	// without a secret. Whoever knows the URL can then post whatever they like,
	// and repeat what was posted before. Nothing is deduplicated, because a
	// forgery would then suppress what is genuine: the Store is not used. Set a
	// secret if you can. Otherwise limit who can reach the URL, and read from the
	// API what you act on. A receiver with secrets must not be Unsigned: it
	// refuses everything.
	Unsigned bool
	// Tolerance is the maximum difference between a timestamp and the current
	// time, in either direction. 0 means 5 minutes.
	Tolerance time.Duration
	// MaxBytes limits the body unless it is a list. 0 means 4 MiB. Compressed
	// bodies are not decompressed. A body must arrive within 30 s, if the
	// server's ResponseWriter supports deadlines.
	MaxBytes int64
	// MaxBatchBytes limits a body that is a list, as drains post. 0 means 32 MiB.
	// A body is read before its signature can be verified: lower the limit
	// where no drain posts.
	MaxBatchBytes int64
	// Store detects repeated deliveries: see [Store]. If it is nil, the process
	// remembers the last 10,000 for a day.
	Store Store
	// OnError, if not nil, is called with the reason why a delivery did not
	// receive a 2xx. It must be safe for concurrent use. The errors contain
	// neither secrets nor bodies.
	OnError func(r *http.Request, err error)

	once  sync.Once
	store Store
}

const (
	memoryKeys = 10_000
	memoryTime = 24 * time.Hour
	// lease also limits the context of Handle, so that a claim does not expire
	// while Handle runs. A Handle that ignores its context loses its claim.
	lease = 5 * time.Minute
	// bodyTime is the time allowed for reading a body, against senders that
	// trickle bytes.
	bodyTime = 30 * time.Second
	// storeTime is the time allowed for recording a delivery, which happens
	// even if the sender has disconnected.
	storeTime = 10 * time.Second
	// linger is how long the rest of a refused body is discarded: closing the
	// connection at once could destroy the response.
	linger = time.Second
)

// permanent is an error that a repeated delivery cannot fix.
type permanent struct{ err error }

func (e *permanent) Error() string { return e.err.Error() }
func (e *permanent) Unwrap() error { return e.err }

// Permanent marks an error returned by Handle as one that a repeated delivery
// cannot fix. The sender receives a 422 instead of a 500. Permanent(nil)
// returns nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanent{err}
}

// ServeHTTP implements [http.Handler].
func (v *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, err := v.receive(w, r)
	if err != nil && v.OnError != nil {
		v.OnError(r, err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	switch status {
	case http.StatusNoContent:
		h.Del("Content-Type")
	case http.StatusMethodNotAllowed:
		h.Set("Allow", http.MethodPost)
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "10")
	}
	w.WriteHeader(status)
	if status != http.StatusNoContent {
		_, _ = io.WriteString(w, answers[status])
	}
}

// leave prepares a response that does not wait for the rest of a body, of which
// net/http would read up to 256 KiB first.
func leave(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor < 2 {
		w.Header().Set("Connection", "close")
	}
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(linger))
	}
}

// answers reveal no more than the status does, since the sender may be anyone.
var answers = map[int]string{
	http.StatusBadRequest:            "not JSON\n",
	http.StatusUnauthorized:          "refused\n",
	http.StatusMethodNotAllowed:      "POST only\n",
	http.StatusRequestEntityTooLarge: "too large\n",
	http.StatusUnprocessableEntity:   "not accepted\n",
	http.StatusInternalServerError:   "not handled\n",
	http.StatusServiceUnavailable:    "try again later\n",
}

const errNoHandle = sentinel("connic: connector: the receiver has no Handle")

// receive verifies a request, passes it on, and returns the status of the
// response.
func (v *Receiver) receive(w http.ResponseWriter, r *http.Request) (int, error) {
	if r.Method != http.MethodPost {
		leave(w, r)
		return http.StatusMethodNotAllowed, fmt.Errorf("connic: connector: the method is %.16q, not POST", r.Method)
	}
	s, err := v.admit(r.Header)
	if err != nil {
		leave(w, r)
		if errors.Is(err, ErrNoSecret) || errors.Is(err, errNoHandle) || errors.Is(err, ErrUnsigned) {
			return http.StatusInternalServerError, err
		}
		return http.StatusUnauthorized, err
	}
	body, err := v.read(w, r)
	if err == nil {
		err = s.verify(body)
		if n := int64(len(body)); (err != nil || v.Unsigned) && (n == 0 || r.ContentLength > 0) && n != r.ContentLength {
			return http.StatusInternalServerError, ErrBodyConsumed
		}
	}
	if err != nil {
		leave(w, r)
		if errors.Is(err, ErrTooLarge) {
			return http.StatusRequestEntityTooLarge, err
		}
		return http.StatusUnauthorized, err // whatever the reason, the response is the same
	}
	d, err := ParseDelivery(body)
	if err != nil {
		return http.StatusBadRequest, err
	}
	if v.Unsigned {
		ctx, cancel := context.WithTimeout(r.Context(), lease)
		defer cancel()
		return v.call(ctx, r, d)
	}
	return v.handle(r, d, key(s.timestamp, &d))
}

// admit decides by its header whether the body of a request is read: not if it
// is not even signed.
func (v *Receiver) admit(h http.Header) (*signature, error) {
	span := v.Tolerance
	if span <= 0 {
		span = tolerance
	}
	s, err := readSignature(h, span, v.Secrets)
	if v.Unsigned {
		if !errors.Is(err, ErrNoSecret) {
			return nil, ErrUnsigned
		}
		s, err = nil, nil
	}
	switch {
	case v.Handle == nil:
		return nil, errNoHandle
	case err == nil && !isJSON(h):
		return nil, ErrContentType
	}
	return s, err
}

// isJSON reports whether a body may be JSON. The vendor does not document the
// content type of deliveries, so a missing one is accepted.
func isJSON(h http.Header) bool {
	value := h.Get("Content-Type")
	if value == "" {
		return true
	}
	kind, _, err := mime.ParseMediaType(value)
	return err == nil && (kind == "application/json" || (strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json")))
}

// key identifies a delivery and its repetitions: see [Store].
func key(timestamp string, d *Delivery) string {
	if d.Kind == KindRun && len(d.RunID) <= maxRunID {
		return "run:" + d.RunID
	}
	h := sha256.New()
	_, _ = io.WriteString(h, timestamp+".")
	_, _ = h.Write(d.Body)
	return "body:" + hex.EncodeToString(h.Sum(nil))
}

// maxRunID is the maximum length of a run id in a key.
const maxRunID = 200

// handle passes a delivery to Handle, unless that was done before.
func (v *Receiver) handle(r *http.Request, d Delivery, key string) (status int, err error) {
	v.once.Do(func() {
		if v.store = v.Store; v.store == nil {
			v.store = NewMemory(memoryKeys, memoryTime)
		}
	})
	until := time.Now().Add(lease)
	ctx, cancel := context.WithDeadline(r.Context(), until)
	defer cancel()
	switch state, err := v.store.Claim(ctx, key, lease); {
	case err != nil:
		return http.StatusServiceUnavailable, fmt.Errorf("connic: connector: the store has failed: %w", err)
	case state == Done:
		return http.StatusNoContent, nil
	case state != Claimed:
		return http.StatusServiceUnavailable, ErrBusy
	}
	// The sender may have disconnected by the time the delivery is recorded.
	record := func(write func(context.Context, string) error, until time.Time) error {
		ctx, cancel := context.WithDeadline(context.WithoutCancel(r.Context()), until)
		defer cancel()
		return write(ctx, key)
	}
	handled := false
	defer func() {
		// After the lease the claim may be that of another process, which is
		// handling the same delivery.
		if handled || !time.Now().Before(until) {
			return
		}
		if failed := record(v.store.Release, until); failed != nil && err != nil {
			err = fmt.Errorf("%w; and the store has failed: %w", err, failed)
		}
	}()
	if status, err = v.call(ctx, r, d); err != nil {
		return status, err
	}
	handled = true
	// The work is done: do not request a repetition because it could not be
	// recorded.
	if err := record(v.store.Finish, time.Now().Add(storeTime)); err != nil {
		return http.StatusNoContent, fmt.Errorf("connic: connector: handled, but the store has failed: %w", err)
	}
	return http.StatusNoContent, nil
}

// call calls Handle, and returns the status of the response. A panic is an error,
// so that the sender receives a response. It is reported to OnError or, without
// OnError, logged as net/http would.
func (v *Receiver) call(ctx context.Context, r *http.Request, d Delivery) (int, error) {
	err := safely(func() error { return v.Handle(ctx, d) })
	if panicked := (*panicError)(nil); v.OnError == nil && errors.As(err, &panicked) {
		logPanic(r, err)
	}
	switch {
	case err == nil:
		return http.StatusNoContent, nil
	case isPermanent(err):
		return http.StatusUnprocessableEntity, err
	}
	return http.StatusInternalServerError, err
}

func logPanic(r *http.Request, err error) {
	server, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	switch {
	case !ok: // a test without a server, which gets the status
	case server.ErrorLog != nil:
		server.ErrorLog.Print(err) //nolint:forbidigo // as net/http would have done
	default:
		log.Print(err) //nolint:forbidigo // where net/http would have logged the panic
	}
}
