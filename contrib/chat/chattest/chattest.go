// Package chattest is a WebSocket connector for tests, in front of an agent of
// package connictest. The runs that its messages start are like all others.
package chattest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

// TB is the subset of testing.TB that [NewServer] needs.
type TB interface {
	Helper()
	Cleanup(func())
}

// A Server is a WebSocket connector. Set its fields before it serves.
type Server struct {
	// Split divides an output into the chunks that are streamed. If it is nil,
	// the output is divided after each space. If it returns no chunks, the
	// connector does not stream.
	Split func(output string) []string
	// Pause is the time between chunks.
	Pause time.Duration
	// MaxMessages is the number of messages after which a session ends. 0 means
	// 100.
	MaxMessages int
	// Idle is the time without a message after which a session ends. 0 means an
	// hour.
	Idle time.Duration

	hook     *connictest.Connector
	listener *httptest.Server
	mu       sync.Mutex
	sessions int
}

// New returns a Server that runs the first agent of a connector and requires
// the connector's secret. It is an [http.Handler] for any path.
func New(hook *connictest.Connector) *Server { return &Server{hook: hook} }

// NewServer returns a Server that listens on a loopback address. It is closed
// by t.Cleanup.
func NewServer(t TB, hook *connictest.Connector) *Server {
	t.Helper()
	s := New(hook)
	s.listener = httptest.NewServer(s)
	t.Cleanup(func() {
		s.listener.CloseClientConnections()
		s.listener.Close()
	})
	return s
}

// URL returns the URL of a Server that listens.
func (s *Server) URL() string { return "ws" + strings.TrimPrefix(s.listener.URL, "http") + "/chat" }

// Secret returns the secret of the connector.
func (s *Server) Secret() connector.Secret { return s.hook.Secret() }

type object map[string]any

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	given, want := r.Header.Get("X-Connic-Secret"), string(s.Secret())
	if given != "" && given != want {
		http.Error(w, `{"detail": "Invalid secret"}`, http.StatusUnauthorized)
		return
	}
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // it has sent the response
	}
	conn.SetReadLimit(32 << 20)
	defer func() { _ = conn.CloseNow() }()
	ctx := r.Context()
	if want != "" && given == "" {
		var first struct {
			Secret string `json:"secret"`
		}
		if _, data, err := conn.Read(ctx); err != nil || json.Unmarshal(data, &first) != nil || first.Secret != want {
			_ = conn.Close(websocket.StatusPolicyViolation, "Invalid secret")
			return
		}
	}
	s.mu.Lock()
	s.sessions++
	id := fmt.Sprintf("connector-run-%d", s.sessions)
	s.mu.Unlock()
	session := session{server: s, conn: conn}
	if session.send(ctx, object{"type": "connected", "connector_run_id": id}) == nil {
		session.serve(ctx)
	}
}

// A session is one connection.
type session struct {
	server  *Server
	conn    *websocket.Conn
	history []object
}

func (c *session) send(ctx context.Context, m object) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return c.conn.Write(ctx, websocket.MessageText, data)
}

type message struct {
	Type    string `json:"type"`
	ID      any    `json:"id"`
	Payload struct {
		Message string          `json:"message"`
		Context json.RawMessage `json:"context"`
		Files   []connic.File   `json:"files"`
	} `json:"payload"`
}

func (c *session) serve(ctx context.Context) {
	most, idle := c.server.MaxMessages, c.server.Idle
	if most == 0 {
		most = 100
	}
	if idle == 0 {
		idle = time.Hour
	}
	for range most {
		wait, stop := context.WithCancel(ctx)
		timer := time.AfterFunc(idle, func() { _ = c.conn.Close(websocket.StatusNormalClosure, "Idle timeout") })
		_, data, err := c.conn.Read(wait)
		timer.Stop()
		stop()
		if err != nil {
			return
		}
		var m message
		if err := json.Unmarshal(data, &m); err != nil || m.Type != "message" {
			err = c.send(ctx, object{"type": "error", "message": "Expected a message"})
			if err != nil {
				return
			}
			continue
		}
		if c.answer(ctx, m) != nil {
			return
		}
	}
	_ = c.conn.Close(websocket.StatusNormalClosure, "Message limit reached")
}

// answer runs the agent. The key history of its payload contains the
// conversation so far.
func (c *session) answer(ctx context.Context, m message) error {
	if err := c.send(ctx, object{"type": "ack", "id": m.ID}); err != nil {
		return err
	}
	input := object{"message": m.Payload.Message}
	if len(m.Payload.Context) > 0 {
		input["context"] = m.Payload.Context
	}
	if len(m.Payload.Files) > 0 {
		input["files"] = m.Payload.Files
	}
	if len(c.history) > 0 {
		input["history"] = c.history
	}
	body, err := json.Marshal(input)
	if err != nil {
		return err
	}
	run, err := c.server.hook.Perform(ctx, body)
	if err != nil {
		return err
	}
	if run.Status != connic.RunCompleted {
		return c.send(ctx, object{"type": "error", "id": m.ID, "message": run.Error})
	}
	c.history = append(c.history, object{"role": "user", "content": m.Payload.Message}, object{"role": "assistant", "content": run.Output})
	usage := object{"input": run.TokenUsage.Input, "output": run.TokenUsage.Output, "total": run.TokenUsage.Total}
	split := c.server.Split
	if split == nil {
		split = func(output string) []string { return strings.SplitAfter(output, " ") }
	}
	chunks := split(run.Output)
	if len(chunks) == 0 {
		return c.send(ctx, object{"type": "response", "id": m.ID, "response": run.Output, "token_usage": usage})
	}
	if err := c.send(ctx, object{"type": "stream_start", "id": m.ID}); err != nil {
		return err
	}
	for _, chunk := range chunks {
		if err := c.send(ctx, object{"type": "stream_chunk", "id": m.ID, "content": chunk}); err != nil {
			return err
		}
		if c.server.Pause > 0 {
			select {
			case <-time.After(c.server.Pause):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return c.send(ctx, object{"type": "stream_end", "id": m.ID, "full_response": run.Output, "token_usage": usage})
}
