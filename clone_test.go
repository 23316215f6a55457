package connic

import (
	"net/http"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestClonesShareNoMemory fills every field of all types that can be waited for, and
// compares the memory of a value with that of its copy.
func TestClonesShareNoMemory(t *testing.T) {
	t.Parallel()
	check := func(value, clone any) {
		v, c := reflect.ValueOf(value), reflect.ValueOf(clone)
		if !reflect.DeepEqual(value, clone) {
			t.Errorf("%T: the copy %+v differs from %+v", value, clone, value)
		}
		shared(v, c, v.Type().Elem().Name(), func(path string) { t.Errorf("%s is shared", path) })
	}
	check(filled[Run](t), filled[Run](t)) // of which nothing is shared
	run, job, test := filled[Run](t), filled[Job](t), filled[TestRun](t)
	evaluation, deployment, session := filled[Evaluation](t), filled[Deployment](t), filled[DevSession](t)
	check(run, run.clone())
	check(job, job.clone())
	check(test, test.clone())
	check(evaluation, evaluation.clone())
	check(deployment, deployment.clone())
	check(session, session.clone())
	approval := filled[Approval](t)
	check(approval, approval.clone())

	// The comparison finds what is shared.
	found := 0
	shallow := *test
	shared(reflect.ValueOf(test), reflect.ValueOf(&shallow), "", func(string) { found++ })
	if found != 4 { // the cases, two fields of the case, and what is left out
		t.Errorf("%d shared fields are found", found)
	}
}

// TestEventsBelongToTheirWait modifies what one wait is shown while another one waits
// for the same run.
func TestEventsBelongToTheirWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		c := newTestClient(t, func(*http.Request) (*http.Response, error) {
			status := "running"
			if time.Since(start) > 10*time.Second {
				status = "completed"
			}
			return respond(200, `{"id": "r1", "status": "`+status+`", "output": "x", "traces": [{"span_id": "s"}]}`), nil
		})
		var waits sync.WaitGroup
		for range 2 {
			waits.Go(func() {
				run, err := c.Runs.Wait(t.Context(), "r1", WithProgress(func(e WaitEvent) {
					if !e.Done {
						if e.Run.Output != "x" || e.Run.Traces[0].ID != "s" {
							t.Errorf("it is shown %+v", e.Run)
						}
						e.Run.Output, e.Run.Traces[0].ID = "changed", "changed"
					}
				}))
				if err != nil || run.Output != "x" || run.Traces[0].ID != "s" {
					t.Errorf("%+v, %v", run, err)
				}
			})
		}
		waits.Wait()
	})
}

// filled returns a value in which no pointer, slice or map is nil, however deep.
func filled[T any](t *testing.T) *T {
	t.Helper()
	v := new(T)
	fill(t, reflect.ValueOf(v).Elem())
	return v
}

func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1, 0)))
			return
		}
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				fill(t, f)
			} else if k := f.Kind(); k != reflect.String && k != reflect.Struct {
				t.Errorf("the field %s of %v cannot be filled", v.Type().Field(i).Name, v.Type())
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key)
		fill(t, value)
		v.SetMapIndex(key, value)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint8:
		v.SetUint('1')
	case reflect.Float64:
		v.SetFloat(1)
	default:
		t.Fatalf("%v cannot be filled", v.Type())
	}
}

// shared calls found with each path at which a and b hold the same memory.
func shared(a, b reflect.Value, path string, found func(path string)) {
	switch a.Kind() {
	case reflect.Struct:
		if a.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range a.NumField() {
			shared(a.Field(i), b.Field(i), path+"."+a.Type().Field(i).Name, found)
		}
	case reflect.Slice:
		if a.Pointer() == b.Pointer() {
			found(path)
		}
		for i := range min(a.Len(), b.Len()) {
			shared(a.Index(i), b.Index(i), path+"[]", found)
		}
	case reflect.Map, reflect.Chan, reflect.Func:
		if a.Pointer() == b.Pointer() {
			found(path)
		}
	case reflect.Pointer:
		if a.Pointer() == b.Pointer() {
			found(path)
		}
		shared(a.Elem(), b.Elem(), path, found)
	default: // copied with what holds it
	}
}
