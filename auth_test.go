package connic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/connic-go/connic/internal/environ"
	"github.com/connic-go/connic/internal/mask"
)

func TestKeysPrintRedacted(t *testing.T) {
	t.Parallel()
	const secret = "cnc_abcdefghijkl9876"
	key := APIKey(secret)
	holder := struct {
		Key  APIKey
		Ptr  *APIKey
		List []APIKey
		Map  map[string]APIKey
	}{key, &key, []APIKey{key}, map[string]APIKey{"k": key}}
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10s", "%-30v", "%+q"} {
		fmt.Fprintf(&b, verb+"\n", key)
		fmt.Fprintf(&b, verb+"\n", holder)
	}
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "key", key, "holder", holder)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "key", key, "holder", holder)
	encoded, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	b.Write(encoded)
	text, _ := key.MarshalText()
	b.Write(text)
	if got := b.String(); strings.Contains(got, "abcdefgh") || strings.Contains(got, "6162636465666768") || strings.Contains(strings.ToLower(got), "ijkl9876") {
		t.Errorf("the key shows in %s", got)
	}
	if got := fmt.Sprint(key); got != "cnc_…9876" {
		t.Errorf("it prints as %s", got)
	}
	if got := fmt.Sprintf("%q", key); got != `"cnc_…9876"` {
		t.Errorf("it prints as %s", got)
	}
	if got := fmt.Sprintf("%#v", key); got != `connic.APIKey("cnc_…9876")` {
		t.Errorf("it prints as %s", got)
	}
	for _, short := range []APIKey{"cnc_", "cnc_abc", "cnc_1234567", "", "secret"} {
		if got := short.String(); got != "cnc_…" {
			t.Errorf("%d characters print as %s", len(short), got)
		}
	}
	if string(key) != secret {
		t.Error("the conversion does not yield the key")
	}
}

func TestS4KeysAreChecked(t *testing.T) {
	t.Parallel()
	for _, good := range []APIKey{"cnc_x", " cnc_abc\n", "\tcnc_A-b_c.d~e+f/g=\r\n"} {
		c, err := New("p", good, WithHTTPClient(&http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if got := r.Header.Get("Authorization"); got != "Bearer "+strings.TrimSpace(string(good)) {
				t.Errorf("%q is sent as %q", good, got)
			}
			return respond(200, `{"id": "p"}`), nil
		})}))
		if err != nil {
			t.Errorf("%q: %v", good, err)
			continue
		}
		if _, err := c.Project.Get(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []APIKey{"", "  ", "cnc_", "abc", "CNC_SECRETX", "Bearer cnc_SECRETX", "cnc_SEC\nRETX", "cnc_SEC RETX", "cnc_SEC\x00RETX", "cnc_SECRETXü", "cnc_SEC\"RETX", "cnc_SEC\x7fRETX"} {
		_, err := New("p", bad)
		var arg *ArgumentError
		if !errors.As(err, &arg) || strings.Contains(err.Error(), "SEC") {
			t.Errorf("%q: %v, want an ArgumentError that does not repeat it", string(bad), err)
		}
	}
}

func FuzzKey(f *testing.F) {
	for _, seed := range []string{"cnc_abc", " cnc_x\n", "cnc_a\r\nHost: x", "cnc_\xff", "x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		key, err := parseKey(APIKey(s))
		if err != nil {
			if secret := strings.TrimSpace(s); len(secret) > 12 && strings.Contains(err.Error(), secret) {
				t.Fatal("the error repeats the key")
			}
			return
		}
		if masked := mask.Text("x " + string(key) + " y"); masked != "x cnc_… y" {
			t.Fatalf("a valid key is not recognized in a text: %q", masked)
		}
		for i := range len(key) {
			if key[i] <= ' ' || key[i] > '~' {
				t.Fatalf("the key has the byte %#x", key[i])
			}
		}
	})
}

