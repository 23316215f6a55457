package connictest

import (
	"testing"

	"github.com/connic-go/connic/internal/api"
)

// notYet are the operations that the fake does not offer yet, with the reason.
var notYet = map[string]string{
	"deployments.list":     "the section deployments is being written",
	"deployments.get":      "the section deployments is being written",
	"deployments.upload":   "the section deployments is being written",
	"deployments.activate": "the section deployments is being written",
	"test_runs.create":     "the section test runs is being written",
	"test_runs.get":        "the section test runs is being written",
}

func TestTheFakeOffersEveryOperation(t *testing.T) {
	t.Parallel()
	for i, handler := range handlers {
		name := api.Table[i].Name
		switch reason := notYet[name]; {
		case handler == nil && reason == "":
			t.Errorf("%s has no handler", name)
		case handler != nil && reason != "":
			t.Errorf("%s has a handler: take it out of notYet", name)
		}
	}
	for name := range notYet {
		if _, ok := api.Lookup(name); !ok {
			t.Errorf("there is no operation %s", name)
		}
	}
}
