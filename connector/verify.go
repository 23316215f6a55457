package connector

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of a delivery.
const (
	TimestampHeader = "X-Connic-Timestamp"
	SignatureHeader = "X-Connic-Signature"
)

// tolerance is how far a delivery's timestamp may be from now, either way.
const tolerance = 5 * time.Minute

// Verify checks that a delivery comes from somebody who has one of the secrets: the
// signature is the lower-case hexadecimal HMAC-SHA256 over the timestamp, a dot, and
// the body as it came, and the timestamp is at most five minutes from now, either way.
// A timestamp is in seconds or milliseconds since 1970, or in the form of RFC 3339; the
// vendor does not say which. Each of the two headers has to be there once.
//
// Several secrets are for the time in which one replaces another; blank ones are left
// out. The body must not have been decoded and encoded again. Deliveries may come more
// than once, and a copy passes until its timestamp is too old: drop those whose run id
// has been seen.
//
// The error is [ErrNoSecret], [ErrNotSigned], [ErrTimestamp] or [ErrSignature]. Do not
// tell the sender which.
func Verify(header http.Header, body []byte, secrets ...Secret) error {
	s, err := readSignature(header, tolerance, secrets)
	if err != nil {
		return err
	}
	return s.verify(body)
}

// Sign returns the two headers of a delivery, with the timestamp in seconds, for tests
// of a receiver and for forwarding.
func Sign(body []byte, at time.Time, secret Secret) http.Header {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	sum := mac(Secret(strings.TrimSpace(string(secret))), timestamp, body)
	return http.Header{TimestampHeader: {timestamp}, SignatureHeader: {hex.EncodeToString(sum[:])}}
}

// signature is what the headers of a delivery say, before its body is read.
type signature struct {
	timestamp string
	mac       [sha256.Size]byte
	secrets   []Secret
}

func readSignature(header http.Header, tolerance time.Duration, secrets []Secret) (*signature, error) {
	s := new(signature)
	for _, secret := range secrets {
		if secret = Secret(strings.TrimSpace(string(secret))); secret != "" {
			s.secrets = append(s.secrets, secret)
		}
	}
	if len(s.secrets) == 0 {
		return nil, ErrNoSecret
	}
	text, once := only(header, SignatureHeader)
	if !once {
		return nil, ErrNotSigned
	}
	if s.timestamp, once = only(header, TimestampHeader); !once {
		return nil, ErrNotSigned
	}
	at, ok := parseTimestamp(s.timestamp)
	now := time.Now()
	// Instants are compared: a difference of far instants does not fit a Duration.
	if !ok || at.Before(now.Add(-tolerance)) || at.After(now.Add(tolerance)) {
		return nil, ErrTimestamp
	}
	if len(text) != hex.EncodedLen(len(s.mac)) || strings.Trim(text, "0123456789abcdef") != "" {
		return nil, ErrSignature
	}
	_, _ = hex.Decode(s.mac[:], []byte(text)) // it has such digits only
	return s, nil
}

// verify compares with the MAC of each secret, and always with all of them.
func (s *signature) verify(body []byte) error {
	equal := false
	for _, secret := range s.secrets {
		sum := mac(secret, s.timestamp, body)
		equal = hmac.Equal(sum[:], s.mac[:]) || equal
	}
	if !equal {
		return ErrSignature
	}
	return nil
}

// mac covers the header's own text: a number that was formatted again would not be what
// was signed.
func mac(secret Secret, timestamp string, body []byte) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, []byte(secret))
	_, _ = h.Write([]byte(timestamp))
	_, _ = h.Write([]byte{'.'})
	_, _ = h.Write(body)
	h.Sum(sum[:0])
	return sum
}

// only returns the one value of a header, whatever the case of its name: some gateways
// and adapters hand over names in lower case.
func only(header http.Header, name string) (value string, once bool) {
	for key, values := range header {
		if len(values) == 0 || !strings.EqualFold(key, name) {
			continue
		}
		if once || len(values) > 1 {
			return "", false
		}
		value, once = values[0], true
	}
	return value, once
}

// parseTimestamp reads seconds or milliseconds since 1970, or RFC 3339. A number has
// digits only: with a fraction, bytes could move over the dot between timestamp and
// body, under the same signature.
func parseTimestamp(text string) (time.Time, bool) {
	const milliseconds = 100_000_000_000 // as seconds, the year 5138
	if text == "" || len(text) > 64 {
		return time.Time{}, false
	}
	if strings.Trim(text, "0123456789") == "" {
		n, err := strconv.ParseInt(text, 10, 64)
		switch {
		case err != nil || len(text) > 16:
			return time.Time{}, false
		case n >= milliseconds:
			return time.UnixMilli(n), true
		}
		return time.Unix(n, 0), true
	}
	at, err := time.Parse(time.RFC3339, text)
	return at, err == nil
}
