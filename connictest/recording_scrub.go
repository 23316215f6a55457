package connictest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/internal/hook"
	"github.com/connic-go/connic/internal/mask"
	"github.com/connic-go/connic/internal/scrub"
)

const (
	minHidden = 8  // bytes of a string that can be told from other text
	shortened = 40 // characters of a shortened text
)

var (
	resourceName = regexp.MustCompile(`^[\p{L}\p{N}_][\p{L}\p{N}_ ./:*-]{0,63}$`)
	email        = regexp.MustCompile(`[\p{L}\p{N}_][\p{L}\p{M}\p{N}.!#$*+_'~-]*(@|%40|\\u0040)[\p{L}\p{M}\p{N}-]+(\.[\p{L}\p{M}\p{N}-]+)+`)
	signedURL    = regexp.MustCompile(`https?://[^\s"'<>?]+\?[^\s"'<>]+`) // its parameters may be a signature
	encoded      = regexp.MustCompile(`^[A-Za-z0-9+/_-]{64,}={0,2}$`)
	marker       = regexp.MustCompile(`connic-[A-Z2-7]{26}`)
	identifier   = regexp.MustCompile(`[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}|[0-9a-fA-F]{24}`)
	opaque       = regexp.MustCompile(`^[A-Za-z0-9_-]*[0-9][A-Za-z0-9_-]*$`)
	generated    = regexp.MustCompile(`[A-Za-z0-9]{16,}`) // no word of a name is as long
)

// A scrubber replaces private data in the exchanges of a recording. It goes
// through all of them twice: first it finds what is to be replaced.
type scrubber struct {
	options *RecordOptions
	finding bool
	request bool // the values are of a request
	people  bool // they are of people
	section string

	values       map[string]string // placeholders
	kinds        map[string]string // of the placeholders, by value
	count        map[string]int    // of placeholders, by kind
	secrets      []string
	within       []string // what is replaced within texts
	mask         *mask.Mask
	embedded     *strings.Replacer // of all values but texts
	own          map[string]bool   // values that the test passed before it received them
	received     *strings.Replacer // of all but its own texts
	keep         map[string]bool   // names that stay
	fingerprints map[string][]string
}

// scrubbed returns the file of the exchanges.
func scrubbed(raw []*rawExchange, o *RecordOptions) ([]byte, error) {
	s := &scrubber{
		options: o, values: make(map[string]string), kinds: make(map[string]string), count: make(map[string]int), keep: make(map[string]bool), own: make(map[string]bool), fingerprints: make(map[string][]string),
	}
	for _, hidden := range o.Hide {
		s.secret(hidden)
	}
	for _, x := range raw {
		s.credentials(x)
	}
	var file recordingFile
	for _, s.finding = range []bool{true, false} {
		file = recordingFile{Version: recordingVersion}
		for _, x := range raw {
			if !x.unanswered && x.status != http.StatusTooManyRequests {
				file.Exchanges = append(file.Exchanges, s.exchange(x))
			}
		}
		file.Exchanges = withoutRepeatedPolls(file.Exchanges)
		s.found()
	}
	file.Arguments = s.fingerprints
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(file); err != nil {
		return nil, err
	}
	return text.Bytes(), s.prove(text.String())
}

// withoutRepeatedPolls leaves out polls that saw nothing new.
func withoutRepeatedPolls(all []*recordedExchange) []*recordedExchange {
	seen := make(map[string]string) // bodies, by request
	return slices.DeleteFunc(all, func(x *recordedExchange) bool {
		if !x.Poll {
			return false
		}
		key, body := x.key(), asJSON(x.Response.Body)
		before, ok := seen[key]
		seen[key] = body
		return ok && before == body
	})
}

// credentials finds the secrets in the headers and the URL of a request.
func (s *scrubber) credentials(x *rawExchange) {
	authorization := x.header.Get("Authorization")
	if _, token, ok := strings.Cut(authorization, " "); ok {
		authorization = token
	}
	for _, secret := range append(x.url.Query()["secret"], authorization, x.header.Get(hook.SecretHeader), x.header.Get("X-Connic-Signature")) {
		s.secret(secret)
	}
}

