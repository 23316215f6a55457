package chat_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/contrib/chat"
	"github.com/connic-go/connic/internal/leaktest"
)

const proxyPassword = "Corr3ct-Horse"

// hidden finds what identifies a connector or authorizes its calls.
var hidden = leaktest.For(string(canary), "4f2a1c9d8e7b6a50", "t-91827364", proxyPassword)

// echoes are the ways in which a service repeats a secret.
func echoes(secret string) map[string]string {
	return map[string]string{
		"raw": secret, "quoted": `\"` + secret + `\"`, "hexadecimal": fmt.Sprintf("%x", secret), "base64": base64.StdEncoding.EncodeToString([]byte("x" + secret)),
		"query": strings.ReplaceAll(secret, "-", "%2D"), "upper case": strings.ToUpper(secret), "escaped": strings.ReplaceAll(secret, "-", `\u002d`),
	}
}

// The secret, and what else leads to the connector, shows in no error, id, name or
// printed value of a session.
func TestSecretsShowNowhere(t *testing.T) {
	t.Parallel()
	for _, secret := range []connector.Secret{canary, "Zk7qXw12"} {
		search := leaktest.For(string(secret), "4f2a1c9d8e7b6a50", "t-91827364")
		for form, echo := range echoes(string(secret)) {
			greetings := map[string]string{
				"greeted": `{"type": "connected", "connector_run_id": "` + echo + `", "agents": ["` + echo + `", {"name": "` + echo + `"}]}`,
				"refused": `{"type": "error", "message": "` + echo + `"}`,
			}
			for name, first := range greetings {
				for _, message := range []string{
					`{"type":"error","error":"` + echo + `"}`, `{"type":"error","agent":"` + echo + `","error":{"message":"` + echo + `"}}`,
					`{"type":"stream_end","id":"` + echo + `","agent":"` + echo + `","status":"failed","error":"` + echo + `"}`, echo, "",
				} {
					var r leaktest.Record
					server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
						c, err := websocket.Accept(w, q, nil)
						if err != nil {
							return
						}
						defer func() { _ = c.CloseNow() }()
						say(q.Context(), c, first)
						hear(q.Context(), c)
						if message != "" {
							say(q.Context(), c, message)
						}
						_ = c.Close(4000, echo[:min(len(echo), 120)])
					}))
					s, err := chat.Dial(t.Context(), server.URL+"/hooks/4f2a1c9d8e7b6a50?tenant=t-91827364", secret, chat.WithTelemetry(
						connic.WithObserver(func(_ context.Context, e connic.Event) { r.Print(e, e.Err) }),
					))
					r.Print(err)
					r.Reach(err)
					if err == nil {
						_, err = s.Ask(t.Context(), chat.Message{Text: "m"})
						r.Print(err, s, s.Err(), s.ID(), s.Agents())
						_ = s.Close()
						r.Print(s.Err())
					}
					server.CloseClientConnections()
					server.Close()
					if where := search.In(r.String()); where != "" {
						t.Errorf("%s, %s, %q: %.300s", form, name, message, where)
					}
				}
			}
		}
	}
}

// The handshake may be answered with a secret, by the service or by a proxy, which
// a limit may cut.
func TestSecretsInHandshakes(t *testing.T) {
	t.Parallel()
	basic := base64.StdEncoding.EncodeToString([]byte("user:" + proxyPassword))
	for name, answer := range map[string]string{
		"detail": "HTTP/1.1 401 no\r\nContent-Length: 60\r\n\r\n" + `{"detail": "` + string(canary) + `"}`, "status line": string(canary) + "\r\n\r\n",
		"header": "HTTP/1.1 401 no\r\n" + string(canary) + "\r\n\r\n", "cut": "HTTP/1.1 401 no\r\n\r\n" + strings.Repeat(" ", 4<<10-15) + string(canary),
		"the proxy's status": "HTTP/1.1 407 " + proxyPassword + "\r\n\r\n", "the proxy's line": basic + "\r\n\r\n", "the proxy's detail": "HTTP/1.1 407 no\r\n\r\nno " + basic,
		"location": "HTTP/1.1 302 no\r\nLocation: http://u:" + string(canary) + "@x/" + string(canary) + "\r\n\r\n",
	} {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Read(make([]byte, 4<<10))
				_, _ = io.WriteString(conn, answer)
				_ = conn.Close()
			}
		}()
		proxy := &url.URL{Scheme: "http", Host: listener.Addr().String(), User: url.UserPassword("user", proxyPassword)}
		for _, target := range []string{"ws://" + proxy.Host, "wss://proxied.invalid", "ws://127.0.0.2:1"} {
			var r leaktest.Record
			transport := &http.Transport{DisableKeepAlives: true}
			if direct := strings.Contains(target, proxy.Host); !direct {
				transport.Proxy = http.ProxyURL(proxy)
			} else if strings.HasPrefix(name, "the proxy's") {
				continue
			}
			_, err = chat.Dial(context.WithoutCancel(t.Context()), target+"/hooks/4f2a1c9d8e7b6a50?tenant=t-91827364", canary, chat.WithHTTPClient(&http.Client{Transport: transport}))
			r.Print(err)
			r.Reach(err)
			if where := hidden.In(r.String()); where != "" || err == nil {
				t.Errorf("%s, %s: %v: %.300s", name, target, err, where)
			}
		}
	}
}
