package connictest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/connic-go/connic/internal/leaktest"
	"github.com/connic-go/connic/internal/mask"
)

// distinguish renames the placeholders that are values of the service, too.
func (s *scrubber) distinguish() {
	for _, value := range slices.Sorted(maps.Keys(s.values)) {
		for p := s.values[value]; p != value && s.values[p] != ""; p = s.values[value] {
			s.values[value] = s.next(s.kinds[value], value)
		}
	}
}

// isWhole reports whether a placeholder is that of a text or of data, which is
// recognized as a whole only.
func isWhole(placeholder string) bool {
	return strings.HasPrefix(placeholder, "[text ") || strings.HasPrefix(placeholder, "[data ")
}

// isSecret reports whether a placeholder is that of a secret. It has no
// fingerprint, with which a secret could be guessed.
func isSecret(placeholder string) bool { return strings.HasPrefix(placeholder, "[secret ") }

// placeholder returns the placeholder of a value.
func (s *scrubber) placeholder(kind, value string) string {
	p, ok := s.values[value]
	switch {
	case !ok:
		s.own[value] = s.request
		fallthrough
	case s.finding && isWhole(p) && kind != "text" && kind != "data": // it is more than a text
		p = s.next(kind, value)
		s.values[value], s.kinds[value] = p, kind
	}
	s.argument(p, value)
	return p
}

// next returns a new placeholder for a value.
func (s *scrubber) next(kind, value string) string {
	s.count[kind]++
	n := s.count[kind]
	switch kind {
	case "text", "secret":
		return fmt.Sprintf("[%s %d]", kind, n)
	case "data":
		return fmt.Sprintf("[data %d, %d bytes]", n, len(value))
	case "person":
		return fmt.Sprintf("person-%d@email.invalid", n)
	case "url":
		return fmt.Sprintf("https://url-%d.invalid/", n)
	}
	return fmt.Sprintf("%s-%d", kind, n)
}

// argument keeps the fingerprints of what the test passes: as it is, and with
// the placeholders of what it may have from earlier responses.
func (s *scrubber) argument(p, value string) {
	if !s.request || s.finding || isSecret(p) {
		return
	}
	for _, form := range []string{value, s.received.Replace(value)} {
		if f := fingerprint(form); !slices.Contains(s.fingerprints[p], f) {
			s.fingerprints[p] = append(s.fingerprints[p], f)
		}
	}
}

// fingerprint identifies a text, with its markers aside.
func fingerprint(s string) string {
	sum := sha256.Sum256([]byte("connictest recording\n" + marker.ReplaceAllLiteralString(s, "marker")))
	return hex.EncodeToString(sum[:4])
}

// text returns a text with what is private in it replaced.
func (s *scrubber) text(value string) string {
	if s.finding {
		for _, address := range email.FindAllString(value, -1) {
			s.placeholder("person", address)
		}
		for _, id := range identifier.FindAllString(value, -1) {
			s.placeholder("id", id)
		}
		for _, address := range signedURL.FindAllString(value, -1) {
			s.placeholder("url", address)
		}
		return value
	}
	value = email.ReplaceAllStringFunc(value, func(address string) string { return s.values[address] })
	if !s.keep[value] {
		value = s.embedded.Replace(value)
	}
	return s.mask.Text(value)
}

// prove searches the file for what was replaced. Its error does not contain it.
func (s *scrubber) prove(text string) error {
	if mask.Text(strings.ReplaceAll(text, recordedKey, "")) != strings.ReplaceAll(text, recordedKey, "") {
		return errors.New("it would contain what looks like an API key or a token")
	}
	var long []string
	for _, secret := range s.secrets {
		if len(strings.TrimPrefix(secret, mask.KeyPrefix)) >= minHidden {
			long = append(long, secret)
		}
	}
	if line := leaktest.For(long...).In(text); line != "" {
		return fmt.Errorf("a part of a secret would remain in line %d", lineOf(text, line))
	}
	var values []string
	for _, value := range s.within {
		// Texts may repeat words of others.
		if !isWhole(s.values[value]) && s.values[value] != value {
			values = append(values, value)
		}
	}
	if line := leaktest.Whole(values...).In(text); line != "" {
		return fmt.Errorf("an id, a URL, an e-mail address or a secret would remain in line %d", lineOf(text, line))
	}
	return nil
}

func lineOf(text, line string) int {
	return 1 + strings.Count(text[:max(0, strings.Index(text, line))], "\n")
}
