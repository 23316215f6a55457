package connector

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// Handler receives deliveries of outbound connectors, and other notices that are signed
// the same way. It is a [Receiver] with the defaults:
//
//	http.Handle("POST /hooks/connic", connector.Handler(handle, secret))
//
// It answers with a 2xx only after handle has returned nil, or had done so for the same
// delivery before. Register the exact path: a redirect turns a POST into a GET.
func Handler(handle func(ctx context.Context, d Delivery) error, secrets ...Secret) http.Handler {
	return &Receiver{Handle: handle, Secrets: secrets}
}

// Receiver is the [http.Handler] of [Handler], with what may be set. Do not change or
// copy it once it serves.
//
// The sender gets one of these answers, each with a fixed text:
//
//   - 204: Handle returned nil, now or before;
//   - 401: the delivery is refused, whatever the reason: not signed, a wrong signature,
//     a timestamp too far from now, a body that is too large or not declared as JSON;
//   - 400: it is signed, and is not JSON;
//   - 405: the method is not POST;
//   - 422: Handle returned an error that [Permanent] has made;
//   - 503: the same delivery is being handled, or the Store has failed;
//   - 500: Handle has returned an error or panicked, no secret is set, or a middleware
//     has read the body.
//
// Whether the service repeats a delivery that was not answered with a 2xx is not
// documented.
type Receiver struct {
	// Handle handles a delivery. Its context ends when the sender leaves, and after 5
	// minutes. It should store what it got, return, and let the work be done later. A
	// process can die after the work and before it is remembered, so Handle has to bear
	// a repetition all the same.
	Handle func(ctx context.Context, d Delivery) error
	// Secrets are the signing secrets, of which each delivery has to match one. Blank
	// ones are left out.
	Secrets []Secret
	// Tolerance is how far a timestamp may be from now, either way: 5 minutes if it is 0.
	Tolerance time.Duration
	// MaxBytes bounds a body: 4 MiB if it is 0. One that comes compressed is not
	// decompressed.
	MaxBytes int64
	// Store drops repeated deliveries: those of a finished run by the run's id, other
	// notices by the hash of their body. If it is nil, the process remembers the last
	// 10,000 for a day.
	Store Store
	// OnError, if set, is told why a delivery was not answered with a 2xx. It must be
	// safe for concurrent use. The errors have neither secrets nor bodies in them.
	OnError func(r *http.Request, err error)

	once  sync.Once
	store Store
}

const (
	defaultMaxBytes = 4 << 20
	memoryKeys      = 10_000
	memoryTime      = 24 * time.Hour
	// lease bounds Handle too, so that a claim does not run out under it.
	lease = 5 * time.Minute
	// bodyTime is for reading a body: whoever sends a byte at a time is not served.
	bodyTime = 30 * time.Second
	// storeTime is for what is to be remembered after the sender has left.
	storeTime = 10 * time.Second
)

// permanent is an error that a repetition cannot mend.
type permanent struct{ err error }

func (e *permanent) Error() string { return e.err.Error() }
func (e *permanent) Unwrap() error { return e.err }

// Permanent marks an error of a handler as one that a repetition of the delivery cannot
// mend. The sender gets the status 422 in place of 500. Permanent of nil is nil.
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

// answers say no more than the status does: the sender may be anybody.
var answers = map[int]string{
	http.StatusBadRequest:          "not JSON\n",
	http.StatusUnauthorized:        "refused\n",
	http.StatusMethodNotAllowed:    "POST only\n",
	http.StatusUnprocessableEntity: "not accepted\n",
	http.StatusInternalServerError: "not handled\n",
	http.StatusServiceUnavailable:  "try again later\n",
}

// receive checks a request, hands it over, and returns the status of its answer.
func (v *Receiver) receive(w http.ResponseWriter, r *http.Request) (int, error) {
	if r.Method != http.MethodPost {
		return http.StatusMethodNotAllowed, fmt.Errorf("connic: connector: the method is %.16q, and not POST", r.Method)
	}
	span := v.Tolerance
	if span <= 0 {
		span = tolerance
	}
	// Not a byte of the body is read for somebody who cannot even sign.
	s, err := readSignature(r.Header, span, v.Secrets)
	switch {
	case v.Handle == nil:
		return http.StatusInternalServerError, errors.New("connic: connector: the receiver has no Handle")
	case errors.Is(err, ErrNoSecret):
		return http.StatusInternalServerError, err
	case err == nil && !isJSON(r.Header):
		err = ErrContentType
	}
	if err != nil {
		return http.StatusUnauthorized, err
	}
	body, err := v.read(w, r)
	switch {
	case errors.Is(err, ErrBodyConsumed):
		return http.StatusInternalServerError, err
	case err == nil:
		err = s.verify(body)
	}
	if err != nil {
		return http.StatusUnauthorized, err
	}
	d, err := ParseDelivery(body)
	if err != nil {
		return http.StatusBadRequest, err
	}
	return v.handle(r, d)
}

