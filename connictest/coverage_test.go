package connictest

import (
	"testing"

	"github.com/connic-go/connic/internal/api"
)

func TestTheFakeOffersEveryOperation(t *testing.T) {
	t.Parallel()
	for i, handler := range handlers {
		if handler == nil {
			t.Errorf("%s has no handler", api.Table[i].Name)
		}
	}
}
