package chattest

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// A session is one connection.
type session struct {
	server  *Server
	conn    *websocket.Conn
	history []object
}

type object map[string]any

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
	ctx, cancel := context.WithCancel(ctx)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer func() { _ = c.conn.CloseNow() }()
	defer cancel()
	received := make(chan []byte)
	// It also reads during an answer, so that pings are answered.
	reading.Go(func() {
		defer cancel()
		for {
			_, data, err := c.conn.Read(ctx)
			if err != nil {
				return
			}
			select {
			case received <- data:
			case <-ctx.Done():
				return
			}
		}
	})
	for range most {
		timer := time.NewTimer(idle)
		select {
		case data := <-received:
			timer.Stop()
			if c.receive(ctx, data) != nil {
				return
			}
		case <-timer.C:
			_ = c.conn.Close(websocket.StatusNormalClosure, "Idle timeout")
			return
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
	_ = c.conn.Close(websocket.StatusNormalClosure, "Message limit reached")
}

func (c *session) receive(ctx context.Context, data []byte) error {
	var m message
	if err := json.Unmarshal(data, &m); err != nil || m.Type != "message" {
		return c.send(ctx, object{"type": "error", "message": "Expected a message"})
	}
	return c.answer(ctx, m)
}

// answer runs the agents. The key history of their payload contains the
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
	hooks := c.server.hooks
	runs, errs := make([]*connic.Run, len(hooks)), make([]error, len(hooks))
	var agents sync.WaitGroup
	for i, hook := range hooks {
		if len(m.Payload.Files) == 0 && slices.Contains(c.server.FilesRequired, c.server.name(i)) {
			continue
		}
		agents.Go(func() { runs[i], errs[i] = c.run(ctx, m, hook, body, c.server.name(i)) })
	}
	agents.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	c.history = append(c.history, object{"role": "user", "content": m.Payload.Message})
	for _, run := range runs {
		if run != nil && run.Status == connic.RunCompleted { // it is nil if a callback has exited, or there was no file
			c.history = append(c.history, object{"role": "assistant", "agent": run.AgentName, "content": run.Output})
		}
	}
	return nil
}

// run runs one agent and sends its answer.
func (c *session) run(ctx context.Context, m message, hook *connictest.Connector, body []byte, name string) (*connic.Run, error) {
	run, err := hook.Perform(ctx, body)
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = run.AgentName
	}
	send := func(kind string, keys object) error {
		o := object{"type": kind, "id": m.ID, "agent": name}
		maps.Copy(o, keys)
		return c.send(ctx, o)
	}
	if run.Status != connic.RunCompleted {
		return run, send("error", object{"message": run.Error, "status": run.Status, "run_id": run.ID})
	}
	usage := object{"input": run.TokenUsage.Input, "output": run.TokenUsage.Output, "total": run.TokenUsage.Total}
	split := c.server.Split
	if split == nil {
		split = func(output string) []string { return strings.SplitAfter(output, " ") }
	}
	var events []Event
	if c.server.Events != nil {
		events = c.server.Events(name, m.Payload.Message)
	}
	progress := func(chunks int, all bool) error {
		for len(events) > 0 && (all || events[0].After <= chunks) {
			e := events[0]
			events = events[1:]
			if err := pause(ctx, e.Pause); err != nil {
				return err
			}
			if err := send(e.Type, e.Data); err != nil {
				return err
			}
		}
		return nil
	}
	chunks := split(run.Output)
	if len(chunks) == 0 {
		if err := progress(0, true); err != nil {
			return nil, err
		}
		return run, send("response", object{"response": run.Output, "token_usage": usage})
	}
	if err := send("stream_start", nil); err != nil {
		return nil, err
	}
	for i, chunk := range chunks {
		if err := progress(i, false); err != nil {
			return nil, err
		}
		if err := send("stream_chunk", object{"chunk": chunk}); err != nil {
			return nil, err
		}
		if err := pause(ctx, c.server.Pause); err != nil {
			return nil, err
		}
	}
	if err := progress(len(chunks), true); err != nil {
		return nil, err
	}
	return run, send("stream_end", object{"full_response": run.Output, "token_usage": usage})
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
