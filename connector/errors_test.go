package connector

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/connic-go/connic"
)

func TestErrorsAreKnownToConnic(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("ask: %w", &Error{Op: "call", StatusCode: 429, RetryAfter: 7 * time.Second, Attempts: 2})
	if wait, ok := connic.RetryAfter(err); !ok || wait != 7*time.Second {
		t.Errorf("RetryAfter is %v, %v", wait, ok)
	}
	if info, ok := connic.Describe(err); !ok || info.Op != "connectors.call" || info.StatusCode != 429 || info.Attempts != 2 {
		t.Errorf("it is described as %+v, %v", info, ok)
	}
	var answer *connic.Error
	if errors.As(&Error{Op: "call"}, &answer) {
		t.Errorf("without an answer it is %+v", answer)
	}
}
