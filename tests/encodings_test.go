package tests

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
	goccy "github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	yaml "go.yaml.in/yaml/v3"
)

// dataTypes are the exported types that are values: what the service sends and
// receives, parameters, and errors.
var dataTypes = []reflect.Type{
	of[connic.APIKey](), of[connic.Actor](), of[connic.Agent](), of[connic.AgentListParams](), of[connic.AgentType](), of[connic.ArchiveError](),
	of[connic.ArchiveProblem](), of[connic.ArgumentError](), of[connic.AuditEntry](), of[connic.AuditLogListParams](), of[connic.BridgeMatch](),
	of[connic.BridgeRoute](), of[connic.Budget](), of[connic.BudgetCreate](), of[connic.BudgetKind](), of[connic.BudgetListParams](),
	of[connic.BudgetPeriod](), of[connic.BudgetScope](), of[connic.BudgetUpdate](), of[connic.Change](), of[connic.ContainerStatus](),
	of[connic.Criterion](), of[connic.CriterionScore](), of[connic.Decimal](), of[connic.DecodeError](), of[connic.Deployment](),
	of[connic.DeploymentError](), of[connic.DeploymentListParams](), of[connic.DeploymentStatus](), of[connic.DevSession](), of[connic.DevSessionCreate](),
	of[connic.DevSessionError](), of[connic.DevSessionStatus](), of[connic.DevUpload](), of[connic.Ensured[connic.Judge]](), of[connic.Entry](),
	of[connic.EntryListParams](), of[connic.EntryParams](), of[connic.Environment](), of[connic.Error](), of[connic.ErrorInfo](), of[connic.Evaluation](),
	of[connic.EvaluationError](), of[connic.EvaluationListParams](), of[connic.EvaluationStatus](), of[connic.EventKind](), of[connic.FieldError](),
	of[connic.File](), of[connic.Filter](), of[connic.FilterOperator](), of[connic.Ingestion](), of[connic.Job](), of[connic.JobError](),
	of[connic.JobListParams](), of[connic.JobStatus](), of[connic.Judge](), of[connic.JudgeCreate](), of[connic.JudgeListParams](), of[connic.JudgeTrigger](),
	of[connic.JudgeUpdate](), of[connic.KnowledgeParams](), of[connic.KnowledgeQuery](), of[connic.Lane](), of[connic.LimitError](), of[connic.LoginPrompt](),
	of[connic.Match](), of[connic.Money](), of[connic.Namespace](), of[connic.NamespaceListParams](), of[connic.Nullable[string]](), of[connic.Operation](),
	of[connic.Outcome](), of[connic.OutcomeKind](), of[connic.Page[connic.Run]](), of[connic.Permit](), of[connic.Project](), of[connic.RateLimitStatus](),
	of[connic.RawItem](), of[connic.Reason](), of[connic.Response](), of[connic.RetryPolicy](), of[connic.Run](), of[connic.RunError](), of[connic.RunFilter](),
	of[connic.RunListParams](), of[connic.RunSearch](), of[connic.RunStatus](), of[connic.ScoreAlert](), of[connic.Span](), of[connic.SpanNode](), of[connic.Sums](),
	of[connic.TestCase](), of[connic.TestRun](), of[connic.TestRunError](), of[connic.TestRunStatus](), of[connic.TextUpload](), of[connic.Time](),
	of[connic.TokenUsage](), of[connic.TransportError](), of[connic.TriggerRequest](), of[connic.TriggerResult](),
	of[connic.Usage](), of[connic.UsageGroup](), of[connic.UsageGrouping](), of[connic.UsageParams](), of[connic.UsageRow](),
	of[connic.Approval](), of[connic.ApprovalError](), of[connic.ApprovalInput](), of[connic.ApprovalListParams](), of[connic.ApprovalStatus](),
	of[connic.AgentOf[string, string]](), of[connic.BulkProgress](), of[connic.BulkResult[connic.Run]](), of[connic.Connector](), of[connic.ConnectorAgent](),
	of[connic.ConnectorConfig](), of[connic.ConnectorCreate](), of[connic.ConnectorListParams](), of[connic.ConnectorMode](), of[connic.ConnectorUpdate](),
	of[connic.DecidedError](), of[connic.Decision](), of[connic.Deprecation](), of[connic.DrainError](), of[connic.FollowEvents](), of[connic.FollowedRun](),
	of[connic.JournalRecord](), of[connic.JournalState](), of[connic.OutputError](), of[connic.OutputProblem](), of[connic.Settlement](),
	of[connic.WaitError](), of[connic.Nullable[connic.Decimal]](), of[connic.Nullable[bool]](), of[connic.Nullable[float64]](),
	of[connic.Nullable[[]connic.Criterion]](), of[connic.Nullable[connic.ScoreAlert]](), of[connic.Page[connic.Entry]](),

	of[connector.Delivery](), of[connector.Dispatch](), of[connector.Error](), of[connector.Kind](), of[connector.ModeError](), of[connector.LogLine](), of[connector.Result](), of[connector.Sent](),
	of[connector.Secret](), of[connector.State](),
}

