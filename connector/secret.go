package connector

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/connic-go/connic"
)

// A Secret is the secret of a connector. A [Connector] sends it with each call,
// and [Handler] verifies signatures with it. The empty Secret is for a
// connector whose authentication is disabled.
//
// A Secret is always printed as "…", followed by its last four characters if it
// has 16 or more. Convert it to a string to obtain the secret itself. Package
// fmt does not call the formatting methods of unexported struct fields: keep a
// secret in an exported field, or do not print the struct.
//
// The printed form is no secret: a Secret is not decoded from it, a Connector is
// not made with it, and no signature made with it is accepted.
type Secret string

// hidden begins the printed form of a secret.
const hidden = "…"

func (s Secret) redacted() string {
	switch {
	case s == "":
		return ""
	case len(s) >= 16:
		return hidden + string(s[len(s)-4:])
	default:
		return hidden
	}
}

// String returns the redacted secret.
func (s Secret) String() string { return s.redacted() }

// GoString returns the redacted secret.
func (s Secret) GoString() string { return `connector.Secret("` + s.redacted() + `")` }

// Format implements [fmt.Formatter], so that no verb prints the secret.
func (s Secret) Format(f fmt.State, verb rune) {
	switch {
	case verb == 'q':
		_, _ = fmt.Fprintf(f, "%q", s.redacted())
	case verb == 'v' && f.Flag('#'):
		_, _ = f.Write([]byte(s.GoString()))
	default:
		_, _ = f.Write([]byte(s.redacted()))
	}
}

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.redacted()) }

// MarshalText implements [encoding.TextMarshaler] with the redacted secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.redacted()), nil }

// MarshalJSON implements [json.Marshaler] with the redacted secret.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.redacted()) }

// UnmarshalText implements [encoding.TextUnmarshaler], also for JSON. It refuses
// the redacted form that MarshalText returns.
func (s *Secret) UnmarshalText(text []byte) error {
	if strings.HasPrefix(string(text), hidden) {
		return errors.New("connic: connector: the secret is redacted: it was encoded, which hides it")
	}
	*s = Secret(text)
	return nil
}

func argument(op, name, reason string) *connic.ArgumentError {
	return &connic.ArgumentError{Op: "connector." + op, Arg: name, Reason: reason}
}
