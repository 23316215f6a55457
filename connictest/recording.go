package connictest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/mask"
	routes "github.com/connic-go/connic/internal/route"
)

// TextMode says what becomes of the texts of people in a recording: inputs and
// outputs of agents, documents, descriptions, the messages of errors.
type TextMode uint8

// The modes. In all of them, keys, secrets, ids and e-mail addresses within the
// texts are replaced.
const (
	// ReplaceTexts replaces each text by a placeholder such as "[text 3]". Output
	// that is JSON keeps its structure, its names and its numbers.
	ReplaceTexts TextMode = iota
	// ShortenTexts keeps the first 40 characters.
	ShortenTexts
	// KeepTexts keeps texts.
	KeepTexts
)

// RecordOptions are settings of [Record] and [Replay].
type RecordOptions struct {
	// Client returns a client for recording, whose requests must go through the
	// given wrapper of transports: pass it to [connic.WithTransport]. If it is
	// nil, [connic.NewFromEnv] makes the client.
	Client func(opts ...connic.Option) (*connic.Client, error)
	// Texts says what becomes of the texts of people.
	Texts TextMode
	// Hide lists further strings that are replaced everywhere, such as names of
	// customers, with at least 8 bytes each.
	Hide []string
	// Ignore lists members of bodies and parameters of queries that differ from
	// one test run to the next, such as random numbers. Replay accepts any value
	// of theirs. Times and the markers of [connic.TriggerRequest.Marked] need no
	// mention.
	Ignore []string
}

// A Recording is what [Record] writes and [Replay] reads. All methods are safe
// for concurrent use.
type Recording struct {
	test    TB
	path    string
	options RecordOptions
	records bool

	mu    sync.Mutex
	raw   []*rawExchange // while it records, in the order of the requests
	size  int
	wrong string // why it cannot be written

	file     *recordingFile // while it is replayed
	served   map[*recordedExchange]int
	bound    map[string]string // what the test passes, by placeholder
	states   map[string]*states
	mismatch int
}

// recordVariable is the environment variable that makes Replay record.
const recordVariable = "CONNIC_RECORD"

// Limits of a recording.
const (
	maxRecording      = 64 << 20 // bytes of all bodies, while it is recorded
	recordingVersion  = 1
	recordedProject   = "project-1"
	recordedKey       = "cnc_replayed_recording"
	maxMismatches     = 20
	maxReportedUnused = 20
)

// Record returns a Recording that passes requests through to the service, and
// writes them to a file when the test ends, together with their responses, for
// [Replay]. A test that has failed writes nothing; one without a request fails.
//
// The file is JSON. It contains no key, secret, device code, signature, e-mail
// address or id of the service: each is replaced by a placeholder, the same
// value by the same one everywhere, also within texts and URLs. Texts of people
// are replaced too, unless the options keep them. What the test itself passes,
// such as the message for an agent, is represented by a placeholder and a
// fingerprint of 32 bits, with which Replay recognizes it; whoever guesses such a
// text can confirm the guess. A secret that is the value of a member, in the
// configuration of a connector too, and the response to an approval have no
// fingerprint: Replay accepts any. Times, numbers, and names of members are kept,
// as are, outside of payloads, inputs, outputs and metadata, statuses and names of
// agents and of other resources. Secrets and ids of fewer than 8 bytes are
// replaced where they are values, but not within kept texts.
//
// Requests are sent without Accept-Encoding. A response that is compressed
// nevertheless fails the test, as does a WebSocket connection. A response that
// breaks off is replayed as a broken connection.
//
// Before it writes, Record searches the result for all that it has replaced, in
// plain, escaped, hexadecimal and base64 form. If it finds any, it fails the
// test and writes nothing.
//
// Responses with status 429 are left out, as are requests that the client gave
// up. At most 64 MiB of bodies are recorded; more fail the test.
func Record(t TB, path string, o *RecordOptions) *Recording {
	t.Helper()
	r := newRecording(t, path, o)
	r.records = true
	for _, hidden := range r.options.Hide {
		if len(hidden) < minHidden {
			t.Fatalf("connictest: RecordOptions.Hide has a string of fewer than %d bytes, which cannot be told from other text", minHidden)
		}
	}
	t.Cleanup(r.write)
	return r
}

// Replay returns a Recording that responds with what a file contains, in process
// and without a network, also in a synctest bubble.
//
// A request is recognized by its operation and arguments, not by its turn. Equal
// requests get the recorded responses in their order; when they are used up,
// reads get the last one again, and other requests fail. The polls of waits get
// the recorded states of what they wait for, in order, whether they read an item
// or a list, so that more or fewer of them than were recorded do no harm. A
// request that is not in the file gets a response with status 501, and fails the
// test with the differences to the most similar one. When the test ends, it fails
// for each exchange that was not asked for, other than repeated reads and polls.
//
// Where the test passes a value that the file represents by a placeholder, such
// as an id of its own, responses contain the value.
//
// If the environment variable CONNIC_RECORD is set, to anything but a false value
// such as 0, Replay records: it is equivalent to [Record], and writes the file
// anew. Each test needs a file of its own.
func Replay(t TB, path string, o *RecordOptions) *Recording {
	t.Helper()
	value := os.Getenv(recordVariable)
	if on, err := strconv.ParseBool(value); value != "" && (on || err != nil) {
		return Record(t, path, o)
	}
	r := newRecording(t, path, o)
	r.file = new(recordingFile)    // for a TB whose Fatalf returns
	text, err := os.ReadFile(path) //nolint:gosec // the test names it
	if err == nil {
		err = r.read(text)
	}
	if err != nil {
		t.Fatalf("connictest: %v; set %s=1 to record it", err, recordVariable)
		return r
	}
	t.Cleanup(r.unused)
	return r
}