// handles are the exported types that hold functions, connections, or what a
// caller hands over.
var handles = []string{
	"AgentsService", "ApprovalsService", "AuditLogsService", "BulkOption", "ConnectorsService", "Journal", "Telemetry", "BridgesService", "BudgetsService", "Client", "DeploymentsService", "DevSessionsService", "EnvironmentsService",
	"JudgesService", "KnowledgeService", "ProjectService", "RunsService", "TestRunsService",
	"Document", "KeySource", "KeySourceFunc", "Limiter", "Observer", "Option", "RequestOption", "Reserver", "WaitOption",
	"Admission", "Event", "Field", "FileSource", "FileUpload", "TestRunCreate", "UploadParams", "WaitEvent",
	"connector.Connector", "connector.File", "connector.Input", "connector.Mux", "connector.Option", "connector.Receiver", "connector.Store",
}

func of[T any]() reflect.Type { return reflect.TypeFor[T]() }

// TestEveryTypeIsListed compares the lists with the source.
func TestEveryTypeIsListed(t *testing.T) {
	t.Parallel()
	listed := slices.Clone(handles)
	for _, d := range dataTypes {
		name, _, _ := strings.Cut(d.Name(), "[")
		if strings.HasSuffix(d.PkgPath(), "/connector") {
			name = "connector." + name
		}
		listed = append(listed, name)
	}
	seen := 0
	for folder, prefix := range map[string]string{"..": "", "../connector": "connector."} {
		paths, err := filepath.Glob(folder + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, declaration := range file.Decls {
				d, ok := declaration.(*ast.GenDecl)
				for i := 0; ok && i < len(d.Specs); i++ {
					if spec, ok := d.Specs[i].(*ast.TypeSpec); ok && spec.Name.IsExported() {
						if seen++; !slices.Contains(listed, prefix+spec.Name.Name) {
							t.Errorf("%s%s is in no list", prefix, spec.Name.Name)
						}
					}
				}
			}
		}
	}
	if seen < 100 {
		t.Errorf("%d types were read", seen)
	}
}

var moment = time.Date(2026, 11, 23, 10, 0, 0, 123_000_000, time.UTC)

const private = "the text of a person"

// words are the last words of the names of fields whose texts identify something.
// Others may contain the text of people.
var words = []string{"ID", "Name", "Namespace", "Key", "Type", "Status", "Phase", "Action", "Model", "Version", "Field"}

