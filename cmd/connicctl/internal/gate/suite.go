package gate

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/mask"
	"go.yaml.in/yaml/v3"
)

// A Suite is a file of cases.
type Suite struct {
	Agent string `json:"agent"`
	// MaxCost limits the cost of all runs together: "0.50 EUR".
	MaxCost money `json:"max_cost"`
	// CaseCost is the maximum cost of a run, if known. With both CaseCost and
	// MaxCost, a run is started only if the limit still holds should it cost
	// that much.
	CaseCost money  `json:"case_cost"`
	Judge    *Judge `json:"judge"` // for cases that name none
	// Marker is a key of the payload. Each trigger carries a unique string
	// under it, which identifies its run if no response comes.
	Marker string  `json:"marker"`
	Cases  []*Case `json:"cases"`

	name string // its path
}

// A Judge says which judge scores a case, and which score is good enough.
type Judge struct {
	Name string  `json:"name"` // or its id
	Min  float64 `json:"min"`  // fraction of the maximum score, such as 0.8
}

// A Case is an input for the agent, and the expected result.
type Case struct {
	Name    string         `json:"name"`
	Message string         `json:"message"`
	Payload map[string]any `json:"payload"`
	Files   []string       `json:"files"` // paths, relative to the folder of the suite
	Expect  Expectation    `json:"expect"`
	Judge   *Judge         `json:"judge"`

	request connic.TriggerRequest
	key     string // in the journal: another one if the agent would receive something else
}

// money is an amount with its currency, written "0.50 EUR".
type money struct{ connic.Money }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *money) UnmarshalText(text []byte) error {
	parts := strings.Fields(string(text))
	if len(parts) != 2 || len(parts[1]) != 3 {
		return fmt.Errorf("%q is not an amount such as 0.50 EUR", text)
	}
	amount, err := connic.ParseDecimal(parts[0])
	if err != nil || amount.Sign() <= 0 {
		return fmt.Errorf("%q is not an amount such as 0.50 EUR", text)
	}
	m.Money = connic.Money{Amount: amount, Currency: strings.ToUpper(parts[1])}
	return nil
}

// UnmarshalJSON implements [json.Unmarshaler] rather than that of [connic.Money].
func (m *money) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) != nil {
		return fmt.Errorf("%s is not an amount such as 0.50 EUR", data)
	}
	return m.UnmarshalText([]byte(text))
}

func (m money) set() bool { return m.Currency != "" }

