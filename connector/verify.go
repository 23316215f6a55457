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

// tolerance is the maximum difference between a timestamp and the current time,
// in either direction.
const tolerance = 5 * time.Minute

// Verify verifies that a delivery was sent by a holder of one of the secrets.
// The signature must be the lower-case hexadecimal HMAC-SHA256 of the
// timestamp, a dot, and the unmodified body. The timestamp must be within five
// minutes of the current time, in either direction. It may be in seconds or
// milliseconds since 1970, or in the format of RFC 3339; the vendor does not
// say which. Each of the two headers must be present exactly once.
//
// Pass several secrets while one replaces another; blank and redacted ones are
// ignored. The body must be as received, not decoded and encoded again.
// Deliveries may be repeated, and a copied delivery remains valid until its
// timestamp expires: discard those that were seen, as a [Receiver] does.
//
// The error is [ErrNoSecret], [ErrNotSigned], [ErrTimestamp] or [ErrSignature].
// Do not reveal to the sender which one.
func Verify(header http.Header, body []byte, secrets ...Secret) error {
	s, err := readSignature(header, tolerance, secrets)
	if err != nil {
		return err
	}
	return s.verify(body)
}

// Sign returns the two headers of a delivery, with the timestamp in seconds.
// Use it to test a receiver or to forward deliveries.
func Sign(body []byte, at time.Time, secret Secret) http.Header {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	sum := mac(Secret(strings.TrimSpace(string(secret))), timestamp, body)
	return http.Header{TimestampHeader: {timestamp}, SignatureHeader: {hex.EncodeToString(sum[:])}}
}

// signature holds the headers of a delivery, before its body is read.
type signature struct {
	timestamp string
	mac       [sha256.Size]byte
	secrets   []Secret
}

func readSignature(header http.Header, tolerance time.Duration, secrets []Secret) (*signature, error) {
	s := new(signature)
	for _, secret := range secrets {
		if secret = Secret(strings.TrimSpace(string(secret))); secret != "" && !strings.HasPrefix(string(secret), hidden) {
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
	// Compare instants: the difference of distant instants overflows a
	// Duration.
	if !ok || at.Before(now.Add(-tolerance)) || at.After(now.Add(tolerance)) {
		return nil, ErrTimestamp
	}
	if len(text) != hex.EncodedLen(len(s.mac)) || strings.Trim(text, "0123456789abcdef") != "" {
		return nil, ErrSignature
	}
	_, _ = hex.Decode(s.mac[:], []byte(text)) // cannot fail: only hexadecimal digits
	return s, nil
}

// verify compares the signature with the MAC of every secret, without stopping
// at a match. A nil signature is that of an unsigned delivery.
func (s *signature) verify(body []byte) error {
	if s == nil {
		return nil
	}
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

// mac covers the text of the header: formatting the parsed number again might
// not reproduce what was signed.
func mac(secret Secret, timestamp string, body []byte) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, []byte(secret))
	_, _ = h.Write([]byte(timestamp))
	_, _ = h.Write([]byte{'.'})
	_, _ = h.Write(body)
	h.Sum(sum[:0])
	return sum
}

// only returns the value of a header that occurs exactly once, in any letter
// case: some gateways and adapters pass names in lower case.
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

// parseTimestamp parses seconds or milliseconds since 1970, or RFC 3339.
// Numbers must consist of digits only, without leading zeros: with a fraction,
// bytes could move across the dot between timestamp and body under the same
// signature.
func parseTimestamp(text string) (time.Time, bool) {
	const milliseconds = 100_000_000_000 // as seconds, this is in the year 5138
	if text == "" || len(text) > 64 {
		return time.Time{}, false
	}
	if strings.Trim(text, "0123456789") == "" {
		n, err := strconv.ParseInt(text, 10, 64)
		switch {
		case err != nil || len(text) > 16 || text[0] == '0':
			return time.Time{}, false
		case n >= milliseconds:
			return time.UnixMilli(n), true
		}
		return time.Unix(n, 0), true
	}
	at, err := time.Parse(time.RFC3339, text)
	return at, err == nil
}
