package connic

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"

	"github.com/connic-go/connic/internal/exchange"
	"github.com/connic-go/connic/internal/mask"
)

// APIKey is a project's API key. It begins with "cnc_".
//
// A key is always printed as "cnc_…" followed by its last four characters: by
// all fmt verbs, slog, JSON and text encoding. Convert it to a string to obtain
// the key itself.
//
// Package fmt does not call the formatting methods of unexported struct fields.
// Keep a key in an exported field, or do not print the struct.
type APIKey string

// redacted returns the printable form of the key.
func (k APIKey) redacted() string {
	if secret := strings.TrimPrefix(string(k), mask.KeyPrefix); len(secret) >= 8 {
		return mask.KeyPrefix + "…" + secret[len(secret)-4:]
	}
	return mask.KeyPrefix + "…"
}

// String returns the redacted key.
func (k APIKey) String() string { return k.redacted() }

// GoString returns the redacted key.
func (k APIKey) GoString() string { return `connic.APIKey("` + k.redacted() + `")` }

// Format implements [fmt.Formatter], so that no verb prints the key.
func (k APIKey) Format(f fmt.State, verb rune) {
	switch {
	case verb == 'q':
		_, _ = fmt.Fprintf(f, "%q", k.redacted())
	case verb == 'v' && f.Flag('#'):
		_, _ = f.Write([]byte(k.GoString()))
	default:
		_, _ = f.Write([]byte(k.redacted()))
	}
}

// LogValue implements [slog.LogValuer].
func (k APIKey) LogValue() slog.Value { return slog.StringValue(k.redacted()) }

// MarshalText implements [encoding.TextMarshaler] with the redacted key.
func (k APIKey) MarshalText() ([]byte, error) { return []byte(k.redacted()), nil }

// MarshalJSON implements [json.Marshaler] with the redacted key.
func (k APIKey) MarshalJSON() ([]byte, error) { return json.Marshal(k.redacted()) }

// UnmarshalText implements [encoding.TextUnmarshaler]. It refuses a redacted
// key: what was encoded cannot be decoded.
func (k *APIKey) UnmarshalText(text []byte) error {
	if strings.Contains(string(text), "…") {
		return &ArgumentError{Op: "connic.APIKey", Arg: "text", Reason: "is a redacted key"}
	}
	*k = APIKey(text)
	return nil
}

// Value implements [driver.Valuer]. It fails, so that no database receives the
// key by mistake: convert it to a string to store it.
func (k APIKey) Value() (driver.Value, error) {
	return nil, &ArgumentError{Op: "connic.APIKey", Arg: "key", Reason: "is no column; convert it to a string to store it"}
}

// parseKey trims and validates a key. Its errors do not contain the key.
func parseKey(k APIKey) (APIKey, error) {
	trimmed := APIKey(strings.TrimSpace(string(k)))
	bad := func(reason string) (APIKey, error) {
		return "", &ArgumentError{Op: "connic.New", Arg: "API key", Reason: reason}
	}
	if trimmed == "" {
		return bad("is empty; create one under Project Settings → API Keys & MCP Auth")
	}
	if !strings.HasPrefix(string(trimmed), mask.KeyPrefix) {
		return bad("does not start with " + mask.KeyPrefix)
	}
	if len(trimmed) == len(mask.KeyPrefix) {
		return bad("ends after " + mask.KeyPrefix)
	}
	for i := range len(trimmed) {
		if !mask.KeyByte(trimmed[i]) {
			return bad("has a blank, a line break or another character that no key has")
		}
	}
	return trimmed, nil
}

// A KeySource supplies the API key for each attempt, so that keys can be
// rotated without creating a new [Client]. It must be safe for concurrent use
// and should be fast: cache keys that are fetched from elsewhere. If it returns
// an error, the call fails and nothing is sent. An attempt that was queued for
// the rate limit for more than 5 s asks once more, and keeps the key that it has
// if there is no response within 1 s.
type KeySource interface {
	Key(ctx context.Context) (APIKey, error)
}

// KeySourceFunc is an adapter that allows a function to be used as a
// [KeySource].
type KeySourceFunc func(ctx context.Context) (APIKey, error)

// Key returns f(ctx).
func (f KeySourceFunc) Key(ctx context.Context) (APIKey, error) { return f(ctx) }

// bearer is the prefix of the Authorization header.
const bearer = "Bearer "

// credential provides the Authorization header of an attempt. The key is
// captured in a closure, so that printing a struct that contains a credential
// cannot reveal it.
type credential struct {
	header func(ctx context.Context) ([]string, error)
	name   func() string // redacted
	slow   bool          // header calls the user's code
}

// key returns the credential as the engine needs it.
func (c credential) key() exchange.Key {
	return exchange.Key{Name: "Authorization", Value: c.header, Slow: c.slow}
}

func staticCredential(key APIKey) credential {
	header := []string{bearer + string(key)}
	return credential{
		header: func(context.Context) ([]string, error) { return header, nil },
		name:   key.redacted,
	}
}

func sourceCredential(source KeySource) credential {
	return credential{
		header: func(ctx context.Context) ([]string, error) {
			key, err := source.Key(ctx)
			if err != nil {
				return nil, fmt.Errorf("key source: %w", err)
			}
			if key, err = parseKey(key); err != nil {
				return nil, fmt.Errorf("key source: %w", err)
			}
			return []string{bearer + string(key)}, nil
		},
		name: func() string { return "from a KeySource" },
		slow: true,
	}
}
