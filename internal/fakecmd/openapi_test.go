package fakecmd

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/docs"
)

func TestServesTheDocument(t *testing.T) {
	t.Parallel()
	fake := connictest.New()
	defer fake.Close()
	handler := withDocument(fake, nil)
	for _, test := range []struct {
		method, path string
		status       int
		document     bool
	}{
		{"GET", "/openapi.json", http.StatusOK, true},
		{"POST", "/openapi.json", http.StatusUnauthorized, false},
		{"GET", "/v1/openapi.json", http.StatusUnauthorized, false},
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), test.method, test.path, nil))
		if w.Code != test.status || bytes.Equal(w.Body.Bytes(), docs.OpenAPI()) != test.document {
			t.Errorf("%s %s: %d, %.40s", test.method, test.path, w.Code, w.Body)
		}
	}
}