func TestS4BaseURLs(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{
		"https://api.connic.co/v1":      "https://api.connic.co/v1/projects/p",
		"https://api.connic.co/v1/":     "https://api.connic.co/v1/projects/p",
		"https://gateway.example":       "https://gateway.example/projects/p",
		"https://gateway.example/":      "https://gateway.example/projects/p",
		"https://gateway.example/a/b\n": "https://gateway.example/a/b/projects/p",
		"https://gateway.example:8443":  "https://gateway.example:8443/projects/p",
		"http://localhost:8080/v1":      "http://localhost:8080/v1/projects/p",
		"http://127.0.0.1:1":            "http://127.0.0.1:1/projects/p",
		"http://127.1.2.3":              "http://127.1.2.3/projects/p",
		"http://[::1]:8080":             "http://[::1]:8080/projects/p",
	} {
		c, err := New("p", testKey, WithBaseURL(base), WithHTTPClient(&http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if got := r.URL.String(); got != want {
				t.Errorf("%q leads to %s, want %s", base, got, want)
			}
			return respond(200, `{"id": "p"}`), nil
		})}))
		if err != nil {
			t.Errorf("%q: %v", base, err)
		} else if _, err := c.Project.Get(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{
		"", "api.connic.co/v1", "/v1", "http://api.connic.co/v1", "http://192.168.0.1", "http://localhost.evil.example", "http://127.0.0.1.evil.example",
		"ftp://x", "https://", "https:///v1", "https://:443", "https://user:secretpw@x", "https://user@x", "https://x?y=secretpw", "https://x?", "https://x#y",
		"https://x/../y", "https://x/a//b", "https://x/%2e%2e/y", "unix:///socket", "https://x y", "://", "https://x\n",
	} {
		if strings.TrimSpace(bad) == "https://x" {
			continue // the line break is trimmed
		}
		_, err := New("p", testKey, WithBaseURL(bad))
		var arg *ArgumentError
		if !errors.As(err, &arg) || strings.Contains(err.Error(), "secretpw") {
			t.Errorf("%q: %v, want an ArgumentError", bad, err)
		}
	}
}

func TestNewArguments(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func() (*Client, error){
		"no project":      func() (*Client, error) { return New("", testKey) },
		"project path":    func() (*Client, error) { return New("a/b", testKey) },
		"nil http client": func() (*Client, error) { return New("p", testKey, WithHTTPClient(nil)) },
		"nil transport":   func() (*Client, error) { return New("p", testKey, WithTransport(nil)) },
		"transport to nil": func() (*Client, error) {
			return New("p", testKey, WithTransport(func(http.RoundTripper) http.RoundTripper { return nil }))
		},
		"timeout":        func() (*Client, error) { return New("p", testKey, WithTimeout(0)) },
		"retry":          func() (*Client, error) { return New("p", testKey, WithRetry(RetryPolicy{MaxAttempts: -1})) },
		"limiter":        func() (*Client, error) { return New("p", testKey, WithLimiter(nil)) },
		"rate":           func() (*Client, error) { return New("p", testKey, WithRateLimit(0, 1)) },
		"environment":    func() (*Client, error) { return New("p", testKey, WithEnvironment("")) },
		"keys":           func() (*Client, error) { return New("p", testKey, WithKeySource(nil)) },
		"application":    func() (*Client, error) { return New("p", testKey, WithApplication("a\r\nb", "1")) },
		"logger":         func() (*Client, error) { return New("p", testKey, WithLogger(nil)) },
		"observer":       func() (*Client, error) { return New("p", testKey, WithObserver(nil)) },
		"size":           func() (*Client, error) { return New("p", testKey, WithMaxResponseBytes(0)) },
		"route op":       func() (*Client, error) { return New("p", testKey, WithRoute("runs.nothing", "/x")) },
		"route path":     func() (*Client, error) { return New("p", testKey, WithRoute("runs.list", "x")) },
		"route lacks id": func() (*Client, error) { return New("p", testKey, WithRoute("runs.get", "/projects/{project}/runs")) },
		"route other id": func() (*Client, error) { return New("p", testKey, WithRoute("runs.get", "/runs/{agent}")) },
		"route dots":     func() (*Client, error) { return New("p", testKey, WithRoute("runs.list", "/a/../b")) },
		"route query":    func() (*Client, error) { return New("p", testKey, WithRoute("runs.list", "/a?b")) },
		"route brace":    func() (*Client, error) { return New("p", testKey, WithRoute("runs.list", "/a{b")) },
	} {
		c, err := f()
		var arg *ArgumentError
		if !errors.As(err, &arg) || c != nil {
			t.Errorf("%s: %v, want an ArgumentError", name, err)
		}
	}
	if _, err := New(" p ", testKey, nil, WithRoute("runs.get", "/elsewhere/{run}/"), WithRoute("runs.list", "/projects/{project}/runs/search")); err != nil {
		t.Error(err)
	}
}

