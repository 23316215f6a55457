package connic

import (
	"encoding/json"
	"fmt"
)

// Nullable is a value in a change that can be absent, null, or set: three
// different things to a PATCH, which leaves alone what is absent and clears what
// is null.
//
//	connic.JudgeUpdate{
//		SampleRate: connic.Set(20.0),                  // change it
//		ScoreAlert: connic.Null[connic.ScoreAlert](), // clear it
//	} // and leave everything else as it is
//
// The zero Nullable is absent. In types of your own give the field the option
// omitzero, as in `json:"limit,omitzero"`: without it an absent value is
// written as null.
type Nullable[T any] struct {
	value T
	state nullState
}

type nullState uint8

const (
	isAbsent nullState = iota
	isNull
	isSet
)

// Set returns a Nullable with a value. The value may be a zero value: an empty
// text, 0 or false is as much a value as any other.
func Set[T any](value T) Nullable[T] { return Nullable[T]{value, isSet} }

// Null returns a Nullable that clears what it is sent for.
func Null[T any]() Nullable[T] { return Nullable[T]{state: isNull} }

// IsZero reports whether n is absent. It is what omitzero asks.
func (n Nullable[T]) IsZero() bool { return n.state == isAbsent }

// IsNull reports whether n is null. An absent value is not.
func (n Nullable[T]) IsNull() bool { return n.state == isNull }

// Get returns the value, and whether there is one.
func (n Nullable[T]) Get() (value T, ok bool) { return n.value, n.state == isSet }

// String returns the value as fmt prints it, "null" or "absent".
func (n Nullable[T]) String() string {
	switch n.state {
	case isSet:
		return fmt.Sprint(n.value)
	case isNull:
		return "null"
	default:
		return "absent"
	}
}

// MarshalJSON implements [json.Marshaler].
func (n Nullable[T]) MarshalJSON() ([]byte, error) {
	if n.state != isSet {
		return []byte("null"), nil
	}
	return json.Marshal(n.value)
}

// UnmarshalJSON implements [json.Unmarshaler]. It is not called for a key that
// is not there, so that the Nullable stays absent.
func (n *Nullable[T]) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*n = Null[T]()
		return nil
	}
	var value T
	if err := json.Unmarshal(data, &value); err != nil {
		return err
	}
	*n = Set(value)
	return nil
}

// patch collects what is wrong with a change before it is sent.
type patch struct {
	op    string
	set   bool // something is set or cleared
	first *ArgumentError
}

// refuse notes a complaint, unless there is one already.
func (p *patch) refuse(arg, reason string) {
	if p.first == nil {
		p.first = &ArgumentError{Op: p.op, Arg: arg, Reason: reason}
	}
}

// err is the first complaint, or that nothing is changed at all.
func (p *patch) err() error {
	if p.first == nil && !p.set {
		p.refuse("update", "is empty: it changes nothing")
	}
	if p.first == nil {
		return nil
	}
	return p.first
}

// change checks one field of a change: check returns what is wrong with a value,
// "" if nothing is.
func change[T any](p *patch, arg string, n Nullable[T], clearable bool, check func(T) string) {
	p.set = p.set || !n.IsZero()
	if n.IsNull() && !clearable {
		p.refuse(arg, "cannot be cleared")
	}
	if value, ok := n.Get(); ok && check != nil {
		if reason := check(value); reason != "" {
			p.refuse(arg, reason)
		}
	}
}
