package conformance

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed cases/*.json
var files embed.FS

// Case is a request and what is expected of its answer.
type Case struct {
	Name string `json:"name"`
	Op   string `json:"op"` // empty: of no operation
	// Write changes something; Deploys changes what runs in an environment.
	Write   bool `json:"write"`
	Deploys bool `json:"deploys"`
	// Broken breaks the rules; Anonymous carries no key, and Keyless needs none.
	Broken    bool `json:"broken"`
	Anonymous bool `json:"anonymous"`
	Keyless   bool `json:"keyless"`

	Method string            `json:"method"`
	Path   string            `json:"path"` // {names} are those that earlier cases saved
	Query  string            `json:"query"`
	Body   json.RawMessage   `json:"body"`
	File   *File             `json:"file"`   // with Form, in the place of Body
	Base64 bool              `json:"base64"` // the file's content is
	Form   map[string]string `json:"form"`

	Status []int `json:"status"`
	// Again are statuses after which the request is made again, for up to a minute.
	Again []int `json:"again"`
	// Keys are paths in the answer, "items.*.id", and the types that stand there:
	// "string|null"; "absent" where there may be nothing.
	Keys map[string]string `json:"keys"`
	// Save gives values of the answer a name, for the cases that follow.
	Save map[string]string `json:"save"`
	// Until repeats the request, for up to a minute, until a key has one of these
	// values.
	Until map[string][]string `json:"until"`
}

// File is a file of a multipart form.
type File struct{ Name, Type, Content string }

// Load returns the cases in their order.
func Load() ([]Case, error) {
	entries, err := files.ReadDir("cases")
	if err != nil {
		return nil, err
	}
	var all []Case
	for _, e := range entries {
		raw, err := files.ReadFile("cases/" + e.Name())
		if err != nil {
			return nil, err
		}
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.DisallowUnknownFields()
		var cases []Case
		if err := decoder.Decode(&cases); err != nil { //nolint:musttag // its errors have keys of their own
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		all = append(all, cases...)
	}
	return all, nil
}

// Target is what the cases run against.
type Target struct {
	URL, Project, Key string
	Agent             string // that is triggered
	Asks              string // an agent whose runs await an approval; empty leaves out what needs one
	Transport         http.RoundTripper
	Writes, Deploys   bool
	Poll              time.Duration
}

// Row is what came of a case.
type Row struct {
	Case    *Case
	Status  int
	Skipped string   // why it did not run
	Differs []string // what is not as expected
}

// Run runs the cases one after the other.
func Run(ctx context.Context, t Target, cases []Case) ([]Row, error) {
	data, hash, err := archive(t.Agent)
	if err != nil {
		return nil, err
	}
	known := map[string]string{"project": t.Project, "archive": data, "hash": hash, "agent": t.Agent}
	if t.Asks != "" {
		known["asking_agent"] = t.Asks
	}
	rows := make([]Row, len(cases))
	for i := range cases {
		c := &cases[i]
		row := &rows[i]
		row.Case = c
		switch missing := c.missing(known); {
		case c.Write && !t.Writes:
			row.Skipped = "writes"
		case c.Deploys && !t.Deploys:
			row.Skipped = "deploys"
		case missing != "":
			row.Skipped = "no " + missing
		default:
			if err := t.run(ctx, c, row, known); err != nil {
				row.Differs = append(row.Differs, err.Error())
			}
		}
	}
	return rows, nil
}

var names = regexp.MustCompile(`\{[a-z_]+\}`)

// missing names a value that no earlier case has saved.
func (c *Case) missing(known map[string]string) string {
	for _, name := range names.FindAllString(c.Path+c.Query+string(c.Body), -1) {
		if _, ok := known[strings.Trim(name, "{}")]; !ok {
			return strings.Trim(name, "{}")
		}
	}
	return ""
}

func fill(text string, known map[string]string) string {
	return names.ReplaceAllStringFunc(text, func(name string) string { return known[strings.Trim(name, "{}")] })
}

func (t *Target) run(ctx context.Context, c *Case, row *Row, known map[string]string) error {
	deadline := time.Now().Add(time.Minute)
	for {
		status, body, wait, err := t.send(ctx, c, known)
		if err != nil {
			return err
		}
		row.Status = status
		if slices.Contains(c.Again, status) && time.Now().Before(deadline) {
			if err := sleep(ctx, t.Poll); err != nil {
				return err
			}
			continue
		}
		if status == http.StatusTooManyRequests && !slices.Contains(c.Status, status) && time.Now().Before(deadline.Add(time.Minute)) {
			if err := sleep(ctx, wait); err != nil {
				return err
			}
			continue
		}
		if !slices.Contains(c.Status, status) {
			return fmt.Errorf("status %d, expected %v: %.200s", status, c.Status, body)
		}
		var value any
		if len(c.Keys)+len(c.Save)+len(c.Until) == 0 {
			return nil
		}
		if err := json.Unmarshal(body, &value); err != nil {
			return fmt.Errorf("the response is not JSON: %.200s", body)
		}
		if !reached(value, c.Until) {
			if time.Now().After(deadline) {
				return fmt.Errorf("after a minute it is not as awaited: %.200s", body)
			}
			if err := sleep(ctx, t.Poll); err != nil {
				return err
			}
			continue
		}
		for path, types := range c.Keys {
			row.Differs = append(row.Differs, compare(value, path, types)...)
		}
		slices.Sort(row.Differs)
		for name, path := range c.Save {
			if found := at(value, steps(path)); len(found) > 0 && found[0] != nil {
				known[name] = fmt.Sprint(found[0])
			}
		}
		return nil
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *Target) send(ctx context.Context, c *Case, known map[string]string) (status int, body []byte, wait time.Duration, err error) {
	url := t.URL + fill(c.Path, known)
	if c.Query != "" {
		url += "?" + fill(c.Query, known)
	}
	content, kind := io.Reader(nil), ""
	switch {
	case c.File != nil:
		form, boundary, err := c.form(known)
		if err != nil {
			return 0, nil, 0, err
		}
		content, kind = form, boundary
	case len(c.Body) > 0:
		content, kind = strings.NewReader(fill(string(c.Body), known)), "application/json"
	}
	r, err := http.NewRequestWithContext(ctx, c.Method, url, content)
	if err != nil {
		return 0, nil, 0, err
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	if !c.Anonymous {
		r.Header.Set("Authorization", "Bearer "+t.Key)
	}
	resp, err := t.Transport.RoundTrip(r)
	if err != nil {
		return 0, nil, 0, err
	}
	defer resp.Body.Close()
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		wait = min(time.Duration(seconds)*time.Second, time.Minute)
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	return resp.StatusCode, body, max(wait, time.Second), err
}

func (c *Case) form(known map[string]string) (io.Reader, string, error) {
	var buffer bytes.Buffer
	file := fill(c.File.Content, known)
	if c.Base64 {
		raw, err := base64.StdEncoding.DecodeString(file)
		if err != nil {
			return nil, "", err
		}
		file = string(raw)
	}
	w := multipart.NewWriter(&buffer)
	header := textproto.MIMEHeader{}
	header.Set("Content-Disposition", fmt.Sprintf(`form-data; name="file"; filename=%q`, c.File.Name))
	header.Set("Content-Type", c.File.Type)
	part, err := w.CreatePart(header)
	if err == nil {
		_, err = io.WriteString(part, file)
	}
	for name, value := range c.Form {
		err = errors.Join(err, w.WriteField(name, value))
	}
	return &buffer, w.FormDataContentType(), errors.Join(err, w.Close())
}

// archive is a small project with an agent and a suite.
func archive(agent string) (data, hash string, err error) {
	var buffer bytes.Buffer
	zipped := gzip.NewWriter(&buffer)
	packed := tar.NewWriter(zipped)
	for _, file := range [][2]string{
		{"agents/" + agent + ".yaml", "version: \"1.0\"\nname: " + agent + "\ntype: llm\nmodel: openai/gpt-4o\ndescription: For conformance\nsystem_prompt: Answer.\n"},
		{"tests/" + agent + ".yaml", "tests:\n  - name: answers\n    payload: hello\n"},
	} {
		err = errors.Join(err, packed.WriteHeader(&tar.Header{Name: file[0], Mode: 0o644, Size: int64(len(file[1]))}))
		_, werr := io.WriteString(packed, file[1])
		err = errors.Join(err, werr)
	}
	err = errors.Join(err, packed.Close(), zipped.Close())
	sum := sha256.Sum256(buffer.Bytes())
	return base64.StdEncoding.EncodeToString(buffer.Bytes()), hex.EncodeToString(sum[:])[:12], err
}
