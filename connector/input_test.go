package connector_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
)

func TestInputsAsJSON(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		in   connector.Input
		want string
	}{
		{connector.Input{Message: "a \"b\"\n"}, `{"message": "a \"b\"\n"}`},
		{connector.Input{Message: "m", Payload: map[string]any{"k": 1}}, `{"message": "m", "k": 1}`},
		{connector.Input{Payload: struct {
			Message string `json:"message"`
		}{"own"}}, `{"message": "own"}`},
		{connector.Input{Payload: json.RawMessage(`{"id": 9007199254740993}`)}, `{"id": 9007199254740993}`},
		{connector.Input{Payload: []int{1, 2}}, `[1, 2]`},
		{connector.Input{Payload: "text"}, `"text"`},
		{connector.Input{Payload: 0}, `0`},
		{connector.Input{Payload: json.RawMessage("null")}, `null`},
	} {
		var got []byte
		var kind string
		c := recording(t, func(r *http.Request, body []byte) { got, kind = body, r.Header.Get("Content-Type") })
		if _, err := c.Call(t.Context(), test.in); err != nil {
			t.Errorf("%+v: %v", test.in, err)
		}
		if kind != "application/json" || !sameJSON(t, got, []byte(test.want)) || (strings.Contains(test.want, "9007") && !strings.Contains(string(got), "9007199254740993")) {
			t.Errorf("%+v: %s %s", test.in, kind, got)
		}
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := errors.Join(json.Unmarshal(a, &x), json.Unmarshal(b, &y)); err != nil {
		t.Error(err)
	}
	return reflect.DeepEqual(x, y)
}

// recording is a connector whose requests are looked at, over a real connection.
func recording(t *testing.T, look func(r *http.Request, body []byte)) *connector.Connector {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		look(r, body)
		_, _ = io.WriteString(w, syncAnswer)
	}))
	t.Cleanup(server.Close)
	return must(connector.New(server.URL+"/x", canary))(t)
}

func TestInputsAreRefused(t *testing.T) {
	t.Parallel()
	opened, closed := 0, 0
	file := func(change func(*connector.File)) connector.Input {
		f := connector.File{Name: "a.txt", MIMEType: "text/plain", Data: []byte("x")}
		change(&f)
		return connector.Input{Files: []connector.File{f}}
	}
	open := func(r io.Reader, err error) func(*connector.File) {
		return func(f *connector.File) {
			f.Data, f.Open = nil, func() (io.Reader, error) {
				if err == nil {
					opened++
				}
				return struct {
					io.Reader
					io.Closer
				}{r, closer(func() { closed++ })}, err
			}
		}
	}
	c := must(connector.New(hookURL, canary, connector.WithHTTPClient(&http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		t.Error("something was sent")
		return nil, errors.New("no")
	})})))(t)
	for name, in := range map[string]connector.Input{
		"empty":                {},
		"payload and message":  {Message: "m", Payload: map[string]int{"message": 1}},
		"payload no object":    {Message: "m", Payload: []int{1}},
		"payload no JSON":      {Payload: make(chan int)},
		"payload and files":    {Payload: map[string]int{"files": 1}, Files: []connector.File{{Name: "a", MIMEType: "text/plain"}}},
		"key of a field":       {Payload: map[string]int{"a\nb": 1}, Files: []connector.File{{Name: "a", MIMEType: "text/plain"}}},
		"no name":              file(func(f *connector.File) { f.Name = "" }),
		"line break":           file(func(f *connector.File) { f.Name = "a\r\nX: y" }),
		"separator":            file(func(f *connector.File) { f.Name = "a\u2028b" }),
		"no UTF-8":             file(func(f *connector.File) { f.Name = "a\xff" }),
		"no type":              file(func(f *connector.File) { f.MIMEType = "" }),
		"octet-stream":         file(func(f *connector.File) { f.MIMEType = "application/octet-stream" }),
		"zip":                  file(func(f *connector.File) { f.MIMEType = "application/zip" }),
		"video":                file(func(f *connector.File) { f.MIMEType = "video/mp4" }),
		"type with line break": file(func(f *connector.File) { f.MIMEType = "text/plain\r\nX: y" }),
		"both":                 file(func(f *connector.File) { f.Open = func() (io.Reader, error) { return nil, nil } }),
		"large":                file(func(f *connector.File) { f.Data = make([]byte, connector.MaxFileBytes+1) }),
		"large when opened":    file(open(endless{}, nil)),
		"opens nothing":        file(func(f *connector.File) { f.Data, f.Open = nil, func() (io.Reader, error) { return nil, nil } }),
		"cannot be opened":     file(open(nil, errors.New("gone"))),
		"cannot be read":       file(open(io.MultiReader(strings.NewReader("x"), broken{}), nil)),
	} {
		_, err := c.Send(t.Context(), in)
		var argument *connic.ArgumentError
		if !errors.As(err, &argument) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if opened == 0 || opened != closed {
		t.Errorf("%d files were opened, %d closed", opened, closed)
	}
	if _, err := c.Send(nil, connector.Input{Message: "m"}); err == nil { //nolint:staticcheck // nil is what is tested
		t.Error("a nil context is accepted")
	}
	var none *connector.Connector
	for _, c := range []*connector.Connector{none, {}} {
		if _, err := c.Call(t.Context(), connector.Input{Message: "m"}); err == nil {
			t.Error("a connector that New has not made is accepted")
		}
	}
}

type closer func()

func (f closer) Close() error { f(); return nil }

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("a bad block") }

