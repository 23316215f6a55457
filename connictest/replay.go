package connictest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/mask"
)

// replay responds to a request.
func (r *Recording) replay(q *http.Request, body []byte) (answer, error) {
	op, poll := operationOf(q)
	asked := &rawExchange{op: op, poll: poll, method: q.Method, url: q.URL, header: q.Header, body: body}
	r.mu.Lock()
	a, told := r.respond(asked)
	r.mu.Unlock()
	if told != "" {
		r.test.Errorf("connictest: %s", told)
	}
	return a.whole(), nil
}

// respond finds the response to a request, and what is to be told to the test.
// The caller holds the mutex.
func (r *Recording) respond(asked *rawExchange) (answer, string) {
	if asked.poll {
		if a, ok := r.poll(asked); ok {
			return a, ""
		}
	}
	var found *recordedExchange
	var nearest *recordedExchange
	var differences []string
	used := 0
	for _, x := range r.file.Exchanges {
		if x.Operation != asked.op || x.Poll && !asked.poll {
			continue
		}
		m := r.match(x, asked)
		if len(m.differences) > 0 {
			if nearest == nil || len(m.differences) < len(differences) {
				nearest, differences = x, m.differences
			}
			continue
		}
		if used = r.served[x]; used > 0 && !isRead(asked.op, asked.method) {
			continue
		}
		if found == nil || used == 0 || r.served[found] > 0 {
			found = x
		}
		if used == 0 {
			break
		}
	}
	if found == nil {
		return r.unknown(asked, nearest, differences, used > 0)
	}
	r.served[found]++
	maps.Copy(r.bound, r.match(found, asked).bound)
	return r.answer(&found.Response), ""
}

// answer returns a recorded response.
func (r *Recording) answer(y *recordedResponse) answer {
	if y.Failed {
		return answer{drop: true}
	}
	a := answer{status: y.Status, header: make(map[string]string, len(y.Header)), truncate: -1}
	for name, value := range y.Header {
		a.header[name] = r.fillText(value)
	}
	if y.Text != "" {
		a.body = []byte(r.fillText(y.Text))
	} else if y.Body != nil {
		a.body = r.encode(y.Body)
	}
	return a
}

// isRead reports whether a repeated request gets the last response again.
func isRead(op, method string) bool {
	o, ok := api.Lookup(op)
	return ok && o.Class == api.Safe || method == http.MethodGet
}

// unknown is the response to a request that is not in the file.
func (r *Recording) unknown(asked *rawExchange, nearest *recordedExchange, differences []string, again bool) (answer, string) {
	a := problem(http.StatusNotImplemented, "The recording does not have this request: "+asked.method+" "+mask.Line(asked.url.Path, 200))
	if r.mismatch++; r.mismatch > maxMismatches {
		return a, ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s does not have this request: %s: %s %s", r.path, asked.op, asked.method, mask.Line(asked.url.RequestURI(), 500))
	switch {
	case again:
		b.WriteString("\n\tit has it fewer times than it was sent")
	case nearest == nil:
		operations := make(map[string]bool)
		for _, x := range r.file.Exchanges {
			operations[x.Operation] = true
		}
		fmt.Fprintf(&b, "\n\tit has no request of %s; it has those of %s", asked.op, strings.Join(slices.Sorted(maps.Keys(operations)), ", "))
	default:
		b.WriteString("\n\tthe most similar one differs in:")
		for _, d := range differences[:min(len(differences), 10)] {
			b.WriteString("\n\t" + d)
		}
	}
	return a, b.String()
}

// unused tells the test what it did not ask for.
func (r *Recording) unused() {
	r.mu.Lock()
	asked := make(map[string]bool) // reads
	for x := range r.served {
		asked[x.key()] = true
	}
	var unused []string
	for i, x := range r.file.Exchanges {
		if x.Poll || r.served[x] > 0 || isRead(x.Operation, x.Request.Method) && asked[x.key()] {
			continue
		}
		unused = append(unused, fmt.Sprintf("\n\tnumber %d: %s: %s %s", i+1, x.Operation, x.Request.Method, x.Request.Path))
	}
	r.mu.Unlock()
	if n := len(unused); n > 0 {
		if n > maxReportedUnused {
			unused = append(unused[:maxReportedUnused], "\n\t…")
		}
		r.test.Errorf("connictest: %d exchanges of %s were not asked for:%s", n, r.path, strings.Join(unused, ""))
	}
}

// key identifies a request.
func (x *recordedExchange) key() string {
	return x.Operation + asJSON(x.Request)
}

// states are those of all that was waited for, as polls have seen them.
type states struct {
	order []string // ids
	of    map[string][]any
	next  map[string]int
}

func kindOfPoll(op string) string {
	kind, _, _ := strings.Cut(op, ".")
	return kind
}

// itemOf returns the id of the item that an operation reads, and whether it reads
// one. The id is "" if the route is not the usual one.
func itemOf(op, path string) (id string, isItem bool) {
	o, ok := api.Lookup(op)
	if !ok || !strings.HasSuffix(o.Route, "}") {
		return "", false
	}
	path = afterBase(path)
	if found, _, _, ok := route(o.Method, "/v1"+path); !ok || found.Name != op {
		return "", true
	}
	return path[strings.LastIndexByte(path, '/')+1:], true
}

func statesOf(exchanges []*recordedExchange) map[string]*states {
	all := make(map[string]*states)
	for _, x := range exchanges {
		id, isItem := itemOf(x.Operation, x.Request.Path)
		status := x.Response.Status
		if !x.Poll || status != http.StatusOK && (!isItem || status != http.StatusNotFound && status != http.StatusGone) {
			continue
		}
		kind := kindOfPoll(x.Operation)
		s := all[kind]
		if s == nil {
			s = &states{of: make(map[string][]any), next: make(map[string]int)}
			all[kind] = s
		}
		if isItem {
			s.add(id, &x.Response)
			continue
		}
		for _, item := range itemsOf(x.Response.Body) {
			if o, ok := item.(map[string]any); ok {
				s.add(idOf(o), o)
			}
		}
	}
	return all
}

func (s *states) add(id string, state any) {
	if id == "" {
		return
	}
	if s.of[id] == nil {
		s.order = append(s.order, id)
	}
	s.of[id] = append(s.of[id], state)
}

// take returns the next state of an item.
func (s *states) take(id string) any {
	n := s.next[id]
	s.next[id] = min(n+1, len(s.of[id])-1)
	return s.of[id][n]
}

// itemsOf returns the items of a list in any envelope.
func itemsOf(body any) []any {
	switch v := body.(type) {
	case []any:
		return v
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if items, ok := v[name].([]any); ok {
				return items
			}
		}
	}
	return nil
}