// loadSuite reads a file of cases, YAML or JSON, and the files that the cases
// name. Nothing is triggered unless all of it is valid.
func loadSuite(path string, read func(string) ([]byte, error)) (*Suite, error) {
	raw, err := read(path)
	if err != nil {
		return nil, err
	}
	suite, err := parseSuite(raw, filepath.Ext(path) == ".json", filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	suite.name = filepath.ToSlash(path)
	return suite, nil
}

func parseSuite(raw []byte, isJSON bool, folder string) (*Suite, error) {
	if !isJSON {
		var err error
		if raw, err = yamlToJSON(raw); err != nil {
			return nil, err
		}
	}
	if !utf8.Valid(raw) { // the decoder would replace it
		return nil, errors.New("it is not valid UTF-8")
	}
	if err := unique(json.NewDecoder(bytes.NewReader(raw)), true); err != nil {
		return nil, err
	}
	// Decode the cases one by one, so that an error can name the case.
	var shell struct {
		Suite
		Cases []json.RawMessage `json:"cases"`
	}
	if err := strict(raw, &shell); err != nil {
		return nil, err
	}
	suite := &shell.Suite
	suite.Cases = nil
	names := make(map[string]bool)
	for i, raw := range shell.Cases {
		c := new(Case)
		var named struct {
			Name string `json:"name"`
		}
		_ = json.Unmarshal(raw, &named) // for the error, which may come before the name
		err := strict(raw, c)
		if err == nil {
			err = c.prepare(suite, folder)
		}
		if err == nil && names[c.Name] {
			err = errors.New("another case has the same name")
		}
		if err != nil {
			return nil, fmt.Errorf("case %d (%s): %w", i+1, named.Name, err)
		}
		names[c.Name] = true
		suite.Cases = append(suite.Cases, c)
	}
	switch {
	case suite.Agent == "":
		return nil, errors.New("no agent is named")
	case len(suite.Cases) == 0:
		return nil, errors.New("there are no cases") // not a pass
	case suite.CaseCost.set() && !suite.MaxCost.set():
		return nil, errors.New("case_cost means nothing without max_cost")
	case suite.CaseCost.set() && suite.CaseCost.Currency != suite.MaxCost.Currency:
		return nil, errors.New("case_cost and max_cost are in different currencies")
	}
	return suite, suite.Judge.check()
}

func (c *Case) prepare(suite *Suite, folder string) error {
	if strings.TrimSpace(c.Name) == "" {
		return errors.New("it has no name")
	}
	if c.Judge == nil {
		c.Judge = suite.Judge
	}
	if err := c.Judge.check(); err != nil {
		return err
	}
	if suite.Marker == "message" || suite.Marker == "files" || suite.Marker != "" && c.Payload[suite.Marker] != nil {
		return errors.New("the marker is a key that the request has already")
	}
	c.request = connic.TriggerRequest{Message: c.Message}
	if len(c.Payload) > 0 {
		c.request.Payload = c.Payload
	}
	for _, name := range c.Files {
		kind := mime.TypeByExtension(filepath.Ext(name))
		if kind == "" {
			kind = "application/octet-stream"
		}
		path := filepath.Join(folder, name)
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() { // a pipe would hang
			return fmt.Errorf("%s is not a regular file", name)
		}
		data, err := os.ReadFile(path) //nolint:gosec // the suite names it
		if err != nil {
			return err
		}
		c.request.Files = append(c.request.Files, connic.File{Name: filepath.Base(name), MIMEType: kind, Data: data})
	}
	if c.Message == "" && len(c.Payload) == 0 && len(c.Files) == 0 {
		return errors.New("it has neither message nor payload nor files")
	}
	all, err := json.Marshal([]any{suite.Agent, c.Name, c.Message, c.Payload, c.request.Files})
	if err != nil {
		return err
	}
	sum := sha256.Sum256(all)
	c.key = hex.EncodeToString(sum[:8]) + " " + mask.Line(c.Name, maxText)
	return c.Expect.compile()
}

// marked returns the request with a marker under a key of its payload, if there is
// one.
func (c *Case) marked(key, marker string) connic.TriggerRequest {
	req := c.request
	if key != "" && marker != "" {
		payload := maps.Clone(c.Payload)
		if payload == nil {
			payload = make(map[string]any)
		}
		payload[key] = marker
		req.Payload = payload
	}
	return req
}

// input returns what a run of this case shows as its input, or "".
func (c *Case) input(key, marker string) string {
	req := c.marked(key, marker)
	if req.Message != "" || req.Payload == nil {
		return req.Message
	}
	payload, err := json.Marshal(req.Payload)
	if err != nil { // not after prepare
		return ""
	}
	return string(payload)
}

func (j *Judge) check() error {
	switch {
	case j == nil:
		return nil
	case j.Name == "":
		return errors.New("the judge has no name")
	case !(j.Min > 0 && j.Min <= 1):
		return errors.New("the judge's min is not above 0 and at most 1")
	}
	return nil
}

// strict decodes JSON and refuses unknown keys: a misspelled expectation would
// never be checked.
func strict(raw []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("something follows the end of the JSON")
	}
	return nil
}

// unique reads a value, and refuses an object with a name twice: the decoder would
// drop what was expected first. With fold, it takes names for the same if the
// decoder does, which ignores their case.
func unique(d *json.Decoder, fold bool) error {
	token, err := d.Token()
	open, ok := token.(json.Delim)
	if err != nil || !ok {
		return err
	}
	names := make(map[string]bool)
	for d.More() {
		inner := fold
		if open == '{' {
			token, err := d.Token()
			if err != nil {
				return err
			}
			name := token.(string)
			if fold {
				name = strings.ToLower(name)
			}
			if names[name] {
				return fmt.Errorf("the key %q is there twice", token)
			}
			names[name] = true
			inner = fold && name != "payload" && name != "json" // whose names are those of others
		}
		if err := unique(d, inner); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// yamlToJSON converts a YAML document to JSON. Anything that looks like a date
// remains a string.
func yamlToJSON(raw []byte) ([]byte, error) {
	var node, more yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(raw))
	if err := d.Decode(&node); errors.Is(err, io.EOF) {
		return []byte("null"), nil
	} else if err != nil {
		return nil, err
	}
	if err := d.Decode(&more); err == nil {
		return nil, errors.New("there is a second document, whose cases would not be run: put it in a file of its own")
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	textualDates(&node)
	var value any
	if err := node.Decode(&value); err != nil {
		return nil, err
	}
	return json.Marshal(value)
}

func textualDates(n *yaml.Node) {
	if n.ShortTag() == "!!timestamp" {
		n.Tag = "!!str"
	}
	for _, child := range n.Content {
		textualDates(child)
	}
}
