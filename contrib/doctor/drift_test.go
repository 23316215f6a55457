package doctor

import (
	"testing"

	"github.com/connic-go/connic/docs"
)

func TestACopyIsTheSame(t *testing.T) {
	t.Parallel()
	report, err := Drift(docs.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Findings {
		t.Errorf("%+v", f)
	}
	for _, o := range report.Operations {
		if o.State != Same {
			t.Errorf("%+v", o)
		}
	}
}
