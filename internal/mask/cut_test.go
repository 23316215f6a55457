package mask

import (
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/connic-go/connic/internal/leaktest"
)

// The end of a text may cut a secret in any spelling.
func TestSecretsThatAreCut(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"Zk7/q+Xw", "secret-value-0123456789", thorny} {
		search := leaktest.For(secret)
		for name, spell := range spellings {
			spelled := spell(secret)
			for end := range len(spelled) {
				for _, text := range []string{"the secret " + spelled[:end], spelled[:end], secret + " and " + spelled[:end]} {
					masked := New(secret).Text(text)
					if where := search.In(masked); where != "" {
						t.Errorf("%s: %q becomes %q", name, text, masked)
					}
					if !strings.HasPrefix(text, "the secret ") || strings.HasPrefix(masked, "the secret ") {
						continue
					}
					t.Errorf("%s: %q becomes %q, which lacks more", name, text, masked)
				}
			}
		}
	}
}

func TestUsersOfURLs(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"redis://default:pw@store:6379/0":                   "redis://…@store:6379/0",
		`parse "http://user:p%40w@[::1": missing`:           `parse "http://…@[::1": missing`,
		`{"u": "https:\/\/a:b@c\/d", "v": "https://a@c"}`:   `{"u": "https:\/\/…@c\/d", "v": "https://…@c"}`,
		"next=https%3A%2F%2Fuser:pw@host":                   "next=https%3A%2F%2F…@host",
		"https://host:8080/path@v2?to=a@b.example#c@d":      "https://host:8080/path@v2?to=a@b.example#c@d",
		"write to me@example.com: see http://example.com/x": "write to me@example.com: see http://example.com/x",
	} {
		if got := Text(in); got != want || string(Bytes([]byte(in))) != want || Text(got) != got {
			t.Errorf("%q becomes %q", in, got)
		}
	}
}

// What a proxy function of the user's does wrong costs nothing but its password.
func TestProxyPasswords(t *testing.T) {
	t.Parallel()
	target := &url.URL{Scheme: "https", Host: "api.test"}
	for name, proxy := range map[string]func(*http.Request) (*url.URL, error){
		"password": func(r *http.Request) (*url.URL, error) {
			return &url.URL{Scheme: "http", Host: "proxy", User: url.UserPassword("u", "password of "+r.URL.Host)}, nil
		},
		"none":   func(*http.Request) (*url.URL, error) { return nil, nil }, //nolint:nilnil // as net/http has it
		"user":   func(*http.Request) (*url.URL, error) { return &url.URL{User: url.User("u")}, nil },
		"error":  func(*http.Request) (*url.URL, error) { return nil, http.ErrNotSupported },
		"panics": func(*http.Request) (*url.URL, error) { panic("no proxy") },
		"exits":  func(*http.Request) (*url.URL, error) { runtime.Goexit(); return nil, http.ErrNotSupported },
	} {
		m := NewLazy(func() []string { return ProxyPassword(&http.Transport{Proxy: proxy}, target) }, "another-secret")
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = m.Text("x y")
		}()
		<-done
		got := m.Text("no password of api.test and another-secret")
		want := "no password of api.test and [secret]"
		if name == "password" {
			want = "no [secret] and [secret]"
		}
		if got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := ProxyPassword(http.NewFileTransport(http.Dir(".")), target); got != nil {
		t.Errorf("%q", got)
	}
}
