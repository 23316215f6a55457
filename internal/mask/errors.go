package mask

import "errors"

// depth limits how deep the chain of an error is inspected.
const depth = 64

// Error returns err, or an error that replaces it with one safe line without
// the secrets: net/http quotes responses that it cannot parse, and errors of
// proxies, transports and key sources may contain anything. The replacement
// matches what err matches, but does not unwrap.
func (m *Mask) Error(err error) error {
	if err == nil || m.clean(err, depth) {
		return err
	}
	return Replace(err, m.Line(err.Error(), 0))
}

// Replace returns an error with another text that matches what err matches, but
// does not unwrap.
func Replace(err error, text string) error {
	return &masked{
		text: text,
		is:   func(target error) bool { return errors.Is(err, target) },
		as:   func(target any) bool { return errors.As(err, target) },
	}
}

// clean reports whether the texts of err and of the errors it wraps are safe.
func (m *Mask) clean(err error, depth int) bool {
	if depth == 0 {
		return false
	}
	if text := err.Error(); m.Line(text, 0) != text {
		return false
	}
	switch within := err.(type) { //nolint:errorlint // it goes from error to error itself
	case interface{ Unwrap() error }:
		if inner := within.Unwrap(); inner != nil {
			return m.clean(inner, depth-1)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range within.Unwrap() {
			if inner != nil && !m.clean(inner, depth-1) {
				return false
			}
		}
	}
	return true
}

// masked captures the original error in closures, so that printing cannot reach
// it.
type masked struct {
	text string
	is   func(error) bool
	as   func(any) bool
}

func (e *masked) Error() string        { return e.text }
func (e *masked) Is(target error) bool { return e.is(target) }
func (e *masked) As(target any) bool   { return e.as(target) }