func idOf(o map[string]any) string {
	for _, name := range []string{"id", "run_id", "job_id", "evaluation_id", "deployment_id", "entry_id"} {
		if id, ok := o[name].(string); ok && id != "" {
			return id
		}
	}
	return ""
}

// poll responds to a poll with the next states.
func (r *Recording) poll(asked *rawExchange) (answer, bool) {
	s := r.states[kindOfPoll(asked.op)]
	if s == nil {
		return answer{}, false
	}
	if id, isItem := itemOf(asked.op, asked.url.EscapedPath()); isItem {
		id = r.unbound(unescape(id))
		if s.of[id] == nil {
			return answer{}, false
		}
		switch state := s.take(id).(type) {
		case *recordedResponse:
			return r.answer(state), true
		default:
			return r.json(state), true
		}
	}
	x := &exchange{query: asked.url.Query()}
	var items []object
	for _, id := range slices.Backward(s.order) { // the newest first
		state := s.take(id)
		if y, ok := state.(*recordedResponse); ok {
			state = y.Body
			if y.Status != http.StatusOK {
				continue
			}
		}
		if o, ok := state.(map[string]any); ok {
			items = append(items, r.fill(o).(map[string]any))
		}
	}
	return x.page(items), true
}

func (r *Recording) json(v any) answer {
	return answer{status: http.StatusOK, body: r.encode(v), header: map[string]string{"Content-Type": "application/json"}, truncate: -1}
}

// encode encodes a value with what the test passes in place of its placeholders.
func (r *Recording) encode(v any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(r.fill(v)); err != nil { // it was decoded from JSON
		return nil
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func (r *Recording) fill(v any) any {
	switch v := v.(type) {
	case map[string]any:
		filled := make(map[string]any, len(v))
		for name, inner := range v {
			filled[r.fillText(name)] = r.fill(inner)
		}
		return filled
	case []any:
		filled := make([]any, len(v))
		for i, inner := range v {
			filled[i] = r.fill(inner)
		}
		return filled
	case string:
		return r.fillText(v)
	}
	return v
}

// fillText replaces placeholders by what the test passes.
func (r *Recording) fillText(s string) string {
	if value, ok := r.bound[s]; ok {
		return value
	}
	if !strings.ContainsAny(s, "-[") || len(r.bound) == 0 {
		return s
	}
	if s[0] == '{' || s[0] == '[' { // JSON in a string
		decoder := json.NewDecoder(strings.NewReader(s))
		decoder.UseNumber()
		var inner any
		if decoder.Decode(&inner) == nil && !decoder.More() {
			return string(r.encode(inner))
		}
	}
	return placeholders.ReplaceAllStringFunc(s, func(p string) string {
		for at := 0; ; { // "job-run-1" may be an id after another word
			if value, ok := r.bound[p[at:]]; ok {
				return p[:at] + value
			}
			next := strings.IndexByte(p[at:], '-') + 1
			if next == 0 || p[0] == '[' {
				return p
			}
			at += next
		}
	})
}

// placeholders matches all placeholders, and what may end with one.
var placeholders = regexp.MustCompile(`\[(?:text|secret|data) \d+(?:, \d+ bytes)?\]|https://url-\d+\.invalid/|[a-z][a-z-]*-\d+(?:@email\.invalid)?`)

// unbound replaces what the test passes by its placeholders.
func (r *Recording) unbound(s string) string {
	values := make(map[string]string, len(r.bound))
	for p, value := range r.bound {
		if value == s {
			return p
		}
		if len(value) >= minHidden && !isWhole(p) {
			values[value] = p
		}
	}
	var pairs []string
	for _, value := range slices.SortedFunc(maps.Keys(values), longestFirst) {
		pairs = append(pairs, value, values[value])
	}
	return strings.NewReplacer(pairs...).Replace(s)
}

func longestFirst(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) }
