package fakecmd

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/leaktest"
)

// The log of requests shows neither the key nor the secret of a connector, wherever
// a client puts it. Standard output has them on purpose.
func TestTheLogHasNoSecrets(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	var log leaktest.Record
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, []string{"-addr", "127.0.0.1:0"}, w, &log) }()
	variables := make(map[string]string)
	for lines := bufio.NewScanner(r); len(variables) < 7 && lines.Scan(); {
		name, value, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "=")
		variables[name] = value
	}
	c, err := connic.New(variables["CONNIC_PROJECT_ID"], connic.APIKey(variables["CONNIC_API_KEY"]), connic.WithBaseURL(variables["CONNIC_API_URL"]))
	if err != nil {
		t.Fatal(err)
	}
	created, err := c.Connectors.Create(ctx, connic.ConnectorCreate{Name: "a", Type: "http", Mode: connic.ConnectorSync})
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{variables["CONNIC_API_KEY"], variables["SYNC_SECRET"], variables["INBOUND_SECRET"]}
	sent := 0
	for _, secret := range secrets {
		for _, base := range []string{variables["CONNIC_API_URL"], variables["SYNC_URL"], variables["INBOUND_URL"], variables["SYNC_URL"] + "x"} {
			for _, address := range []string{
				base, base + "?secret=" + url.QueryEscape(secret), base + "?" + secret, base + "/" + secret, base + "?secret=" + strings.ReplaceAll(secret, "-", "%2D"),
				base + "?x=" + strings.Repeat("x", 980) + secret,
			} {
				request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(`{"secret": "`+secret+`"}`))
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("Authorization", "Bearer "+secret)
				request.Header.Set("X-Connic-Secret", secret)
				resp, err := http.DefaultClient.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				sent++
			}
		}
	}
	secrets = append(secrets, created.Config.Text("secret"))
	resp, err := http.Get(created.URL + "?secret=" + created.Config.Text("secret"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	text := log.String()
	if where := leaktest.For(secrets...).In(text); where != "" || strings.Count(text, "\n") < sent {
		t.Errorf("%d requests, %d lines: %s", sent, strings.Count(text, "\n"), where)
	}
}
