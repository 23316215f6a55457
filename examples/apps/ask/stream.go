package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// A stream is a response as server-sent events.
type stream struct {
	w    http.ResponseWriter
	open bool
}

func (s *stream) begin() error {
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would buffer the events
	s.w.WriteHeader(http.StatusOK)
	s.open = true
	return s.comment("the question is being answered")
}

// event sends the last event. It reports false if the response is not a stream.
func (s *stream) event(name string, data any) bool {
	if s.open {
		_ = s.send(name, data)
	}
	return s.open
}

func (s *stream) send(name string, data any) error {
	// JSON has no line breaks, so it is a single data line.
	raw, err := json.Marshal(data)
	if err != nil {
		return err
	}
	return s.write("event: " + name + "\ndata: " + string(raw) + "\n\n")
}

func (s *stream) comment(text string) error { return s.write(": " + text + "\n\n") }

// write limits the time for a caller that does not read.
func (s *stream) write(text string) error {
	control := http.NewResponseController(s.w)
	_ = control.SetWriteDeadline(time.Now().Add(writeTime)) // not supported by every writer
	if _, err := io.WriteString(s.w, text); err != nil {
		return fmt.Errorf("the caller does not read: %w", err)
	}
	return control.Flush()
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTime))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(raw, '\n'))
}