func (s *scrubber) secret(secret string) {
	if len(secret) >= minHidden && !slices.Contains(s.secrets, secret) {
		s.secrets = append(s.secrets, secret)
	}
}

// found prepares what is replaced within texts.
func (s *scrubber) found() {
	if !s.finding {
		return
	}
	s.mask = mask.New(s.secrets...)
	s.distinguish()
	s.within = s.within[:0]
	for value := range s.values {
		if len(value) >= minHidden && !s.keep[value] {
			s.within = append(s.within, value)
		}
	}
	slices.SortFunc(s.within, longestFirst)
	var all, received []string
	for _, value := range s.within {
		pairs := []string{value, s.values[value]}
		if escaped := url.QueryEscape(value); escaped != value {
			pairs = append(pairs, escaped, url.QueryEscape(s.values[value]))
		}
		if !isWhole(s.values[value]) {
			all = append(all, pairs...)
		}
		if !s.own[value] || !isWhole(s.values[value]) {
			received = append(received, pairs...)
		}
	}
	s.embedded, s.received = strings.NewReplacer(all...), strings.NewReplacer(received...)
}

func (s *scrubber) exchange(x *rawExchange) *recordedExchange {
	y := &recordedExchange{Operation: x.op, Poll: x.poll}
	s.request, s.section = true, kindOfPoll(x.op)
	y.Request = recordedRequest{Method: x.method, Path: s.path(x)}
	query := x.url.Query()
	query.Del("secret")
	if len(query) > 0 {
		y.Request.Query = make(map[string][]string, len(query))
		for name, values := range query {
			for _, value := range values {
				y.Request.Query[s.text(name)] = append(y.Request.Query[s.text(name)], scrub.String(name, value, s.rules()))
			}
		}
	}
	s.people = isPayload(x)
	y.Request.Parts, y.Request.Body = s.body(x.header.Get("Content-Type"), x.body)
	s.people, s.request = false, false
	if x.status == 0 {
		y.Response.Failed = true
		return y
	}
	y.Response.Status = x.status
	y.Response.Header = s.header(x.response)
	_, body := s.body("application/json", x.answer)
	switch text, ok := body.(string); {
	case ok && !json.Valid(x.answer):
		y.Response.Text = text
	case body == nil && len(x.answer) > 0:
		y.Response.Text = "null"
	default:
		y.Response.Body = body
	}
	return y
}

// isPayload reports whether the body of a request is one of people.
func isPayload(x *rawExchange) bool {
	if x.op == deliveryOperation {
		d, err := connector.ParseDelivery(x.body)
		return err == nil && d.Kind == connector.KindPayload
	}
	return x.op == "agents.trigger" || x.op == connectorOperation
}

// path returns the path of a request, after the base URL. That of a connector is
// all that is needed to start agents without authentication.
func (s *scrubber) path(x *rawExchange) string {
	path := x.url.EscapedPath()
	switch x.op {
	case connectorOperation:
		s.secret(strings.Trim(path, "/"))
		return "/" + s.placeholder("connector", x.url.Host+path)
	case deliveryOperation:
		return "/" // the receiver's own
	}
	path = afterBase(path)
	op, _, _, routed := route(x.method, "/v1"+path)
	segments := strings.Split(path, "/")
	var names []string
	if routed {
		names = strings.Split(op.Route, "/")
	}
	for i, segment := range segments {
		segment = unescape(segment)
		switch {
		case i < len(names) && names[i] == "{agent}":
			segments[i] = s.string(scrub.Text, "agent_name", segment)
		case i < len(names) && strings.HasPrefix(names[i], "{"):
			segments[i] = s.string(scrub.ID, strings.Trim(names[i], "{}")+"_id", segment)
		case i >= len(names) && i == 2 && len(segments) > 1 && segments[1] == "projects":
			segments[i] = s.string(scrub.ID, "project_id", segment)
		case i >= len(names) && len(segment) >= 16 && opaque.MatchString(segment):
			segments[i] = s.string(scrub.ID, "path_id", segment)
		default:
			segments[i] = s.named(segment)
		}
	}
	return strings.Join(segments, "/")
}

// keptHeaders lists the headers of responses that clients read.
var keptHeaders = []string{"Content-Type", "Retry-After", "X-Deployment-Queued", "X-Request-Id", "Deprecation", "Sunset", "Location"}

