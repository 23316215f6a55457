package connictest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/connic-go/connic"
)

// Metadata filters have the semantics of MongoDB: a condition on a list holds
// if it holds for the list or for one of its elements; $ne and $nin hold
// whenever $eq and $in do not; missing fields are null; and values of different
// types have no order. $contains matches a substring or an element of a list.

// selector reports whether a filter selects metadata or a value in it.
type selector func(document any) bool

// condition reports whether the value of a field meets a condition. A missing
// value is nil.
type condition func(value any, exists bool) bool

func compileFilter(filter any) (selector, error) {
	object, isObject := filter.(map[string]any)
	if !isObject {
		return nil, errors.New("a filter is an object")
	}
	var all []selector
	for _, key := range slices.Sorted(maps.Keys(object)) {
		one, err := compileKey(key, object[key])
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return func(document any) bool {
		return !slices.ContainsFunc(all, func(one selector) bool { return !one(document) })
	}, nil
}

func compileKey(key string, value any) (selector, error) {
	switch key {
	case "$and", "$or", "$nor":
		list, isList := value.([]any)
		if !isList || len(list) == 0 {
			return nil, errors.New(key + " takes a list of filters that is not empty")
		}
		selectors := make([]selector, len(list))
		for i, item := range list {
			var err error
			if selectors[i], err = compileFilter(item); err != nil {
				return nil, err
			}
		}
		return func(document any) bool {
			holds := func(selects selector) bool { return selects(document) }
			if key == "$and" {
				return !slices.ContainsFunc(selectors, func(selects selector) bool { return !holds(selects) })
			}
			return slices.ContainsFunc(selectors, holds) == (key == "$or")
		}, nil
	case "$not":
		inner, err := compileFilter(value)
		if err != nil {
			return nil, err
		}
		return func(document any) bool { return !inner(document) }, nil
	}
	path := strings.Split(key, ".")
	if strings.HasPrefix(key, "$") || slices.Contains(path, "") {
		return nil, fmt.Errorf("%q is neither a field nor an operator", key)
	}
	holds, err := compileCondition(value)
	if err != nil {
		return nil, err
	}
	return func(document any) bool { return holds(lookup(document, path)) }, nil
}

// lookup follows a path into objects. In a list of objects it collects a list.
func lookup(value any, path []string) (found any, exists bool) {
	if len(path) == 0 {
		return value, true
	}
	switch v := value.(type) {
	case map[string]any:
		if inner, exists := v[path[0]]; exists {
			return lookup(inner, path[1:])
		}
	case []any:
		var list []any
		for _, item := range v {
			if inner, exists := lookup(item, path); exists {
				list = append(list, inner)
			}
		}
		return list, list != nil
	}
	return nil, false
}

func isOperators(value any) bool {
	object, isObject := value.(map[string]any)
	for key := range object {
		if strings.HasPrefix(key, "$") {
			return true
		}
	}
	return isObject && len(object) == 0
}

// compileCondition compiles the right-hand side of a field: operators, or the
// required value.
func compileCondition(value any) (condition, error) {
	if !isOperators(value) {
		return compileOperator("$eq", value)
	}
	operators := value.(map[string]any)
	if len(operators) == 0 {
		return nil, errors.New("a condition has an operator")
	}
	var all []condition
	for _, name := range slices.Sorted(maps.Keys(operators)) {
		one, err := compileOperator(name, operators[name])
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return func(value any, exists bool) bool {
		return !slices.ContainsFunc(all, func(one condition) bool { return !one(value, exists) })
	}, nil
}

func compileOperator(name string, operand any) (condition, error) {
	takes := func(what string) (condition, error) { return nil, errors.New(name + " takes " + what) }
	switch name {
	case "$eq", "$ne":
		return func(value any, _ bool) bool {
			return anyOf(value, func(v any) bool { return equal(v, operand) }) == (name == "$eq")
		}, nil
	case "$gt", "$gte", "$lt", "$lte":
		if _, ordered := order(operand, operand); !ordered {
			return takes("a number or a text")
		}
		return func(value any, _ bool) bool {
			return anyOf(value, func(v any) bool {
				sign, ordered := order(v, operand)
				return ordered && ((sign == 0 && strings.HasSuffix(name, "e")) || (sign > 0 && name[1] == 'g') || (sign < 0 && name[1] == 'l'))
			})
		}, nil
	case "$in", "$nin":
		list, isList := operand.([]any)
		if !isList || len(list) == 0 {
			return takes("a list that is not empty")
		}
		return func(value any, _ bool) bool {
			return anyOf(value, func(v any) bool {
				return slices.ContainsFunc(list, func(item any) bool { return equal(v, item) })
			}) == (name == "$in")
		}, nil
	case "$exists":
		want, isBool := operand.(bool)
		if !isBool {
			return takes("true or false")
		}
		return func(_ any, exists bool) bool { return exists == want }, nil
	case "$regex":
		expression, isText := operand.(string)
		if !isText {
			return takes("a text")
		}
		compiled, err := regexp.Compile(expression)
		if err != nil {
			return nil, err
		}
		return func(value any, _ bool) bool {
			return anyOf(value, func(v any) bool {
				s, isText := v.(string)
				return isText && compiled.MatchString(s)
			})
		}, nil
	case "$contains":
		return func(value any, _ bool) bool { return contains(value, operand) }, nil
	case "$elemMatch":
		return compileElemMatch(operand)
	case "$not":
		if !isOperators(operand) {
			return takes("an object of operators")
		}
		inner, err := compileCondition(operand)
		if err != nil {
			return nil, err
		}
		return func(value any, exists bool) bool { return !inner(value, exists) }, nil
	}
	return nil, errors.New("unknown operator " + name)
}

// compileElemMatch compiles a filter for lists of objects, or operators for
// other lists.
func compileElemMatch(operand any) (condition, error) {
	object, isObject := operand.(map[string]any)
	if !isObject || len(object) == 0 {
		return nil, errors.New("$elemMatch takes a filter or operators")
	}
	var matches func(any) bool
	logical := []string{"$and", "$or", "$nor"}
	if isOperators(operand) && !slices.ContainsFunc(logical, func(name string) bool { return object[name] != nil }) {
		holds, err := compileCondition(operand)
		if err != nil {
			return nil, err
		}
		matches = func(element any) bool { return holds(element, true) }
	} else {
		filter, err := compileFilter(operand)
		if err != nil {
			return nil, err
		}
		matches = filter
	}
	return func(value any, _ bool) bool {
		list, isList := value.([]any)
		return isList && slices.ContainsFunc(list, matches)
	}, nil
}

// anyOf reports whether f holds for a value or, if it is a list, for an element.
func anyOf(value any, f func(any) bool) bool {
	if f(value) {
		return true
	}
	list, isList := value.([]any)
	return isList && slices.ContainsFunc(list, f)
}

func contains(value, element any) bool {
	switch v := value.(type) {
	case string:
		s, isText := element.(string)
		return isText && strings.Contains(v, s)
	case []any:
		return slices.ContainsFunc(v, func(item any) bool { return equal(item, element) })
	}
	return false
}

func equal(a, b any) bool {
	if sign, ordered := order(a, b); ordered {
		return sign == 0
	}
	return reflect.DeepEqual(a, b)
}

// order compares two numbers or two strings.
func order(a, b any) (sign int, ordered bool) {
	switch a := a.(type) {
	case string:
		if b, isText := b.(string); isText {
			return strings.Compare(a, b), true
		}
	case json.Number:
		if b, isNumber := b.(json.Number); isNumber {
			x, err := connic.ParseDecimal(a.String())
			y, err2 := connic.ParseDecimal(b.String())
			return x.Cmp(y), err == nil && err2 == nil
		}
	}
	return 0, false
}
