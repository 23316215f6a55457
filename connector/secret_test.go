package connector_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/connic-go/connic/connector"
)

// forbidden are the forms of what must show nowhere.
var forbidden = func() []string {
	var forms []string
	for _, text := range []string{string(canary), hookPath[len("/hooks/"):], "t-91827364"} {
		forms = append(forms, text, url.QueryEscape(text), hex.EncodeToString([]byte(text)))
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			for offset := range 3 {
				encoded := encoding.EncodeToString([]byte(strings.Repeat("x", offset) + text + "xx"))
				forms = append(forms, encoded[4:4+8]) // a part that does not depend on what is beside it
			}
		}
	}
	return forms
}()

// show searches everything that an error can print for the secret and for the URL.
func show(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		search(t, printed(e))
	}
	var failure *connector.Error
	if errors.As(err, &failure) {
		search(t, string(failure.Body)+failure.Detail+failure.Location)
	}
}

func printed(v any) string {
	var b bytes.Buffer
	_, _ = fmt.Fprintf(&b, "%v %+v %#v %q %s", v, v, v, v, v)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v)
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v)
	if raw, err := json.Marshal(v); err == nil {
		b.Write(raw)
	}
	return b.String()
}

func search(t *testing.T, text string) {
	t.Helper()
	for _, form := range forbidden {
		if i := strings.Index(text, form); i >= 0 {
			t.Errorf("%q shows in %q", form, text[max(0, i-80):min(len(text), i+80)])
		}
	}
}

// TestTheSearchFinds shows that the search is none that cannot fail.
func TestTheSearchFinds(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		string(canary), "x" + string(canary), hookURL,
		base64.StdEncoding.EncodeToString([]byte("Bearer " + string(canary))), base64.StdEncoding.EncodeToString([]byte("x" + string(canary))),
		hex.EncodeToString([]byte("x" + string(canary))),
	} {
		if !slices.ContainsFunc(forbidden, func(form string) bool { return strings.Contains(text, form) }) {
			t.Errorf("%q is not found", text)
		}
	}
}

func TestS11SecretsPrintRedacted(t *testing.T) {
	t.Parallel()
	type config struct {
		Secret  connector.Secret
		Secrets []connector.Secret
	}
	search(t, printed(canary))
	search(t, printed(config{canary, []connector.Secret{canary}}))
	search(t, printed(map[string]connector.Secret{"a": canary}))
	search(t, printed(connector.Receiver{Secrets: []connector.Secret{canary}}))
	c := must(connector.New(hookURL, canary))(t)
	search(t, printed(c))
	search(t, printed(struct{ C any }{c}))
	search(t, fmt.Sprintf("%d %x %X %t %o %c", c, canary, canary, canary, canary, canary))
	search(t, printed(connector.WithMaxInFlight(3)))
	if got := canary.String(); got != "…d604" {
		t.Errorf("%q", got)
	}
	if got := connector.Secret("short").String(); got != "…" {
		t.Errorf("%q", got)
	}
}

// TestS11EchoesAreMasked: servers, transports and net/http repeat what was sent.
func TestS11EchoesAreMasked(t *testing.T) {
	t.Parallel()
	s := string(canary)
	echo := `{"detail": "invalid secret ` + s + ` at ` + hookURL + `", "b": "` + base64.StdEncoding.EncodeToString([]byte("x"+s)) + `", "h": "` + hex.EncodeToString([]byte(s)) + `"}`
	faults := []wireFault{
		{name: "detail", answer: status(401, "", echo)},
		{name: "plain text", answer: status(403, "", "no "+s+" \x1b[31m "+hookURL)},
		{name: "status line", answer: says("HTTP/1.1 " + s + "\r\n\r\n")},
		{name: "header line", answer: says("HTTP/1.1 200 OK\r\n" + s + "\r\n\r\n")},
		{name: "length", answer: says("HTTP/1.1 200 OK\r\nContent-Length: " + s + "\r\n\r\n")},
		{name: "location", answer: status(302, "Location: https://"+s+":x@elsewhere.invalid/"+s+"?secret="+s+"\r\n", "")},
		{name: "success", answer: status(200, "", `{"error": "`+s+`"}`)},
		{name: "HTML", answer: status(200, "", "<html>"+s+hookURL)},
		{name: "dial", dial: errors.New("proxy says no to " + s + " for " + hookURL)},
	}
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &pipes{t: t, fault: fault, times: -1}
				_, err := p.client().Call(t.Context(), connector.Input{Message: "hello"})
				if err == nil {
					t.Error("no error")
				}
				show(t, err)
				if strings.ContainsAny(err.Error(), "\x1b\n\r") {
					t.Errorf("%q is not one safe line", err)
				}
				p.work.Wait()
			})
		})
	}
}

