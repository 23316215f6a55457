package chattest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/coder/websocket"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

const maxMessage = 32 << 20 // bytes of a message of a recorded session

// Recorded returns a WebSocket connector for any path. If the Recording records,
// it passes sessions on to the connector with the given URL and secret, over the
// client or, if that is nil, [http.DefaultClient], and records them. If it
// replays, it responds in process, accepts any secret, and ignores the other
// arguments. Reach it with [Client].
//
// A message is recognized by its content, not by its id. The chunks of an
// agent's answer are recorded as one, without their times, so that no private
// value is divided. How the service closes a session is not recorded. The
// sessions are ended by t.Cleanup, and must be so before the Recording: call
// Recorded after [connictest.Record] or [connictest.Replay].
func Recorded(t TB, rec *connictest.Recording, rawURL string, secret connector.Secret, client *http.Client) http.Handler {
	t.Helper()
	h := &recorded{recording: rec, url: cmp.Or(rawURL, "wss://connector.invalid/"), secret: secret, client: client}
	base, end := context.WithCancel(context.Background())
	h.base = base
	t.Cleanup(func() {
		h.mu.Lock()
		end()
		h.mu.Unlock()
		h.sessions.Wait()
	})
	return h
}

type recorded struct {
	recording *connictest.Recording
	url       string
	secret    connector.Secret
	client    *http.Client
	base      context.Context //nolint:containedctx // of all sessions

	mu       sync.Mutex // orders the beginning of sessions before the end
	sessions sync.WaitGroup
}

// ServeHTTP implements [http.Handler].
func (h *recorded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	if h.base.Err() != nil {
		h.mu.Unlock()
		return
	}
	h.sessions.Add(1)
	h.mu.Unlock()
	defer h.sessions.Done()
	ctx, cancel := context.WithCancel(h.base)
	defer cancel()
	defer context.AfterFunc(r.Context(), cancel)()

	var service *websocket.Conn // nil if it is replayed
	status, first, err := h.exchange(ctx, http.MethodGet, nil, func() (status int, body []byte, err error) {
		service, status, body, err = h.dial(ctx)
		return status, body, err
	})
	if service != nil {
		defer func() { _ = service.CloseNow() }()
	}
	if err != nil || status != http.StatusOK {
		w.WriteHeader(cmp.Or(status, http.StatusBadGateway))
		_, _ = w.Write(first)
		return
	}
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // it has sent the response
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(maxMessage)
	if conn.Write(ctx, websocket.MessageText, first) != nil {
		return
	}
	if service != nil {
		h.record(ctx, cancel, conn, service)
	} else {
		h.replay(ctx, conn)
	}
}

