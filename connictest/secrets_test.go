package connictest_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/internal/leaktest"
)

// What the fake keeps and prints has no secret of its own.
func TestTheFakeKeepsNoSecrets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		srv.Agent("a", func(context.Context, connictest.Input) (any, error) { return "x", nil })
		hook, out := srv.Connector("a"), srv.OutboundHandler(http.NotFoundHandler())
		send := func(path, header, value string) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost"+path, strings.NewReader(`{"message": "x"}`))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set(header, value)
			resp, err := srv.Transport().RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
		}
		secret := string(hook.Secret())
		for _, path := range []string{hook.Path(), hook.Path() + "x", "/v1/nowhere"} {
			send(path, "X-Connic-Secret", secret)
			send(path, "Authorization", "Bearer "+secret)
			send(path+"?secret="+secret, "X", "y")
		}
		c := srv.Client(connic.WithoutRateLimit())
		if _, err := c.Runs.List(t.Context(), nil); err != nil {
			t.Error(err)
		}
		var r leaktest.Record
		r.Print(srv.Requests(), hook, *hook, out, out.Deliveries(), c)
		for _, request := range srv.Requests() {
			r.Print(string(request.Body))
		}
		if where := leaktest.For(secret, string(out.Secret())).In(r.String()); where != "" {
			t.Errorf("%.500s", where)
		}
	})
}
