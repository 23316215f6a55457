package connic_test

import (
	"context"
	"io"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/api/coverage/source"
)

// The calls made by the fault matrix, the search for leaked keys and the
// coverage tests. They are found by reflection, so that all of these tests call
// every new method.

// content is a body of 20 bytes.
var content = io.NewSectionReader(strings.NewReader("a text of 20 letters"), 0, 20)

// arguments holds values that the methods accept, for parameter types whose
// zero value they refuse. Strings are "x-1", and pointers nil.
var arguments = []any{
	connic.TriggerRequest{Message: "hi"},
	connic.RunSearch{Marker: "x-1-marker", Since: time.Now()},
	connic.FollowStarted | connic.FollowEnded,
	[]connic.RunSearch{{Marker: "x-1-marker", Since: time.Now()}},
	connic.TextUpload{Content: "a text"},
	connic.FileUpload{File: connic.ReaderAtFile("a.txt", content, content.Size())},
	keyed(connic.TextUpload{Content: "a text"}),
	maps.All(map[string]connic.TriggerRequest{"x-1": {Message: "hi"}}),
	connic.KnowledgeQuery{Query: "what?"},
	archiveOf(tarball(map[string]string{"agents/support.yaml": "name: support\n"})),
	fs.FS(project),
	connic.TestRunCreate{EnvironmentID: "e-1", Project: project},
	fair(),
	connic.JudgeUpdate{Name: connic.Set("strict")},
	connic.DevSession{ID: "x-1"},
	connic.DevSessionCreate{},
	[]connic.BridgeRoute{{MatchType: connic.BridgeExact, Target: "db", Port: 5432}},
	daily("10"),
	connic.BudgetUpdate{Name: connic.Set("guard")},
	connic.Decision{Approve: true},
	connic.ConnectorCreate{Name: "hook", Type: "http"},
	connic.ConnectorUpdate{Name: connic.Set("hook")},
}

// project is a small project folder.
var project = fstest.MapFS{
	"agents/support.yaml": {Data: []byte("name: support\n")},
	"tests/greets.yaml":   {Data: []byte("agent: support\ntests:\n  - name: greets\n    payload: hello\n")},
}

func argument(t *testing.T, of reflect.Type) reflect.Value {
	t.Helper()
	for _, a := range arguments {
		if reflect.TypeOf(a).AssignableTo(of) {
			return reflect.ValueOf(a)
		}
	}
	switch of.Kind() {
	case reflect.String:
		return reflect.ValueOf("x-1").Convert(of)
	case reflect.Slice:
		if of.Elem().Kind() == reflect.String {
			return reflect.ValueOf([]string{"x-1", "x-2", "x-3"})
		}
	case reflect.Chan:
		ids := make(chan string, 3)
		for _, id := range []string{"x-1", "x-2", "x-3"} {
			ids <- id
		}
		close(ids)
		return reflect.ValueOf((<-chan string)(ids))
	case reflect.Pointer, reflect.Interface: // a Journal
		return reflect.Zero(of)
	default:
	}
	t.Fatalf("there is no %s among arguments", of)
	return reflect.Value{}
}

// A call calls a method. It returns the method's error, or the last error of
// its iterator.
type call func(ctx context.Context, c *connic.Client) error

// callOf returns a call of a method with the values of arguments.
func callOf(t *testing.T, m source.Method) call {
	t.Helper()
	field, ok := reflect.TypeFor[connic.Client]().FieldByName(m.Service)
	if !ok {
		t.Fatalf("the Client has no field %s", m.Service)
	}
	method, ok := field.Type.MethodByName(m.Name)
	if !ok {
		t.Fatalf("there is no method %s", m)
	}
	var in []reflect.Value
	for i := 2; i < method.Type.NumIn(); i++ { // after the receiver and the context
		if !method.Type.IsVariadic() || i < method.Type.NumIn()-1 {
			in = append(in, argument(t, method.Type.In(i)))
		}
	}
	return func(ctx context.Context, c *connic.Client) error {
		receiver := reflect.ValueOf(c).Elem().FieldByIndex(field.Index)
		out := method.Func.Call(slices.Concat([]reflect.Value{receiver, reflect.ValueOf(&ctx).Elem()}, in))
		last := out[len(out)-1]
		if last.Kind() == reflect.Func {
			var err error
			for _, e := range last.Seq2() {
				err, _ = reflect.TypeAssert[error](e)
			}
			return err
		}
		err, _ := reflect.TypeAssert[error](last)
		return err
	}
}

// methods returns the methods of all services.
func methods(t *testing.T) []source.Method {
	t.Helper()
	all, err := source.Methods(".")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("there are no methods")
	}
	return all
}

// composite reports whether a method makes several calls, or is another use of
// an operation that has its own method.
func composite(m source.Method) bool {
	return strings.HasPrefix(m.Name, "All") || strings.HasSuffix(m.Name, "All") || strings.HasPrefix(m.Name, "Wait") ||
		strings.HasSuffix(m.Name, "AndWait") || m.Name == "Find" || m.Name == "Default" || m.Name == "Sync" || m.Name == "Watch" || m.Name == "Follow" ||
		strings.HasSuffix(m.Name, "Triggered") || m.Name == "Ensure"
}

// An operation is an operation, and a call that makes one request of it.
type operation struct {
	*api.Operation
	call call
}

// operations returns the operations that a method offers.
func operations(t *testing.T) []operation {
	t.Helper()
	all := methods(t)
	var found []operation
	for i := range api.Table {
		op := &api.Table[i]
		if op.Keyless {
			continue // Login is no method: see TestF6Logins
		}
		offering := slices.DeleteFunc(source.Of(all, op), composite)
		if len(offering) == 0 {
			t.Errorf("no method makes one request of %s", op.Name)
			continue
		}
		found = append(found, operation{Operation: op, call: callOf(t, offering[0])})
	}
	return found
}

// silent reports whether the response of an operation needs no body.
func silent(op *api.Operation) bool {
	return op.Method == "DELETE" || op.Op == api.RunsCancel || op.Op == api.DeploymentsActivate || op.Op == api.BridgesSetRoutes
}

// golden returns a response that every operation accepts.
const golden = `{"id": "x-1", "run_id": "x-1", "entry_id": "x-1", "job_id": "x-1", "name": "x-1", "status": "completed", ` +
	`"files_hash": "x", "routes": [], "items": [{"id": "x1", "entry_id": "x1", "job_id": "x1", "name": "x"}], "has_more": false, "total": 1}`
