// Package chattest is a WebSocket connector for tests, in front of agents of
// package connictest. The runs that its messages start are like all others, and
// each session is a run too.
package chattest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

const secretHeader = "X-Connic-Secret" //nolint:gosec // the name of a header

// TB is the subset of testing.TB that [NewServer] needs.
type TB interface {
	Helper()
	Cleanup(func())
}

// A Server is a WebSocket connector. Set its fields before it serves.
type Server struct {
	// Agents are the names of the agents, in the order of the connectors that
	// New was called with. The first message of a session has them. If it is
	// nil, that names no agents, and answers have the names that package
	// connictest knows.
	Agents []string
	// Split divides an output into the chunks that are streamed. If it is nil,
	// the output is divided after each space. If it returns no chunks, the
	// connector does not stream.
	Split func(output string) []string
	// Pause is the time between chunks.
	Pause time.Duration
	// Events returns the progress events of an agent's answer to a message, in
	// the order in which they are sent. A nil Events sends none.
	Events func(agent, message string) []Event
	// FilesRequired are the names of agents that do not answer a message without
	// a file.
	FilesRequired []string
	// MaxMessages is the number of messages after which a session ends. 0 means
	// 100.
	MaxMessages int
	// Idle is the time without a message after which a session ends. 0 means an
	// hour.
	Idle time.Duration

	hooks    []*connictest.Connector
	listener *httptest.Server
}

// An Event is a progress event. The types and the keys that the service uses
// are not documented.
type Event struct {
	Type  string         // such as "tool_call"
	Data  map[string]any // the other keys; type, id and agent are added, unless they are set
	After int            // the number of chunks that precede it
	Pause time.Duration  // the time before it
}

// New returns a Server that runs the first agent of each connector, all at the
// same time, and requires the secret of the first one. It is an [http.Handler]
// for any path.
func New(hook *connictest.Connector, more ...*connictest.Connector) *Server {
	return &Server{hooks: append([]*connictest.Connector{hook}, more...)}
}

// NewServer returns a Server that listens on a loopback address. It is closed
// by t.Cleanup.
func NewServer(t TB, hook *connictest.Connector, more ...*connictest.Connector) *Server {
	t.Helper()
	s := New(hook, more...)
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
func (s *Server) Secret() connector.Secret { return s.hooks[0].Secret() }

// name returns the name of an agent, or "" if it is not set.
func (s *Server) name(i int) string {
	if i < len(s.Agents) {
		return s.Agents[i]
	}
	return ""
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	given, want := r.Header.Get(secretHeader), string(s.Secret())
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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	connected := object{"type": "connected", "connector_run_id": s.hooks[0].Session(ctx)}
	if len(s.Agents) > 0 {
		connected["agents"] = s.Agents
	}
	c := session{server: s, conn: conn}
	if c.send(ctx, connected) == nil {
		c.serve(ctx)
	}
}
