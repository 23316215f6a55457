package lenient

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"time"
)

var errTime = errors.New("not a time in ISO 8601 or seconds since 1970")

// ParseTime parses a time in JSON.
func ParseTime(data []byte) (time.Time, error) {
	if len(data) == 0 || string(data) == "null" {
		return time.Time{}, nil
	}
	if data[0] != '"' {
		return epoch(string(data))
	}
	if len(data) < 2 || data[len(data)-1] != '"' {
		return time.Time{}, errTime
	}
	text := bytes.TrimSpace(data[1 : len(data)-1])
	if len(text) == 0 {
		return time.Time{}, nil
	}
	if bytes.IndexByte(text, '\\') >= 0 {
		return time.Time{}, errTime
	}
	if len(text) < len("2006-01-02") || text[4] != '-' {
		return epoch(string(text))
	}
	return isoTime(text)
}

// isoTime parses a date with an optional time of day and offset.
func isoTime(b []byte) (time.Time, error) {
	year, ok1 := digits(b, 0, 4)
	month, ok2 := digits(b, 5, 2)
	day, ok3 := digits(b, 8, 2)
	if !ok1 || !ok2 || !ok3 || b[7] != '-' || year < 1 || month < 1 || month > 12 || day < 1 {
		return time.Time{}, errTime
	}
	if day > 28 && day > time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day() {
		return time.Time{}, errTime
	}
	rest := b[10:]
	if len(rest) == 0 {
		return time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC), nil
	}
	if (rest[0] != 'T' && rest[0] != 't' && rest[0] != ' ') || len(rest) < len("T15:04") || rest[3] != ':' {
		return time.Time{}, errTime
	}
	hour, ok1 := digits(rest, 1, 2)
	minute, ok2 := digits(rest, 4, 2)
	if !ok1 || !ok2 || hour > 23 || minute > 59 {
		return time.Time{}, errTime
	}
	rest = rest[6:]
	second, nanos := 0, 0
	if len(rest) > 0 && rest[0] == ':' {
		// A leap second becomes the first instant of the next minute.
		if second, ok1 = digits(rest, 1, 2); !ok1 || second > 60 {
			return time.Time{}, errTime
		}
		rest = rest[3:]
		if len(rest) > 0 && (rest[0] == '.' || rest[0] == ',') {
			i, scale := 1, 100_000_000
			for ; i < len(rest) && isDigit(rest[i]); i++ {
				nanos += int(rest[i]-'0') * scale
				scale /= 10
			}
			if i == 1 {
				return time.Time{}, errTime
			}
			rest = rest[i:]
		}
	}
	offset, err := zoneOffset(rest)
	if err != nil {
		return time.Time{}, err
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC).Add(-offset)
	if t.Year() < 1 || t.Year() > 9999 { // the offset or the leap second led outside the range of dates
		return time.Time{}, errTime
	}
	return t, nil
}

// zoneOffset parses "", "Z", "+01", "+0100" and "+01:00".
func zoneOffset(b []byte) (time.Duration, error) {
	if len(b) == 0 || ((b[0] == 'Z' || b[0] == 'z') && len(b) == 1) {
		return 0, nil
	}
	hours, ok := digits(b, 1, 2)
	if !ok || hours > 23 || (b[0] != '+' && b[0] != '-') {
		return 0, errTime
	}
	minutes := 0
	switch rest := b[3:]; {
	case len(rest) == 0:
	case len(rest) == 2:
		minutes, ok = digits(rest, 0, 2)
	case len(rest) == 3 && rest[0] == ':':
		minutes, ok = digits(rest, 1, 2)
	default:
		ok = false
	}
	if !ok || minutes > 59 {
		return 0, errTime
	}
	offset := time.Duration(hours*60+minutes) * time.Minute
	if b[0] == '-' {
		offset = -offset
	}
	return offset, nil
}

// epoch parses a number of seconds since 1970, or of milliseconds, microseconds
// or nanoseconds if it is so large that in seconds it would be after the year
// 5138.
func epoch(s string) (time.Time, error) {
	if !isNumber([]byte(s)) {
		return time.Time{}, errTime
	}
	whole, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(f) || math.Abs(f) >= 1e11 {
			return time.Time{}, errTime
		}
		seconds, fraction := math.Modf(f)
		return time.Unix(int64(seconds), int64(math.Round(fraction*1e6))*1e3).UTC(), nil
	}
	size := whole
	if size < 0 {
		size = -size
	}
	switch {
	case size < 0: // the only integer without a positive counterpart
		return time.Time{}, errTime
	case size < 1e11:
		return time.Unix(whole, 0).UTC(), nil
	case size < 1e14:
		return time.UnixMilli(whole).UTC(), nil
	case size < 1e17:
		return time.UnixMicro(whole).UTC(), nil
	default:
		return time.Unix(0, whole).UTC(), nil
	}
}

// digits parses n decimal digits of b from index i on.
func digits(b []byte, i, n int) (value int, ok bool) {
	if len(b) < i+n {
		return 0, false
	}
	for _, c := range b[i : i+n] {
		if !isDigit(c) {
			return 0, false
		}
		value = value*10 + int(c-'0')
	}
	return value, true
}