func TestNewFromEnvironment(t *testing.T) {
	t.Parallel()
	type file struct {
		content string
		err     error
	}
	type vars = map[string]string
	absent := file{err: fs.ErrNotExist}
	whole := file{content: `{"api_key": "cnc_f", "project_id": "p3", "preferred_dev_environment": {"project_id": "p3", "name": "mine"}}`}
	tests := map[string]struct {
		env     vars
		file    file
		project string
		key     APIKey
		url     string
		fails   string
	}{
		"variables":             {vars{"CONNIC_API_KEY": " cnc_a\n", "CONNIC_PROJECT_ID": "p1", "CONNIC_API_URL": "https://x"}, absent, "p1", "cnc_a", "https://x", ""},
		"token":                 {vars{"CONNIC_TOKEN": "p2:cnc_b:c"}, absent, "p2", "cnc_b:c", "", ""},
		"file":                  {nil, whole, "p3", "cnc_f", "", ""},
		"variables before all":  {vars{"CONNIC_API_KEY": "cnc_a", "CONNIC_PROJECT_ID": "p1", "CONNIC_TOKEN": "p2:cnc_b"}, whole, "p1", "cnc_a", "", ""},
		"the file before token": {vars{"CONNIC_TOKEN": "p2:cnc_b"}, whole, "p3", "cnc_f", "", ""},
		"file fills":            {vars{"CONNIC_API_KEY": "cnc_a"}, whole, "p3", "cnc_a", "", ""},
		"token fills":           {vars{"CONNIC_API_KEY": "cnc_a", "CONNIC_TOKEN": "p2:cnc_b"}, absent, "p2", "cnc_a", "", ""},
		"the same project":      {vars{"CONNIC_PROJECT_ID": "p3", "CONNIC_TOKEN": "p3:cnc_b"}, whole, "p3", "cnc_f", "", ""},
		"a project alone":       {vars{"CONNIC_API_KEY": "cnc_a"}, file{content: `{"project_id": "p3"}`}, "p3", "cnc_a", "", ""},

		"a key of another project":  {vars{"CONNIC_PROJECT_ID": "p1"}, whole, "", "", "", "the API key is from the file .connic, the project id is from CONNIC_API_KEY and CONNIC_PROJECT_ID"},
		"a token of another":        {vars{"CONNIC_PROJECT_ID": "p1", "CONNIC_TOKEN": "p2:cnc_SECRET"}, absent, "", "", "", "do not go together"},
		"a key for one of two":      {vars{"CONNIC_API_KEY": "cnc_SECRET", "CONNIC_TOKEN": "p2:cnc_b"}, whole, "", "", "", "do not go together"},
		"a preference alone":        {nil, file{content: `{"preferred_dev_environment": {"name": "mine"}}`}, "", "", "", "lack an API key"},
		"nothing":                   {nil, absent, "", "", "", "an API key (CONNIC_API_KEY; see Project Settings → API Keys & MCP Auth) and a project id (CONNIC_PROJECT_ID; see Project Settings → General); looked at"},
		"no project":                {vars{"CONNIC_API_KEY": "cnc_SECRET"}, absent, "", "", "", "lack a project id"},
		"bad token":                 {vars{"CONNIC_TOKEN": "cnc_SECRET"}, absent, "", "", "", "CONNIC_TOKEN is not of the form project_id:api_key"},
		"bad token beside the rest": {vars{"CONNIC_TOKEN": "cnc_SECRET"}, whole, "p3", "cnc_f", "", ""},
		"bad file":                  {nil, file{content: `{"api_key": cnc_SECRET`}, "", "", "", "the file .connic is not JSON"},
		"a file with a mark":        {nil, file{content: "\ufeff" + whole.content}, "", "", "", "the file .connic is not JSON"},
		"a list":                    {vars{"CONNIC_TOKEN": "p2:cnc_b"}, file{content: `[1]`}, "p2", "cnc_b", "", ""},
		"unreadable file":           {nil, file{err: fs.ErrPermission}, "", "", "", "the file .connic cannot be read"},
		"a folder, and a token":     {vars{"CONNIC_TOKEN": "p2:cnc_b"}, file{err: errors.New("is a directory")}, "p2", "cnc_b", "", ""},
	}
	for name, test := range tests {
		found := environ.Read(func(n string) string { return test.env[n] }, func(n string) ([]byte, error) {
			if n != ".connic" {
				t.Errorf("it reads %s", n)
			}
			return []byte(test.file.content), test.file.err
		})
		reason := lacking(&found)
		if test.fails != "" {
			if !strings.Contains(reason, test.fails) || strings.Contains(reason, "SECRET") {
				t.Errorf("%s: %q, want an error with %q", name, reason, test.fails)
			}
			continue
		}
		if reason != "" || found.Project.Project != test.project || APIKey(found.Key.Key) != test.key || found.URL != test.url {
			t.Errorf("%s: %+v, %s", name, found, reason)
		}
	}
}