// fill sets all exported fields of a value, to the given depth.
func fill(v reflect.Value, name string, depth int) {
	switch p := v.Addr().Interface().(type) {
	case *connic.Decimal:
		*p = connic.MustDecimal("12.50")
		return
	case *connic.Filter:
		*p = connic.Where("team").Equals("sales")
		return
	case *time.Time:
		*p = moment
		return
	case *connic.Time:
		p.Time = moment
		return
	case *json.RawMessage:
		*p = json.RawMessage(`{"a":[1,1.5,"` + private + `"],"b":9007199254740993}`)
		return
	case *[]byte:
		*p = []byte(private)
		return
	case *connic.RawItem:
		return
	case *error:
		*p = io.ErrUnexpectedEOF
		return
	case *any:
		*p = map[string]any{"text": private}
		return
	case interface{ IsNull() bool }:
		value := reflect.New(getType(v))
		fill(value.Elem(), name, depth)
		raw, err := json.Marshal(value.Interface())
		if err == nil {
			err = json.Unmarshal(raw, v.Addr().Interface())
		}
		if err != nil {
			panic(err)
		}
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(private)
		switch {
		case strings.HasSuffix(name, "Currency"):
			v.SetString(connic.EUR)
		case slices.ContainsFunc(words, func(s string) bool { return strings.HasSuffix(name, s) }) || v.Type().Name() != "string":
			v.SetString("x1")
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64, reflect.Int32:
		v.SetInt(7)
	case reflect.Uint8, reflect.Uint64, reflect.Uint32:
		v.SetUint(1)
	case reflect.Float64:
		v.SetFloat(1.5)
	case reflect.Pointer:
		if depth > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), name, depth-1)
		}
	case reflect.Slice:
		if depth > 0 {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			fill(v.Index(0), name, depth-1)
		}
	case reflect.Map:
		key := reflect.New(v.Type().Key()).Elem()
		fill(key, "ID", depth)
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value, name, depth)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Tag.Get("json") != "-" {
				fill(v.Field(i), f.Name, depth)
			}
		}
	default:
	}
}

// getType returns the type of the value of a Nullable.
func getType(v reflect.Value) reflect.Type {
	m, _ := v.Type().MethodByName("Get")
	return m.Type.Out(0)
}

// sample returns a pointer to a filled value. An error is reachable through it.
func sample(d reflect.Type) reflect.Value {
	v := reflect.New(d)
	fill(v.Elem(), "ID", 3)
	return v
}

// isError reports whether values are handed on as pointers that are errors.
func isError(d reflect.Type) bool { return reflect.PointerTo(d).Implements(of[error]()) }

// hasJSON reports whether a type has a JSON of its own, from names or a method.
func hasJSON(d reflect.Type) bool {
	return reflect.PointerTo(d).Implements(reflect.TypeFor[interface{ UnmarshalYAML(func(any) error) error }]())
}

// walk calls f for each of dataTypes.
func walk(t *testing.T, f func(t *testing.T, d reflect.Type)) {
	t.Helper()
	for _, d := range dataTypes {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			f(t, d)
		})
	}
}

// secret reports whether a type is not to be written.
func secret(d reflect.Type) bool { return d == of[connic.APIKey]() || d == of[connector.Secret]() }