func TestFileTypes(t *testing.T) {
	t.Parallel()
	for good := range strings.FieldsSeq(`image/png image/svg+xml application/pdf text/plain text/csv text/plain;charset=utf-8 application/json application/xml text/xml
		application/msword application/vnd.openxmlformats-officedocument.wordprocessingml.document application/vnd.ms-excel
		application/vnd.oasis.opendocument.text application/epub+zip IMAGE/JPEG`) {
		if !connector.FileTypeSupported(good) {
			t.Errorf("%s is refused", good)
		}
	}
	for _, bad := range []string{"", "image", "application/octet-stream", "application/zip", "audio/mpeg", "application/x-sh", "text/plain; x", "image/png, text/html"} {
		if connector.FileTypeSupported(bad) {
			t.Errorf("%s is accepted", bad)
		}
	}
}

// TestFormsCarryFilesAndPayload reads the form with another reader than it was written
// with: mime/multipart.
func TestFormsCarryFilesAndPayload(t *testing.T) {
	t.Parallel()
	files := []connector.File{
		{Name: `quo"te\.txt`, MIMEType: "text/plain; charset=utf-8", Data: []byte("first")},
		{Name: "ünï.pdf", MIMEType: "application/pdf", Open: func() (io.Reader, error) { return strings.NewReader("second"), nil }},
		{Name: "empty.csv", MIMEType: "text/csv"},
	}
	type part struct{ field, name, kind, content string }
	for _, test := range []struct {
		in   connector.Input
		want []part
	}{
		{connector.Input{Files: files}, nil},
		{connector.Input{Message: "hello\n\"you\"", Payload: map[string]any{"n": 1, "o": map[string]int{"a": 1}, "s": "text", "z": nil}, Files: files}, []part{
			{"message", "", "", "hello\n\"you\""}, {"n", "", "", "1"}, {"o", "", "", `{"a":1}`}, {"s", "", "", "text"}, {"z", "", "", "null"},
		}},
		{connector.Input{Payload: []int{1, 2}, Files: files}, []part{{"payload", "", "", "[1,2]"}}},
	} {
		want := append(slices.Clone(test.want),
			part{"files", `quo"te\.txt`, "text/plain; charset=utf-8", "first"}, part{"files", "ünï.pdf", "application/pdf", "second"}, part{"files", "empty.csv", "text/csv", ""})
		var got []part
		c := recording(t, func(r *http.Request, body []byte) {
			kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
			if err != nil || kind != "multipart/form-data" || r.ContentLength != int64(len(body)) {
				t.Errorf("%s, %d of %d bytes, %v", kind, r.ContentLength, len(body), err)
			}
			for parts := multipart.NewReader(bytes.NewReader(body), params["boundary"]); ; {
				p, err := parts.NextPart()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Error(err)
					break
				}
				content, _ := io.ReadAll(p)
				got = append(got, part{p.FormName(), p.FileName(), p.Header.Get("Content-Type"), string(content)})
			}
		})
		if _, err := c.Call(t.Context(), test.in); err != nil {
			t.Error(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

// TestFilesAreStreamed sends 20 files of 10 MB each, which never stand in memory whole.
func TestFilesAreStreamed(t *testing.T) { //nolint:paralleltest // it measures the heap
	if testing.Short() {
		t.Skip("it moves 200 MB")
	}
	var received atomic.Int64
	var peak atomic.Uint64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			t.Error(err)
		}
		received.Store(n)
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		peak.Store(m.HeapAlloc)
		_, _ = io.WriteString(w, syncAnswer)
	}))
	defer server.Close()
	var open, most int
	files := make([]connector.File, 20)
	for i := range files {
		files[i] = connector.File{Name: "a.txt", MIMEType: "text/plain", Open: func() (io.Reader, error) {
			open++
			most = max(most, open)
			return struct {
				io.Reader
				io.Closer
			}{io.LimitReader(endless{}, connector.MaxFileBytes), closer(func() { open-- })}, nil
		}}
	}
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c := must(connector.New(server.URL+"/x", canary))(t)
	if _, err := c.Call(t.Context(), connector.Input{Files: files}); err != nil {
		t.Fatal(err)
	}
	if received.Load() < 20*connector.MaxFileBytes || open != 0 || most != 1 {
		t.Errorf("%d bytes; %d files are open, at most %d were", received.Load(), open, most)
	}
	if grown := int64(peak.Load()) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
}

// TestAFileThatChanges is not sent as another one.
func TestAFileThatChanges(t *testing.T) {
	t.Parallel()
	c := must(connector.New("http://127.0.0.1:1/x", canary, connector.WithHTTPClient(&http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		_, err := io.Copy(io.Discard, r.Body)
		return nil, errors.Join(err, r.Body.Close())
	})})))(t)
	for name, second := range map[string]string{"shorter": "ab", "gone": "", "nothing": "nil"} {
		opened := 0
		in := connector.Input{Files: []connector.File{{Name: "a.txt", MIMEType: "text/plain", Open: func() (io.Reader, error) {
			if opened++; opened == 1 {
				return strings.NewReader("abc"), nil
			}
			switch second {
			case "":
				return nil, errors.New("gone")
			case "nil":
				return nil, nil
			}
			return strings.NewReader(second), nil
		}}}}
		// The first file is opened before anything is sent, and any other when it is
		// reached.
		if _, err := c.Call(t.Context(), in); err == nil || errors.Is(err, connic.ErrOutcomeUnknown) != (name == "shorter") {
			t.Errorf("%s: %v", name, err)
		}
		opened = 0
		in.Files = append([]connector.File{{Name: "b.txt", MIMEType: "text/plain", Data: []byte("b")}}, in.Files...)
		if _, err := c.Call(t.Context(), in); err == nil || !errors.Is(err, connic.ErrOutcomeUnknown) {
			t.Errorf("%s, as the second: %v", name, err)
		}
	}
}