// dial opens a session with the service, and returns its first message, or the
// response that refuses the session.
func (h *recorded) dial(ctx context.Context) (conn *websocket.Conn, status int, body []byte, err error) {
	conn, resp, err := websocket.Dial(ctx, h.url, &websocket.DialOptions{HTTPClient: h.client, HTTPHeader: http.Header{secretHeader: {string(h.secret)}}}) //nolint:bodyclose // it need not be closed
	if err != nil {
		if resp != nil && resp.StatusCode >= http.StatusBadRequest {
			body, _ = io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // best effort
			return nil, resp.StatusCode, body, nil
		}
		return nil, 0, nil, err
	}
	conn.SetReadLimit(maxMessage)
	_, body, err = conn.Read(ctx)
	return conn, http.StatusOK, body, err
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(q *http.Request) (*http.Response, error) { return f(q) }

// exchange records a request of a connector with the response of next, or
// returns the recorded one.
func (h *recorded) exchange(ctx context.Context, method string, body []byte, next func() (int, []byte, error)) (status int, answer []byte, err error) {
	q, err := http.NewRequestWithContext(ctx, method, h.url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	q.Header.Set(secretHeader, string(h.secret))
	q.Header.Set("Content-Type", "application/json")
	resp, err := h.recording.Transport(roundTripper(func(q *http.Request) (*http.Response, error) {
		if _, err := io.Copy(io.Discard, q.Body); err != nil {
			return nil, err
		}
		status, answer, err := next()
		if err != nil {
			return nil, err
		}
		return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(answer)), Request: q}, nil
	})).RoundTrip(q)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// members are those of a message.
type members = map[string]json.RawMessage

// A turn is a message and what the service sent in reply.
type turn struct {
	id     json.RawMessage
	body   []byte // without the id
	frames []members
}

func newTurn(data []byte) *turn {
	x := &turn{body: data}
	var m members
	if json.Unmarshal(data, &m) == nil {
		x.id = m["id"]
		delete(m, "id")
		if body, err := json.Marshal(m); err == nil {
			x.body = body
		}
	}
	return x
}

// add adds a message of the service. Chunks become part of the first one.
func (x *turn) add(f members) {
	delete(f, "id")
	if string(f["type"]) == `"stream_chunk"` {
		for _, first := range x.frames {
			if !bytes.Equal(first["type"], f["type"]) || !bytes.Equal(first["agent"], f["agent"]) {
				continue
			}
			for _, name := range []string{"chunk", "content", "text", "delta"} {
				var before, chunk string
				if json.Unmarshal(first[name], &before) != nil || json.Unmarshal(f[name], &chunk) != nil {
					continue
				}
				if both, err := json.Marshal(before + chunk); err == nil {
					first[name] = both
					return
				}
			}
		}
	}
	x.frames = append(x.frames, f)
}

// recordedReply is the form in which a reply is recorded.
type recordedReply struct {
	Frames []members `json:"frames"`
}

// record passes messages on in both directions, and records them when the
// session has ended.
func (h *recorded) record(ctx context.Context, cancel func(), conn, service *websocket.Conn) {
	var mu sync.Mutex
	var turns []*turn
	var reading sync.WaitGroup
	reading.Go(func() {
		defer cancel()
		for {
			kind, data, err := service.Read(ctx)
			if err != nil {
				var closed websocket.CloseError
				if errors.As(err, &closed) {
					_ = conn.Close(closed.Code, closed.Reason)
				}
				return
			}
			var f members
			mu.Lock()
			if json.Unmarshal(data, &f) == nil && len(turns) > 0 {
				to := turns[len(turns)-1]
				for _, x := range turns {
					if id := f["id"]; id != nil && bytes.Equal(id, x.id) {
						to = x
					}
				}
				to.add(f)
			}
			mu.Unlock()
			if conn.Write(ctx, kind, data) != nil {
				return
			}
		}
	})
	for {
		kind, data, err := conn.Read(ctx)
		if err != nil {
			break
		}
		mu.Lock()
		turns = append(turns, newTurn(data))
		mu.Unlock()
		if service.Write(ctx, kind, data) != nil {
			break
		}
	}
	cancel()
	reading.Wait()
	for _, x := range turns {
		_, _, _ = h.exchange(context.WithoutCancel(ctx), http.MethodPost, x.body, func() (int, []byte, error) {
			body, err := json.Marshal(recordedReply{x.frames})
			return http.StatusOK, body, err
		})
	}
}

// replay replies with what was recorded.
func (h *recorded) replay(ctx context.Context, conn *websocket.Conn) {
	for {
		_, data, err := conn.Read(ctx)
		if err != nil {
			return
		}
		x := newTurn(data)
		var reply recordedReply
		status, body, err := h.exchange(ctx, http.MethodPost, x.body, nil)
		if err != nil || status != http.StatusOK || json.Unmarshal(body, &reply) != nil {
			_ = conn.Close(websocket.StatusPolicyViolation, "The recording does not have this message")
			return
		}
		for _, f := range reply.Frames {
			if x.id != nil {
				f["id"] = x.id
			}
			if data, err = json.Marshal(f); err != nil || conn.Write(ctx, websocket.MessageText, data) != nil {
				return
			}
		}
	}
}