func TestNewFromEnv(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("CONNIC_API_KEY", "cnc_from-env-123")
	t.Setenv("CONNIC_PROJECT_ID", "p9")
	t.Setenv("CONNIC_TOKEN", "")
	t.Setenv("CONNIC_API_URL", "https://gateway.example/v1")
	c, err := NewFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	if got := c.String(); got != "connic.Client(project p9 at https://gateway.example/v1, key cnc_…-123)" {
		t.Errorf("it is %s", got)
	}
	if c, err = NewFromEnv(WithBaseURL("https://other.example")); err != nil || !strings.Contains(c.String(), "other.example") {
		t.Errorf("options do not win: %v, %v", c, err)
	}
	t.Setenv("CONNIC_ENVIRONMENT", " e9 ")
	if c, err = NewFromEnv(); err != nil || c.environment != "e9" {
		t.Errorf("the environment is %q, %v", c.environment, err)
	}
	if c, err = NewFromEnv(WithEnvironment("e1")); err != nil || c.environment != "e1" {
		t.Errorf("options do not win: %q, %v", c.environment, err)
	}
	t.Setenv("CONNIC_API_URL", "http://evil.example/v1")
	var arg *ArgumentError
	if _, err := NewFromEnv(); !errors.As(err, &arg) {
		t.Errorf("a base URL without TLS: %v", err)
	}
}

func TestKeySource(t *testing.T) {
	t.Parallel()
	keys := []APIKey{"cnc_first-key-01", " cnc_second-key-02\n", "not a key SECRET"}
	var sent []string
	fail := errors.New("vault is sealed")
	calls := 0
	c, err := New("p", "", WithKeySource(KeySourceFunc(func(context.Context) (APIKey, error) {
		if calls++; calls > len(keys) {
			return "", fail
		}
		return keys[calls-1], nil
	})), WithHTTPClient(&http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		sent = append(sent, r.Header.Get("Authorization"))
		return respond(200, `{"id": "p"}`), nil
	})}))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := c.Project.Get(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if got := strings.Join(sent, ", "); got != "Bearer cnc_first-key-01, Bearer cnc_second-key-02" {
		t.Errorf("it sent %s", got)
	}
	var arg *ArgumentError
	if _, err := c.Project.Get(t.Context()); !errors.As(err, &arg) || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("a bad key: %v", err)
	}
	_, err = c.Agents.Trigger(t.Context(), "a", TriggerRequest{Message: "x"})
	if !errors.Is(err, fail) || errors.Is(err, ErrOutcomeUnknown) || len(sent) != 2 {
		t.Errorf("a source that fails: %v after %d requests", err, len(sent))
	}
	if s := c.RateLimit(); s.Used != 2 || s.InFlight != 0 {
		t.Errorf("attempts that were not sent cost quota: %+v", s)
	}
}

func TestClientPrintsRedacted(t *testing.T) {
	t.Parallel()
	const secret = "cnc_SECRETSECRET1234"
	c, err := New("p", secret)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		fmt.Fprintf(&b, verb+"\n", c)
		fmt.Fprintf(&b, verb+"\n", struct{ C *Client }{c})
		fmt.Fprintf(&b, verb+"\n", *c.Runs)
		fmt.Fprintf(&b, verb+"\n", c.Agents)
	}
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "client", c)
	if text, err := json.Marshal(map[string]any{"c": c}); err == nil {
		b.Write(text)
	}
	if got := b.String(); strings.Contains(got, "SECRETSECRET") || !strings.Contains(got, "key cnc_…1234") {
		t.Errorf("it prints as %s", got)
	}
}

func TestForEnvironmentSharesAllButTheEnvironment(t *testing.T) {
	t.Parallel()
	c, err := New("p", testKey, WithEnvironment("e1"))
	if err != nil {
		t.Fatal(err)
	}
	d := c.ForEnvironment("e2")
	if d.environment != "e2" || c.environment != "e1" || d.core != c.core || d.Runs.scope() != &d.scope || c.ForEnvironment("").environment != "" {
		t.Errorf("%q, %q", c.environment, d.environment)
	}
	if _ = c.Close(); !d.closed.Load() {
		t.Error("one of them is open after the other was closed")
	}
}

// What was encoded is redacted, and is no key when it comes back.
func TestRedactedKeysAreRefused(t *testing.T) {
	t.Parallel()
	type config struct {
		Key APIKey `json:"key"`
	}
	encoded, err := json.Marshal(config{testKey})
	if err != nil || strings.Contains(string(encoded), "unit") {
		t.Fatalf("%s, %v", encoded, err)
	}
	var back config
	var bad *ArgumentError
	if err := json.Unmarshal(encoded, &back); !errors.As(err, &bad) || back.Key != "" {
		t.Errorf("%s is decoded: %v", encoded, err)
	}
	if err := json.Unmarshal([]byte(`{"key": "`+string(testKey)+`"}`), &back); err != nil || back.Key != testKey {
		t.Errorf("a whole key: %v", err)
	}
	if _, err := New("p", APIKey(testKey.redacted())); !errors.As(err, &bad) {
		t.Errorf("New takes a redacted key: %v", err)
	}
}