func newRecording(t TB, path string, o *RecordOptions) *Recording {
	r := &Recording{test: t, path: path}
	if o != nil {
		r.options = *o
	}
	return r
}

// Client returns a client whose requests are recorded or replayed. When they are
// replayed, it has no rate limit, and belongs to the recorded project.
func (r *Recording) Client(opts ...connic.Option) *connic.Client {
	r.test.Helper()
	opts = append(opts, connic.WithTransport(r.Transport))
	var client *connic.Client
	var err error
	switch {
	case !r.records:
		opts = append([]connic.Option{connic.WithoutRateLimit()}, opts...)
		client, err = connic.New(recordedProject, recordedKey, opts...)
	case r.options.Client != nil:
		client, err = r.options.Client(opts...)
	default:
		client, err = connic.NewFromEnv(opts...)
	}
	if err != nil {
		r.test.Fatalf("connictest: %v", err)
	}
	return client
}

// Credentials returns the project and the key that a replay accepts besides the
// recorded project.
func (*Recording) Credentials() (projectID string, key connic.APIKey) {
	return recordedProject, recordedKey
}

// Transport returns a transport that records what passes through to next, or
// replays and leaves next alone. Use it with [connic.WithTransport] and
// connector.WithTransport.
func (r *Recording) Transport(next http.RoundTripper) http.RoundTripper {
	if r.records {
		return recorder{r, next}
	}
	return &inProcess{func() error { return nil }, r.replay}
}

// Handler returns a handler for programs in other languages. When the Recording
// records, it passes requests with paths below /v1 on to the service whose base
// URL is given; when it replays, it responds, and the URL does not matter.
func (r *Recording) Handler(baseURL string) (http.Handler, error) {
	if !r.records {
		return http.HandlerFunc(r.serve), nil
	}
	base, reason := routes.ParseBase(baseURL)
	if reason != "" {
		return nil, fmt.Errorf("connictest: the base URL %s", reason)
	}
	proxy := &httputil.ReverseProxy{
		Transport: r.Transport(&http.Transport{Proxy: http.ProxyFromEnvironment}),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Path, p.Out.URL.RawPath = strings.TrimPrefix(p.Out.URL.Path, "/v1"), strings.TrimPrefix(p.Out.URL.RawPath, "/v1")
			p.SetURL(base)
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "connictest: "+mask.Line(err.Error(), maxComplaint), http.StatusBadGateway)
		},
	}
	return proxy, nil
}

func (r *Recording) serve(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, q.Body, maxRecording))
	if err != nil {
		http.Error(w, "connictest: the request cannot be read", http.StatusBadRequest)
		return
	}
	a, _ := r.replay(q, body)
	a.write(w)
}

// recordingFile is the format of a file.
type recordingFile struct {
	Version int `json:"version"`
	// Arguments holds the fingerprints of what the test passed, by placeholder.
	Arguments map[string][]string `json:"arguments,omitempty"`
	Exchanges []*recordedExchange `json:"exchanges"`
}

type recordedExchange struct {
	Operation string           `json:"operation"` // "runs.get", or "connector"
	Poll      bool             `json:"poll,omitempty"`
	Request   recordedRequest  `json:"request"`
	Response  recordedResponse `json:"response"`
}

type recordedRequest struct {
	Method string              `json:"method"`
	Path   string              `json:"path"` // not escaped
	Query  map[string][]string `json:"query,omitempty"`
	Parts  []recordedPart      `json:"parts,omitempty"` // of a form
	Body   any                 `json:"body,omitempty"`  // JSON, or text
}

type recordedPart struct {
	Name        string `json:"name"`
	FileName    string `json:"filename,omitempty"`
	ContentType string `json:"content_type,omitempty"`
	Body        string `json:"body"`
}

type recordedResponse struct {
	Failed bool              `json:"failed,omitempty"` // the connection broke
	Status int               `json:"status,omitempty"`
	Header map[string]string `json:"header,omitempty"`
	Text   string            `json:"text,omitempty"` // if it is not JSON
	Body   any               `json:"body,omitempty"`
}

func (r *Recording) read(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	decoder.DisallowUnknownFields()
	r.file = new(recordingFile)
	if err := decoder.Decode(r.file); err != nil {
		return fmt.Errorf("%s is not a recording: %w", r.path, err)
	}
	if r.file.Version != recordingVersion {
		return fmt.Errorf("%s is a recording of version %d, and this package reads version %d", r.path, r.file.Version, recordingVersion)
	}
	r.served, r.bound = make(map[*recordedExchange]int), make(map[string]string)
	r.states = statesOf(r.file.Exchanges)
	return nil
}

// write writes the file when the test ends.
func (r *Recording) write() {
	if failed, ok := r.test.(interface{ Failed() bool }); ok && failed.Failed() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if skipped, ok := r.test.(interface{ Skipped() bool }); ok && skipped.Skipped() && len(r.raw) == 0 {
		return
	}
	if len(r.raw) == 0 {
		r.wrong = "there was no request"
	}
	if r.wrong != "" {
		r.test.Errorf("connictest: %s is not written: %s", r.path, r.wrong)
		return
	}
	text, err := scrubbed(r.raw, &r.options)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(r.path), 0o750)
	}
	if err == nil {
		err = replaceFile(r.path, text)
	}
	if err != nil {
		r.test.Errorf("connictest: %s is not written: %v", r.path, err)
	}
}

// replaceFile writes a file, such that others see the old one or all of the new.
func replaceFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
