package service

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

//nolint:paralleltest // it changes the environment
func TestFake(t *testing.T) {
	for name, value := range map[string]string{
		"CONNIC_API_KEY": "cnc_0123456789abcdef", "CONNIC_PROJECT_ID": "mine", "CONNIC_TOKEN": "mine:cnc_0123456789abcdef",
		"CONNIC_API_URL": "https://api.example.com", "CONNIC_ENVIRONMENT": "mine",
	} {
		t.Setenv(name, value)
	}
	for range 2 { // the second time it finds the first fake
		Fake()
		client, err := connic.NewFromEnv()
		if err != nil {
			t.Fatal(err)
		}
		result, err := client.Agents.Trigger(t.Context(), "support", connic.TriggerRequest{Message: "May I?"})
		if err != nil || os.Getenv("CONNIC_PROJECT_ID") != connictest.ProjectID {
			t.Errorf("%v, %v", result, err)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestDeliverEvents(t *testing.T) {
	t.Setenv("CONNIC_SIGNING_SECRET", "")
	bodies := make(chan string, 10)
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- string(body)
	}))
	defer target.Close()
	DeliverEvents(target.URL)
	if os.Getenv("CONNIC_SIGNING_SECRET") == "" {
		t.Error("there is no secret")
	}
	missing := []string{`"run_id":"run-`, `"order":1207`, `"approval":`, `"greeting"`}
	for len(missing) > 0 {
		select {
		case body := <-bodies:
			for i, want := range missing {
				if strings.Contains(body, want) {
					missing = append(missing[:i], missing[i+1:]...)
					break
				}
			}
		case <-t.Context().Done():
			t.Fatal(missing)
		}
	}
}
