//go:build !unix

package redistest

import "errors"

// Pause is not supported: a process cannot be stopped here.
func (s *Server) Pause() error { return errors.ErrUnsupported }

// Resume is not supported.
func (s *Server) Resume() error { return errors.ErrUnsupported }
