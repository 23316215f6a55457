package connector

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	defaultMaxBytes      = 4 << 20
	defaultMaxBatchBytes = 32 << 20
	// firstRead is the size of the first buffer of a long body. growth limits how
	// much more is allocated than has arrived: the length that a sender declares
	// is only a claim.
	firstRead = 64 << 10
	growth    = 32
)

// read reads the body of a request.
func (v *Receiver) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	plain, list := cmp.Or(max(v.MaxBytes, 0), defaultMaxBytes), cmp.Or(max(v.MaxBatchBytes, 0), defaultMaxBatchBytes)
	most, size := max(plain, list), r.ContentLength
	if size > most {
		return nil, ErrTooLarge
	}
	if r.Body == nil {
		return nil, nil
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTime)) // not supported by every server
	// MaxBytesReader also closes the connection after a body that is too large.
	in, body := http.MaxBytesReader(w, r.Body, most), make([]byte, 0, capacity(0, size))
	for {
		if len(body) == cap(body) {
			body = append(make([]byte, 0, capacity(cap(body), size)), body...)
		}
		n, err := in.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		tooLarge := (*http.MaxBytesError)(nil)
		switch n := max(int64(len(body)), size); {
		case errors.As(err, &tooLarge), n > min(plain, list) && n > limit(body, plain, list):
			return nil, ErrTooLarge
		case err == io.EOF:
			// Otherwise the deadline would end the context of the request while
			// Handle runs.
			_ = control.SetReadDeadline(time.Time{})
			return body, nil
		case err != nil:
			return nil, errors.New("connic: connector: the body was truncated, or took too long")
		}
	}
}

// limit returns the limit of a body by its first byte that is no space. If there
// is none yet, it can still be a list.
func limit(body []byte, plain, list int64) int64 {
	start := bytes.TrimLeft(body[:min(len(body), firstRead)], " \t\r\n")
	switch {
	case len(start) > 0 && start[0] == '[':
		return list
	case len(start) > 0 || len(body) >= firstRead:
		return plain
	}
	return max(plain, list)
}

// capacity returns the size of the buffer that follows one that is full, so that
// a body of a declared size is held once, and copied in small part only.
func capacity(full int, size int64) int {
	const spare = 512 // the end of the body is found without growing
	switch have := int64(full); {
	case size < have: // not declared, or wrongly
		return max(2*full, 4<<10)
	case size <= max(firstRead, growth*have):
		return int(size) + spare
	}
	return max(firstRead, growth/2*full)
}
