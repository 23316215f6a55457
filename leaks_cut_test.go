package connic_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/leaktest"
)

// A response may end within the key: by a limit of the client's, or because the
// connection breaks.
func TestS12TheKeyIsCut(t *testing.T) {
	t.Parallel()
	bare := strings.TrimPrefix(string(canary), "cnc_")
	for form, key := range map[string]string{
		"as it is": string(canary), "bare": bare, "escaped": strings.ReplaceAll(url.QueryEscape(bare+"/"), "-", "%2D"), "hexadecimal": fmt.Sprintf("%x", bare),
		"base64": base64.StdEncoding.EncodeToString([]byte("x" + bare)),
	} {
		for kind, body := range map[string]string{"text": "no " + key + "\n", "JSON": `{"detail": "no ` + key + `"}`, "HTML": "<title>no " + key + "</title>", "blanks": strings.Repeat(" ", 70<<10) + key} {
			if raceDetector && kind == "blanks" { // a text of this size takes seconds
				continue
			}
			for _, status := range []int{200, 403} {
				at := strings.Index(body, key)
				step := 1 + len(body)/(10<<10)
				if raceDetector { // it is about text
					step = len(key) / 4
				}
				for n := at + len(key)/2; n <= at+len(key); n += step {
					synctest.Test(t, func(t *testing.T) {
						var p leaktest.Record
						for _, opt := range []connic.Option{connic.WithMaxResponseBytes(int64(n)), connic.WithMaxResponseBytes(1 << 20)} {
							transport := transportFunc(func(r *http.Request) (*http.Response, error) {
								resp := response(r, status, "")
								resp.Body, resp.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader(body[:n]), broken{})), -1
								return resp, nil
							})
							c := must[*connic.Client](t)(connic.New("p", canary, append(reporting(&p), opt, connic.WithHTTPClient(&http.Client{Transport: transport}))...))
							_, err := c.Runs.Get(t.Context(), "r1", connic.WithMaxAttempts(1))
							p.Print(err)
							p.Reach(err)
						}
						if where := keySearch.In(p.String()); where != "" {
							t.Errorf("%s in %s with %d, cut after %d: %.300s", form, kind, status, n-at, where)
						}
					})
				}
			}
		}
	}
}

// broken is the end of a body whose connection breaks.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// proxyPassword is that of the user of a proxy.
const proxyPassword = "Corr3ct-Horse"

// A proxy that repeats the password of its user, in every place that net/http
// quotes, and errors that hold its URL.
func TestS12TheProxyPasswordShowsNowhere(t *testing.T) {
	t.Parallel()
	basic := base64.StdEncoding.EncodeToString([]byte("user:" + proxyPassword))
	answers := map[string]string{
		"status": "HTTP/1.1 407 no " + proxyPassword + "\r\n\r\n", "status, base64": "HTTP/1.1 407 no Basic " + basic + "\r\n\r\n",
		"status line": proxyPassword + "\r\n\r\n", "header": "HTTP/1.1 200 OK\r\n" + basic + "\r\n\r\n", "protocol": basic + " 200 OK\r\n\r\n",
		"body": "HTTP/1.1 407 no\r\nX-Request-Id: " + basic + "\r\nContent-Length: 300\r\n\r\n" + `{"detail": "` + proxyPassword + `"}`,
	}
	search := leaktest.For(proxyPassword)
	for name, answer := range answers {
		for _, base := range []string{"http://localhost:1", "https://localhost:1"} { // https: by CONNECT
			proxy := raw(t, func(_ int, conn net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = io.WriteString(conn, answer)
				}
			})
			at := must[*url.URL](t)(url.Parse(proxy))
			at.User = url.UserPassword("user", proxyPassword)
			var p leaktest.Record
			c := must[*connic.Client](t)(connic.New("p", canary, append(reporting(&p), quick, connic.WithBaseURL(base),
				connic.WithHTTPClient(&http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(at), DisableKeepAlives: true}}))...))
			_, err := c.Runs.Get(t.Context(), "r1")
			p.Print(err, c)
			p.Reach(err)
			if where := search.In(p.String()); where != "" || err == nil {
				t.Errorf("%s, %s: %v: %.300s", name, base, err, where)
			}
		}
	}
	for name, find := range map[string]func(*http.Request) (*url.URL, error){
		"no URL": func(*http.Request) (*url.URL, error) {
			return url.Parse(strings.Join([]string{"http://user:", proxyPassword, "@[::1"}, ""))
		},
		"in quotes": func(*http.Request) (*url.URL, error) {
			return nil, fmt.Errorf("invalid proxy address %q: no port", "http://user:"+proxyPassword+"@proxy")
		},
		"unknown": func(*http.Request) (*url.URL, error) {
			return &url.URL{Scheme: "ftp", Host: "localhost:1", User: url.UserPassword("user", proxyPassword)}, nil
		},
		"panics": func(*http.Request) (*url.URL, error) { panic("no proxy") },
	} {
		func() {
			var p leaktest.Record
			defer func() {
				if recovered := recover(); name == "panics" != (recovered != nil) {
					t.Errorf("%s: %v", name, recovered)
				}
				if where := search.In(p.String()); where != "" {
					t.Errorf("%s: %s", name, where)
				}
			}()
			c := must[*connic.Client](t)(connic.New("p", canary, append(reporting(&p), quick, connic.WithHTTPClient(&http.Client{Transport: &http.Transport{Proxy: find}}))...))
			_, err := c.Runs.Get(t.Context(), "r1")
			p.Print(err)
		}()
	}
}

// The device code of a login is as good as the key: the service repeats it from
// its first response on.
func TestS12TheDeviceCodeShowsNowhere(t *testing.T) {
	t.Parallel()
	const code = "DEVICE-9f8e7d6c5b4a"
	search := leaktest.For(code)
	start := func(more string) string {
		return `{"device_code": "` + code + `", "user_code": "AB-CD", "verification_url": "https://connic.test/login", "expires_in": 60` + more + `}`
	}
	for name, first := range map[string]echo{
		"accepted":     says(200, http.Header{"X-Request-Id": {code}}, start("")),
		"a wrong type": says(200, http.Header{"X-Request-Id": {code}}, start(`, "interval": {"a": "`+code+`"}`)),
		"cut":          says(200, nil, start(`, "x": "` + strings.Repeat("x", 100))[:90]),
		"two codes":    says(200, nil, start(`, "device_code": 5`)),
		"no page":      says(200, nil, `{"device_code": "`+code+`", "user_code": "x", "verification_url": "javascript:`+code+`"}`),
		"in the page":  says(200, nil, `{"device_code": "`+code+`", "user_code": "x", "verification_url": "http://`+code+`/"}`),
		"no user code": says(200, nil, `{"device_code": "`+code+`"}`),
		"not accepted": says(201, nil, start("")+"x"),
	} {
		for kind, poll := range echoes {
			synctest.Test(t, func(t *testing.T) {
				var p leaktest.Record
				transport := transportFunc(func(r *http.Request) (*http.Response, error) {
					answer := poll
					if strings.HasSuffix(r.URL.Path, "/start") {
						answer = first
					}
					status, header, body, err := answer(code)
					return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r}, err
				})
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				_, _, err := connic.Login(ctx, func(prompt connic.LoginPrompt) error { p.Print(prompt); return nil },
					append(reporting(&p), connic.WithHTTPClient(&http.Client{Transport: transport}))...)
				p.Print(err)
				p.Reach(err)
				if where := search.In(p.String()); where != "" || err == nil {
					t.Errorf("%s, then %s: %v: %.300s", name, kind, err, where)
				}
			})
		}
	}
}
