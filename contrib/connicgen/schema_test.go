package connicgen_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/connic-go/connic/contrib/connicgen"
	"github.com/connic-go/connic/contrib/connicgen/internal/gen"
)

type Status string

const (
	Good Status = "good"
	Bad  Status = "bad"
)

type Out struct {
	Name    string               `json:"name" connic:"required" jsonschema:"The name, as written."`
	Code    *int64               `json:"code" connic:"required"`
	Large   uint64               `json:"large" connic:"required"`
	Price   *float64             `json:"price,omitzero"`
	Done    *bool                `json:"done,omitzero"`
	Status  OutStatus            `json:"status" connic:"required"`
	Earlier *OutEarlier          `json:"earlier" connic:"required"`
	Lines   []OutLinesItem       `json:"lines" connic:"required"`
	Grid    [][]*string          `json:"grid,omitzero"`
	ByName  map[string]OutByName `json:"by_name,omitzero"`
}

type (
	OutStatus    string
	OutEarlier   string
	OutLinesItem struct {
		X int64 `json:"x" connic:"required"`
	}
	OutByName struct {
		Y *string `json:"y,omitzero"`
	}
)

// From the type to the schema and back, the fields are the same.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	schema, err := connicgen.Schema[Out](connicgen.Enum[OutStatus]("good", "bad"), connicgen.Enum[OutEarlier]("x"))
	if err != nil {
		t.Fatal(err)
	}
	result, err := gen.Generate(fstest.MapFS{
		"agents/a.yaml":    {Data: []byte("version: 1\nname: a\ndescription: d\noutput_schema: out\n")},
		"schemas/out.json": {Data: schema},
	}, gen.Options{Package: "p", Names: map[string]string{"schemas/out.json#/properties/by_name/additionalProperties": "OutByName"}})
	if err != nil || len(result.Warnings) > 0 {
		t.Fatal(err, result.Warnings, string(schema))
	}
	source, err := os.ReadFile("schema_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(source), "\n") {
		line = strings.Join(strings.Fields(line), " ")
		field, tagged, ok := strings.Cut(line, " `json:")
		if !ok || strings.Contains(line, "//") || len(strings.Fields(field)) != 2 || strings.Contains(line, "Bad") {
			continue
		}
		if end := strings.Index(tagged, " jsonschema:"); end >= 0 {
			tagged = tagged[:end] + "`"
		}
		if want := field + " `json:" + tagged; !strings.Contains(strings.Join(strings.Fields(string(result.Code)), " "), want) {
			t.Errorf("%s is missing in\n%s", want, result.Code)
		}
		if strings.HasPrefix(field, "Y ") { // the last one of Out
			break
		}
	}
	if !strings.HasPrefix(string(schema), "{\n  \"type\": \"object\",\n  \"properties\": {\n    \"name\"") || !strings.Contains(string(schema), `"description": "The name, as written."`) {
		t.Errorf("%s", schema)
	}
}

func TestSchemaErrors(t *testing.T) {
	t.Parallel()
	type cycle struct {
		Next *cycle `json:"next,omitzero"`
	}
	type both struct {
		A string `json:"a,omitzero" connic:"required"`
	}
	type twice struct {
		A string `json:"B,omitzero"`
		B string `json:",omitzero"`
	}
	for want, fails := range map[string]func() error{
		"is no struct":        func() error { _, err := connicgen.Schema[[]string](); return err },
		"encoded as a string": func() error { _, err := connicgen.Schema[time.Time](); return err },
		"contains itself":     func() error { _, err := connicgen.Schema[cycle](); return err },
		"needs either":        func() error { _, err := connicgen.Schema[both](); return err },
		"named B too":         func() error { _, err := connicgen.Schema[twice](); return err },
		"interface {} has no": func() error {
			_, err := connicgen.Schema[struct {
				A any `json:"a,omitzero"`
			}]()
			return err
		},
		"[]uint8 is encoded": func() error {
			_, err := connicgen.Schema[struct {
				A []byte `json:"a,omitzero"`
			}]()
			return err
		},
		"a method of its own": func() error {
			_, err := connicgen.Schema[struct {
				A json.RawMessage `json:"a,omitzero"`
			}]()
			return err
		},
		"keys of map[int]string": func() error {
			_, err := connicgen.Schema[struct {
				A map[int]string `json:"a,omitzero"`
			}]()
			return err
		},
		"option string": func() error {
			_, err := connicgen.Schema[struct {
				A int `json:"a,string,omitzero"`
			}]()
			return err
		},
	} {
		if err := fails(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	when, err := connicgen.Schema[struct {
		At   time.Time `json:"at" connic:"required"`
		Pair [2]int8   `json:"pair,omitzero"`
	}]()
	if err != nil || !strings.Contains(string(when), `"type": "string"`) || !strings.Contains(string(when), `"minimum": -128`) {
		t.Errorf("%s, %v", when, err)
	}
}

// recorder is a test that fails.
type recorder struct{ text string }

func (*recorder) Helper()                          {}
func (r *recorder) Errorf(format string, a ...any) { r.text += fmt.Sprintf(format, a...) }
func (r *recorder) Fatalf(format string, a ...any) { r.text += fmt.Sprintf(format, a...) }

type verdict struct {
	Status Status `json:"status" connic:"required"`
}

func TestGolden(t *testing.T) {
	file := filepath.Join(t.TempDir(), "verdict.json")
	options := connicgen.Enum(Good, Bad)
	var r recorder
	connicgen.Golden[verdict](&r, file, options)
	if !strings.Contains(r.text, "CONNICGEN_WRITE=1 writes the file") {
		t.Error(r.text)
	}
	t.Setenv("CONNICGEN_WRITE", "1")
	connicgen.Golden[verdict](t, file, options)
	t.Setenv("CONNICGEN_WRITE", "")
	connicgen.Golden[verdict](t, file, options)
	r.text = ""
	connicgen.Golden[verdict](&r, file)
	if !strings.Contains(r.text, "is not the schema of connicgen_test.verdict") {
		t.Error(r.text)
	}
	r.text = ""
	connicgen.Golden[int](&r, file)
	if !strings.Contains(r.text, "is no struct") {
		t.Error(r.text)
	}
}

func ExampleSchema() {
	type Verdict struct {
		Status Status `json:"status" connic:"required" jsonschema:"Whether the text may be published."`
		Reason string `json:"reason,omitzero"`
	}
	schema, err := connicgen.Schema[Verdict](connicgen.Enum(Good, Bad))
	fmt.Printf("%s%v", schema, err)
	// Output:
	// {
	//   "type": "object",
	//   "properties": {
	//     "status": {
	//       "type": "string",
	//       "description": "Whether the text may be published.",
	//       "enum": [
	//         "good",
	//         "bad"
	//       ]
	//     },
	//     "reason": {
	//       "type": "string"
	//     }
	//   },
	//   "required": [
	//     "status"
	//   ]
	// }
	// <nil>
}
