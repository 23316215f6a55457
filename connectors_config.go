package connic

import (
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/connic-go/connic/internal/encode"
	"github.com/connic-go/connic/internal/mask"
)

// ConnectorConfig is the configuration of a connector, by name. One of the type
// http may have outbound_url, require_auth, rate_limit_per_minute and other
// limits, and the generated secret and webhook_secret, which signs what is
// delivered.
//
// Values whose names suggest a secret are redacted wherever a ConnectorConfig is
// printed, logged or encoded as JSON. They are sent in full.
type ConnectorConfig map[string]any

// Text returns a string of the configuration, or "". It is how to read a secret.
func (c ConnectorConfig) Text(name string) string {
	s, _ := c[name].(string)
	return s
}

// redacted returns a copy without secrets.
func (c ConnectorConfig) redacted() map[string]any {
	if c == nil {
		return nil
	}
	out, _ := redactedValue("", map[string]any(c)).(map[string]any)
	return out
}

// redactedValue returns a copy of a value without secrets.
func redactedValue(name string, value any) any {
	switch v := value.(type) {
	case string:
		if mask.SecretName(name) {
			return redactedText(v)
		}
		return mask.Text(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, inner := range v {
			out[key] = redactedValue(key, inner)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = redactedValue(name, v[i])
		}
		return out
	case nil, bool, float64, int, int64, json.Number:
		if mask.SecretName(name) && v != nil && v != true && v != false {
			return redactedMark
		}
		return v
	}
	raw, err := json.Marshal(value) // a type of the caller's
	var plain any
	if err != nil || json.Unmarshal(raw, &plain) != nil {
		return redactedMark
	}
	return redactedValue(name, plain)
}

// redactedMark begins the printed form of a secret.
const redactedMark = "…"

// redactedText is a secret as it is printed.
func redactedText(s string) string {
	switch {
	case s == "":
		return ""
	case len(s) >= 16:
		return redactedMark + s[len(s)-4:]
	}
	return redactedMark
}

// hiddenValue reports whether a text stands for a secret that is not shown.
func hiddenValue(s string) bool {
	return strings.HasPrefix(s, redactedMark) || strings.Contains(s, "***") || strings.Contains(s, "•••")
}

// String returns the configuration as JSON, with secrets redacted.
func (c ConnectorConfig) String() string {
	raw, err := json.Marshal(c.redacted())
	if err != nil {
		return "{}"
	}
	return string(raw)
}

// Format implements [fmt.Formatter] with String, so that no verb prints a secret.
func (c ConnectorConfig) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue implements [slog.LogValuer] with String.
func (c ConnectorConfig) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalJSON implements [json.Marshaler] with secrets redacted.
func (c ConnectorConfig) MarshalJSON() ([]byte, error) { return json.Marshal(c.redacted()) }

// UnmarshalJSON implements [json.Unmarshaler]. It accepts an object, and a
// string that holds one.
func (c *ConnectorConfig) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil && text != "" {
		data = []byte(text)
	}
	var values map[string]any
	if value, ok := generic(data).(map[string]any); ok {
		values = value
	} else if text != "" || string(data) != "null" && string(data) != `""` {
		return errors.New("connic: the configuration of a connector is not an object")
	}
	*c = values
	return nil
}

// secrets returns the texts of the configuration that are secrets, in any depth.
func (c ConnectorConfig) secrets() (found []string) {
	var walk func(name string, value any)
	walk = func(name string, value any) {
		switch v := value.(type) {
		case string:
			if mask.SecretName(name) {
				found = append(found, v)
			}
		case map[string]any:
			for key, inner := range v {
				walk(key, inner)
			}
		case []any:
			for _, inner := range v {
				walk(name, inner)
			}
		}
	}
	walk("", map[string]any(c))
	return found
}

// MarshalYAML implements the interface of packages for YAML, with secrets
// redacted.
func (c ConnectorConfig) MarshalYAML() (any, error) { return encode.YAML(c) }

// UnmarshalYAML implements the interface of packages for YAML.
func (c *ConnectorConfig) UnmarshalYAML(read func(any) error) error {
	return encode.FromYAML(read, c)
}

// Value implements [driver.Valuer] with the JSON, in which secrets are redacted.
func (c ConnectorConfig) Value() (driver.Value, error) { return encode.Value(c) }

// Scan implements the Scanner of package database/sql.
func (c *ConnectorConfig) Scan(column any) error { return encode.Scan(column, c) }