// TestS11NoRedirectIsFollowed: the second host is never asked, and the error names it
// without its path.
func TestS11NoRedirectIsFollowed(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"301", "302", "303", "307", "308"} {
		asked := 0
		transport := roundTripper(func(r *http.Request) (*http.Response, error) {
			asked++
			var status int
			_, _ = fmt.Sscan(code, &status)
			return &http.Response{StatusCode: status, Body: http.NoBody, Header: http.Header{"Location": {"https://elsewhere.invalid/path?secret=x"}}}, nil
		})
		c := must(connector.New(hookURL, canary, connector.WithHTTPClient(&http.Client{Transport: transport})))(t)
		_, err := c.Send(t.Context(), connector.Input{Message: "hello"})
		var failure *connector.Error
		if !errors.As(err, &failure) || failure.Location != "https://elsewhere.invalid" || asked != 1 {
			t.Errorf("%s: %v, %d requests", code, err, asked)
		}
	}
}

func TestNewChecksURLAndSecret(t *testing.T) {
	t.Parallel()
	for _, bad := range []struct {
		url    string
		secret connector.Secret
	}{
		{"", ""},
		{"connect.invalid/x", ""},
		{"/x", ""},
		{"ftp://h/x", ""},
		{"wss://h/x", ""},
		{"WS://localhost/x", ""},
		{"https:///x", ""},
		{"https:x", ""},
		{"http://connect.invalid/x", ""},
		{"http://localhost.evil.invalid/x", ""},
		{"https://u:" + string(canary) + "@h/x", ""},
		{"https://h/x#" + string(canary), ""},
		{"https://h/x#", ""},
		{"https://h/%zz" + string(canary), ""},
		{"https://h/x?a=%zz" + string(canary), ""},
		{"https://h/x\n" + string(canary), ""},
		{"https://h/x?secret=" + string(canary), "another"},
		{"https://h/x?secret=" + string(canary) + "&secret=other", ""},
		{"https://h/x", " \n"},
		{"https://h/x", "7-chars"},
		{"https://h/x?secret=7-chars", ""},
		{"https://h/x", canary + "\r\nX: y"},
		{"https://h/x", canary + "ü"},
		{"https://h/x", "\x00" + canary},
		{"https://h/x?secret=%0a1%0a2", ""},
	} {
		_, err := connector.New(bad.url, bad.secret)
		if err == nil {
			t.Errorf("%q with %q is accepted", bad.url, string(bad.secret))
			continue
		}
		show(t, err)
	}
	for i, option := range []connector.Option{
		connector.WithTimeout(0), connector.WithMaxInFlight(0), connector.WithMaxResponseBytes(0), connector.WithHTTPClient(nil),
	} {
		if _, err := connector.New("https://h/x", "", option); err == nil {
			t.Errorf("option %d is accepted", i)
		}
	}
}

// TestTheSecretGoesAsAHeader also where it stood in the URL.
func TestTheSecretGoesAsAHeader(t *testing.T) {
	t.Parallel()
	for _, good := range []struct {
		url    string
		secret connector.Secret
		want   string
	}{
		{"https://h/x?a=1&secret=s+123456&b=%2F", "", "s 123456"},
		{"https://h/x?secret=s1234567&a=1&b=%2F", "s1234567", "s1234567"},
		{"https://h/x?b=%2F&a=1", " s1234567\n", "s1234567"},
		{"https://h/x?b=%2F&a=1", "", ""},
		{"http://127.0.0.1:99/x?a=1&b=%2F", "s1234567", "s1234567"},
		{" https://[::1]/x?a=1&b=%2F\n", "s1234567", "s1234567"},
	} {
		var seen *http.Request
		transport := roundTripper(func(r *http.Request) (*http.Response, error) {
			seen = r
			return nil, errors.New("enough")
		})
		c := must(connector.New(good.url, good.secret, connector.WithHTTPClient(&http.Client{Transport: transport})))(t)
		_, _ = c.Call(t.Context(), connector.Input{Message: "hello"})
		query := seen.URL.Query()
		if seen.Header.Get("X-Connic-Secret") != good.want || query.Has("secret") || query.Get("b") != "/" || query.Get("a") != "1" || len(seen.Header["Authorization"]) > 0 {
			t.Errorf("%q: %v %v", good.url, seen.URL, seen.Header)
		}
		if _, has := seen.Header["X-Connic-Secret"]; has != (good.want != "") {
			t.Errorf("%q: %v", good.url, seen.Header)
		}
	}
}
