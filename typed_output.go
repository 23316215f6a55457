package connic

import (
	"strings"

	"github.com/connic-go/connic/internal/mask"
	"github.com/connic-go/connic/internal/typed"
)

// OutputAs returns the output of a completed run as a T. With an error it returns
// the zero value. A run that did not complete, or is still active, is a
// [*RunError], and an output that is no T is an [*OutputError]. It costs no
// request.
//
// If T is a string, or a type whose kind is string, the result is the text of the
// output, verbatim. For all other types the output must be exactly one JSON value,
// which is decoded as [encoding/json.Unmarshal] does, with these differences:
//
//   - A field with the tag connic:"required" must be present, and must not be null
//     unless its type is a pointer, slice, map or interface. This holds at every
//     depth.
//   - A T that is not one of these must not be null.
//   - An integer may be written with a fraction or an exponent, such as 5.0.
//   - A number in an interface is an [encoding/json.Number].
//
// Keys that T does not have are ignored: a schema may grow before its callers do.
func OutputAs[T any](r *Run) (T, error) {
	var zero T
	if r == nil {
		return zero, &OutputError{Type: typeName[T](), Problem: OutputEmpty, why: "there is no run"}
	}
	if err := r.failure(); err != nil {
		return zero, err
	}
	out, e := typed.Decode[T](r.Output)
	if e != nil {
		return zero, &OutputError{Run: r, Type: typeName[T](), Problem: OutputProblem(e.Reason), Field: e.Field, Err: e.Err, why: e.Error()}
	}
	return out, nil
}

// An OutputError is returned for a completed run whose output is not of the
// expected type. The run was executed and billed; its text is in Run.Output. The
// cause may be a project that was deployed with another schema, or an agent that
// completes with a text in place of its output, as guardrails and middleware can.
//
// The text of the error contains names, types and the kinds of JSON values, and
// nothing of the output.
type OutputError struct {
	Run     *Run
	Type    string // the expected type, such as "agents.Invoice"
	Problem OutputProblem
	// Field is the path of the field that does not fit, such as "items[3].price".
	// It is empty for the output as a whole, and for a place that is not known. The
	// keys of a map are content, and each is written as "*".
	Field string
	// Err is the error of the decoder, or nil. Unlike the text of the OutputError,
	// its text may quote the output.
	Err error

	why string // what is wrong, without content
	hidden
}

// An OutputProblem says what is wrong with an output: "empty", "not JSON",
// "mismatch", "missing" or "of other agent".
type OutputProblem string

// The problems of outputs.
const (
	OutputEmpty        OutputProblem = "empty"          // nothing, or null for a type that cannot be nil
	OutputNotJSON      OutputProblem = "not JSON"       // not exactly one JSON value
	OutputMismatch     OutputProblem = "mismatch"       // a value of another JSON type, or out of range
	OutputMissing      OutputProblem = "missing"        // a required field is absent or null
	OutputOfOtherAgent OutputProblem = "of other agent" // the run is that of another agent
)

func (e *OutputError) Error() string {
	s := "connic: the output"
	if r := e.Run; r != nil {
		if r.ID != "" {
			s += " of run " + r.ID
		}
		s += about("agent", r.AgentName)
	}
	s += " is no " + e.Type + ": "
	switch {
	case e.Problem == OutputOfOtherAgent && e.Err != nil:
		s += e.Err.Error()
	case e.why != "":
		s += e.why
	default: // made by hand
		s += strings.TrimSpace(e.Field + " " + string(e.Problem))
	}
	return e.by.Line(s, maxText)
}

// Unwrap returns Err.
func (e *OutputError) Unwrap() error { return e.Err }

// MarshalText implements [encoding.TextMarshaler]. It returns the same text as
// Error, so that a JSON log contains the text rather than the whole run.
func (e *OutputError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

func (e *OutputError) hide(by *mask.Mask) {
	e.by, e.Err = by, by.Error(e.Err)
}
