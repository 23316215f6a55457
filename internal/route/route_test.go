package route

import (
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ route, id, path, raw, name string }{
		{"/projects/{project}/runs/{run}", "r1", "/v1/projects/p/runs/r1", "", ""},
		{"/projects/{project}/runs/{run}", "a b", "/v1/projects/p/runs/a b", "/v1/projects/p/runs/a%20b", ""},
		{"/projects/{project}/runs/{run}", "%41", "/v1/projects/p/runs/%41", "/v1/projects/p/runs/%2541", ""},
		{"/projects/{project}/runs/{run}", "a:b@c", "/v1/projects/p/runs/a:b@c", "", ""},
		{"/projects/{project}/runs/{run}/cancel", "..", "", "", "run"},
		{"/test-sessions/{session}", "", "", "", "session"},
		{"/projects/{project}/runs", "", "/v1/projects/p/runs", "", ""},
		{"", "", "/v1", "", ""},
	} {
		path, raw, name, reason := Expand("/v1", c.route, "p", c.id)
		if path != c.path || raw != c.raw || name != c.name || (reason != "") != (name != "") {
			t.Errorf("%s with %q: %q, %q, %q %s", c.route, c.id, path, raw, name, reason)
		}
	}
}

func TestParseBase(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"https://api.connic.co/v1": "https://api.connic.co/v1", " https://x/ ": "https://x", "http://127.0.0.1:8080/a/": "http://127.0.0.1:8080/a",
		"http://localhost": "http://localhost", "http://[::1]:1": "http://[::1]:1",
		"http://example.com": "", "ftp://x": "", "/v1": "", "https://": "", "https://:80": "", "https://u@x": "", "https://x?": "", "https://x#a": "",
		"https://x/..": "", "https://x/a//b": "", "https://x/%00": "", "%": "",
	} {
		base, reason := ParseBase(s)
		if (base == nil) != (reason != "") || base != nil && base.String() != want || base == nil && want != "" {
			t.Errorf("%s: %v, %q", s, base, reason)
		}
		if s != "%" && s != "/v1" && strings.Contains(reason, s) {
			t.Errorf("%s is repeated: %s", s, reason)
		}
	}
}