// isJSON reports whether a body may be JSON. The vendor does not say what its deliveries
// declare, so none is as good.
func isJSON(h http.Header) bool {
	value := h.Get("Content-Type")
	if value == "" {
		return true
	}
	kind, _, err := mime.ParseMediaType(value)
	return err == nil && (kind == "application/json" || (strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json")))
}

func (v *Receiver) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	limit := v.MaxBytes
	if limit <= 0 {
		limit = defaultMaxBytes
	}
	if r.ContentLength > limit {
		return nil, ErrTooLarge
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTime)) // not every server has one
	var buf bytes.Buffer
	if r.Body != nil {
		// MaxBytesReader also closes the connection behind a body that is too large.
		if _, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, limit)); err != nil {
			if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
				return nil, ErrTooLarge
			}
			return nil, errors.New("connic: connector: the body broke off, or took too long")
		}
	}
	// Otherwise it would end the request's context while Handle works.
	_ = control.SetReadDeadline(time.Time{})
	if r.ContentLength > 0 && buf.Len() == 0 {
		return nil, ErrBodyConsumed
	}
	return buf.Bytes(), nil
}

// key is what a repetition has in common with the first delivery. Notices on the way of
// a run may have its id too, and are no repetitions of each other.
func key(d *Delivery) string {
	if d.RunID != "" && d.Status.Finished() {
		return "run:" + d.RunID
	}
	sum := sha256.Sum256(d.Body)
	return "body:" + hex.EncodeToString(sum[:])
}

// handle hands a delivery over, unless that was done before.
func (v *Receiver) handle(r *http.Request, d Delivery) (status int, err error) {
	v.once.Do(func() {
		if v.store = v.Store; v.store == nil {
			v.store = NewMemory(memoryKeys, memoryTime)
		}
	})
	ctx, cancel := context.WithTimeout(r.Context(), lease)
	defer cancel()
	k := key(&d)
	switch state, err := v.store.Claim(ctx, k, lease); {
	case err != nil:
		return http.StatusServiceUnavailable, fmt.Errorf("connic: connector: the store has failed: %w", err)
	case state == Done:
		return http.StatusNoContent, nil
	case state != Claimed:
		return http.StatusServiceUnavailable, ErrBusy
	}
	// The sender may be gone when it is time to remember.
	after, cancelAfter := context.WithTimeout(context.WithoutCancel(ctx), lease+storeTime)
	defer cancelAfter()

	handled := false
	defer func() {
		if !handled {
			if failed := v.store.Release(after, k); failed != nil && err != nil {
				err = fmt.Errorf("%w; and the store has failed: %w", err, failed)
			}
		}
	}()
	err = v.guard(ctx, r, d)
	var final *permanent
	switch {
	case errors.As(err, &final):
		return http.StatusUnprocessableEntity, err
	case err != nil:
		return http.StatusInternalServerError, err
	}
	handled = true
	// The work is done: a repetition is not asked for because it is not remembered.
	if err := v.store.Finish(after, k); err != nil {
		return http.StatusNoContent, fmt.Errorf("connic: connector: handled, but the store has failed: %w", err)
	}
	return http.StatusNoContent, nil
}

// guard calls Handle. A panic becomes an error, so that the sender gets its answer. It
// is told to OnError, or else logged as net/http would have done. [http.ErrAbortHandler]
// goes on its way.
func (v *Receiver) guard(ctx context.Context, r *http.Request, d Delivery) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
			panic(p) //nolint:forbidigo // it is not ours
		}
		err = fmt.Errorf("connic: connector: the handler panicked: %v\n%s", p, debug.Stack())
		if v.OnError == nil {
			logPanic(r, err)
		}
	}()
	return v.Handle(ctx, d)
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