// equal compares what two pointers point to, with cmp and without options.
func equal(t *testing.T, what string, got, want reflect.Value) {
	t.Helper()
	if diff := cmp.Diff(want.Interface(), got.Interface()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	walk(t, func(t *testing.T, d reflect.Type) {
		equal(t, "a copy differs", sample(d), sample(d))
		if !isError(d) { // those are handed on as pointers
			list := func() reflect.Value {
				return reflect.Append(reflect.MakeSlice(reflect.SliceOf(d), 0, 1), sample(d).Elem())
			}
			equal(t, "a copy in a slice differs", list(), list())
		}
		if v := sample(d); !v.Elem().IsZero() && cmp.Equal(v.Interface(), reflect.New(d).Interface()) {
			t.Error("it equals the zero value")
		}
		if f := sample(d).Elem(); f.Kind() == reflect.Struct && f.FieldByName("ID").Kind() == reflect.String && !isError(d) {
			other := sample(d)
			other.Elem().FieldByName("ID").SetString("x2")
			if diff := cmp.Diff(sample(d).Interface(), other.Interface()); !strings.Contains(diff, "ID:") {
				t.Errorf("another id is not named: %q", diff)
			}
		}
	})
}

func TestJSON(t *testing.T) {
	t.Parallel()
	walk(t, func(t *testing.T, d reflect.Type) {
		raw, err := json.Marshal(sample(d).Interface())
		if err != nil {
			t.Fatal(err)
		}
		if isError(d) {
			var text string
			if json.Unmarshal(raw, &text) != nil || !strings.HasPrefix(text, "connic: ") {
				t.Errorf("%s is no text", raw)
			}
			return
		}
		if secret(d) {
			return
		}
		back := reflect.New(d)
		if err := json.Unmarshal(raw, back.Interface()); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		equal(t, string(raw), back, sample(d))
	})
}

// A yamlPackage encodes and decodes YAML.
type yamlPackage struct {
	name      string
	marshal   func(any) ([]byte, error)
	unmarshal func([]byte, any) error
}

var yamlPackages = []yamlPackage{
	{"yaml.v3", yaml.Marshal, yaml.Unmarshal},
	{"goccy", goccy.Marshal, func(data []byte, v any) error { return goccy.Unmarshal(data, v) }},
}

func TestYAML(t *testing.T) {
	t.Parallel()
	walk(t, func(t *testing.T, d reflect.Type) {
		for _, p := range yamlPackages {
			within := reflect.New(reflect.StructOf([]reflect.StructField{
				{Name: "Value", Type: d, Tag: `yaml:"value"`}, {Name: "Pointer", Type: reflect.PointerTo(d), Tag: `yaml:"pointer"`},
				{Name: "None", Type: reflect.PointerTo(d), Tag: `yaml:"none"`}, {Name: "List", Type: reflect.SliceOf(d), Tag: `yaml:"list"`},
			}))
			value := within.Elem().FieldByName("Value")
			value.Set(sample(d).Elem())
			within.Elem().FieldByName("Pointer").Set(sample(d))
			within.Elem().FieldByName("List").Set(reflect.Append(reflect.MakeSlice(reflect.SliceOf(d), 0, 1), sample(d).Elem()))
			in := within.Interface()
			if isError(d) {
				in = sample(d).Interface()
			}
			text, err := p.marshal(in)
			if err != nil {
				t.Errorf("%s: %v", p.name, err)
				continue
			}
			if isError(d) || secret(d) || !hasJSON(d) && d.Kind() == reflect.Struct && !reflect.PointerTo(d).Implements(of[encoding.TextUnmarshaler]()) {
				continue
			}
			back := reflect.New(within.Type().Elem())
			if err := p.unmarshal(text, back.Interface()); err != nil {
				t.Errorf("%s: %v of\n%s", p.name, err, text)
				continue
			}
			equal(t, p.name+": "+string(text), back, within)
			if !hasJSON(d) {
				continue
			}
			var form struct {
				Value any `yaml:"value"`
			}
			raw, err := json.Marshal(sample(d).Interface())
			var want any
			if err := errors.Join(err, p.unmarshal(text, &form), json.Unmarshal(raw, &want)); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(names(form.Value)); got != fmt.Sprint(names(want)) {
				t.Errorf("%s: the names are %s, and in JSON %v", p.name, got, names(want))
			}
		}
	})
}

// names returns the sorted keys of all objects in a document.
func names(v any) (all []string) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			all = append(append(all, key), names(value)...)
		}
	case []any:
		for _, value := range v {
			all = append(all, names(value)...)
		}
	}
	slices.Sort(all)
	return all
}

