package fakecmd

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/connic-go/connic/internal/mask"
)

// logged logs each request, without the given secrets.
func logged(next http.Handler, w io.Writer, secrets ...string) http.Handler {
	known := mask.New(secrets...)
	var mu sync.Mutex
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		answer := &recorder{ResponseWriter: rw}
		start := time.Now()
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			status := "no answer"
			if answer.status != 0 {
				status = strconv.Itoa(answer.status)
			}
			hidden := known
			if sent := r.URL.Query()["secret"]; len(sent) > 0 { // of a connector that was created over the API
				hidden = mask.New(slices.Concat(secrets, sent)...)
			}
			_, _ = fmt.Fprintf(w, "%s %s %s %s (%v) %s\n", start.Format(time.TimeOnly), r.Method,
				masked(hidden, r.URL.RequestURI()), status, time.Since(start).Round(time.Millisecond), masked(hidden, r.Header.Get("Authorization")))
		}()
		next.ServeHTTP(answer, r)
	})
}

type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap gives http.ResponseController access to the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// maxLogged is how much of a text of a request is logged, in bytes.
const maxLogged = 1 << 10

// masked removes keys and hidden secrets, and anything that a terminal might
// interpret, from a text.
func masked(hidden *mask.Mask, text string) string { return hidden.Line(text, maxLogged) }
