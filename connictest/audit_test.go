package connictest

import (
	"encoding/json"
	"testing"
)

func first(m map[string]any, _ int) map[string]any { return m }

func TestMasked(t *testing.T) {
	t.Parallel()
	before := object{
		"name": "x", "api_key": "abc", "Client-Secret": "def", "password": "", "access_token": nil,
		"token_usage": object{"input": 5}, "max_tokens": 100,
		"deep": []object{{"db_password": "ghi", "note": "with cnc_1234567890, and more"}},
	}
	got, err := json.Marshal(first(masked(before)))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"Client-Secret":"***","access_token":null,"api_key":"***","deep":[{"db_password":"***","note":"with cnc_***, and more"}],` +
		`"max_tokens":100,"name":"x","password":"","token_usage":{"input":5}}`
	if string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
	if before["api_key"] != "abc" {
		t.Error("the object itself was changed")
	}
	if first(masked(nil)) != nil {
		t.Error("nothing becomes something")
	}
	// What cannot be shown says so.
	if broken, _ := masked(object{"f": func() {}}); broken["error"] == nil {
		t.Errorf("%v", broken)
	}
}