func TestPrintAndLog(t *testing.T) {
	t.Parallel()
	const key = "cnc_an-api-key-that-nobody-sees"
	walk(t, func(t *testing.T, d reflect.Type) {
		v := sample(d)
		if f := v.Elem(); f.Kind() == reflect.Struct && hasJSON(d) {
			for i := range f.NumField() {
				if f.Field(i).Kind() == reflect.String && f.Type().Field(i).IsExported() && strings.HasSuffix(f.Type().Field(i).Name, "ID") {
					f.Field(i).SetString(key)
				}
			}
		}
		var printed []string
		ways := []any{v.Interface(), v.Elem().Interface(), []any{v.Interface()}, reflect.Zero(v.Type()).Interface()}
		if !hasJSON(d) { // it has no method of its own that could be called
			ways = ways[:3]
		}
		for i, in := range ways {
			_, valued := in.(slog.LogValuer)
			if !valued && i == 1 || valued && i == 3 && d.Implements(of[slog.LogValuer]()) {
				continue // a value of what is returned by pointer, or the other way round
			}
			for _, verb := range []string{"%v", "%+v", "%s"} {
				printed = append(printed, fmt.Sprintf(verb, in))
			}
			var out bytes.Buffer
			slog.New(slog.NewJSONHandler(&out, nil)).Info("a", "value", in)
			printed = append(printed, out.String())
			out.Reset()
			slog.New(slog.NewTextHandler(&out, nil)).Info("a", "value", in)
			printed = append(printed, out.String())
		}
		printed = append(printed, fmt.Sprint(reflect.Zero(reflect.PointerTo(d)).Interface()))
		for _, line := range printed {
			line = strings.TrimSuffix(line, "\n")
			if strings.Contains(line, "\n") || strings.Contains(line, "PANIC") || strings.Contains(line, "panicked") || strings.Contains(line, "!ERROR") {
				t.Errorf("it prints as %s", line)
			}
			if d == of[connic.Change]() || d == of[connic.Actor]() || d == of[connic.Money]() || !hasJSON(d) || strings.HasPrefix(d.Name(), "Nullable") {
				continue // it is what it contains
			}
			if d == of[connic.ConnectorConfig]() || d == of[connic.Connector]() {
				continue // a configuration is no text of a person, and its secrets have a test of their own
			}
			if !strings.Contains(line, `"value":[`) && (strings.Contains(line, private) || strings.Contains(line, key)) {
				t.Errorf("it shows what it contains: %s", line)
			}
		}
	})
	run := connic.Run{ID: "r1", AgentName: "support desk", Status: connic.RunFailed, Error: private, Input: private, Cost: connic.MustDecimal("0.0120"), Currency: "EUR", EndedAt: moment}
	const want = `Run id=r1 agent_name="support desk" status=failed cost=0.0120 currency=EUR ended_at=2026-11-23T10:00:00.123Z`
	if got := fmt.Sprint(&run); got != want {
		t.Errorf("a run prints as %s, want %s", got, want)
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	tried := 0
	walk(t, func(t *testing.T, d reflect.Type) {
		u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](reflect.New(d))
		m, also := reflect.TypeAssert[encoding.TextMarshaler](sample(d).Elem())
		if ok != also && !isError(d) {
			t.Errorf("it has half of a text: %v, %v", also, ok)
		}
		if !ok || !also || secret(d) {
			return
		}
		text, err := m.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		flags.TextVar(u, "value", m, "")
		if err := flags.Parse([]string{"-value", string(text)}); err != nil {
			t.Fatal(err)
		}
		equal(t, string(text), reflect.ValueOf(u), sample(d))
		bad := flag.NewFlagSet("", flag.ContinueOnError)
		bad.SetOutput(io.Discard)
		bad.TextVar(u, "value", m, "")
		if err := bad.Parse([]string{"-value", "[nothing of the kind"}); err == nil && d != of[connic.Nullable[string]]() {
			t.Errorf("nonsense is %v", u)
		}
	})
	for _, d := range []connic.Nullable[string]{connic.Set(""), connic.Set("null"), connic.Set(`"quoted"`), connic.Set("a"), connic.Null[string](), {}} {
		text, err := d.MarshalText()
		var back connic.Nullable[string]
		if err := errors.Join(err, back.UnmarshalText(text)); err != nil || !back.Equal(d) {
			t.Errorf("%v became %v by %q: %v", d, back, text, err)
		}
		tried++
	}
	if tried != 6 {
		t.Error(tried)
	}
}