func (s *scrubber) header(h http.Header) map[string]string {
	kept := make(map[string]string)
	for _, name := range keptHeaders {
		switch value := h.Get(name); {
		case value == "":
		case name == "X-Request-Id":
			kept[name] = s.string(scrub.ID, "request_id", value)
		case name == "Location":
			kept[name] = s.placeholder("url", value)
		default:
			kept[name] = s.text(value)
		}
	}
	return kept
}

// body returns a body: the parts of a form, a JSON value, or a text.
func (s *scrubber) body(contentType string, body []byte) ([]recordedPart, any) {
	if len(body) == 0 {
		return nil, nil
	}
	media, params, _ := mime.ParseMediaType(contentType)
	if media == "multipart/form-data" {
		if parts, err := s.form(body, params["boundary"]); err == nil {
			return parts, nil
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var value any
	if json.Valid(body) && decoder.Decode(&value) == nil {
		return nil, scrub.Value(value, nil, s.rules())
	}
	if !utf8.Valid(body) {
		return nil, s.placeholder("data", string(body))
	}
	return nil, s.string(scrub.Text, "", string(body))
}

func (s *scrubber) form(body []byte, boundary string) ([]recordedPart, error) {
	var parts []recordedPart
	for reader := multipart.NewReader(bytes.NewReader(body), boundary); ; {
		part, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			return parts, nil
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return nil, err
		}
		p := recordedPart{Name: s.text(part.FormName()), ContentType: part.Header.Get("Content-Type")}
		if p.FileName = part.FileName(); p.FileName != "" {
			p.FileName = s.string(scrub.Text, "filename", p.FileName)
			p.Body = s.placeholder("data", string(content))
		} else {
			p.Body = scrub.String(p.Name, string(content), s.rules())
		}
		parts = append(parts, p)
	}
}

func (s *scrubber) rules() scrub.Rules {
	return scrub.Rules{
		String: s.string,
		Name:   s.name,
		Number: func(path string, n json.Number) any {
			name := last(path)
			if isSecretAt(path) || strings.HasSuffix(name, "_id") || strings.HasSuffix(name, "_ids") || name == "id" || name == "ids" {
				return s.string(scrub.ID, path, n.String())
			}
			return n
		},
	}
}

// name returns the name of a member. Names stay, but not what is private in them.
func (s *scrubber) name(name string, _ int, _ bool) string { return s.named(name) }

// named returns a name with what is private in it replaced.
func (s *scrubber) named(name string) string {
	text := s.text(name)
	if text != name {
		s.argument(text, name)
	}
	return text
}

func last(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// string returns what replaces a string.
func (s *scrubber) string(kind scrub.Kind, path, value string) string {
	name := last(path)
	above := strings.TrimSuffix(strings.TrimSuffix(path, name), ".")
	switch {
	case isSecretAt(path):
		s.secret(value)
		return s.placeholder("secret", value)
	case s.section == "approvals" && path == "response": // of a person, who may have been asked for a password
		return s.placeholder("secret", value)
	case s.isName(name, above) && isResourceName(value):
		if s.finding && len(value) < 64 {
			s.keep[value] = true
		}
		return s.text(value)
	case kind == scrub.Time, kind == scrub.Number:
		return value
	case email.FindString(value) == value:
		return s.placeholder("person", value)
	case strings.HasSuffix(name, "cursor") || name == "next":
		return s.placeholder("cursor", value)
	case kind == scrub.ID:
		return s.placeholder(s.kindOf(name, last(above)), value)
	case encoded.MatchString(value) || name == "data" || name == "files_data":
		return s.placeholder("data", value)
	case strings.HasPrefix(value, "https://") || strings.HasPrefix(value, "http://"):
		return s.placeholder("url", value)
	}
	if s.options.Texts == ReplaceTexts {
		return s.placeholder("text", value)
	}
	return s.shorten(value)
}

// shorten returns a text that stays, or its beginning.
func (s *scrubber) shorten(value string) string {
	text := s.text(value)
	if s.options.Texts == ShortenTexts && utf8.RuneCountInString(text) > shortened {
		text = string([]rune(text)[:shortened]) + "…"
	}
	if text != value {
		s.argument(text, value)
	}
	return text
}
