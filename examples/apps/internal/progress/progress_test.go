package progress_test

import (
	"strings"
	"testing"

	"github.com/connic-go/connic/examples/apps/internal/progress"
)

// What comes from elsewhere cannot move the cursor or turn the text around.
func TestClean(t *testing.T) {
	t.Parallel()
	if got := progress.Clean("a\r\nb\x1b]0;x\a\u202ec\xff cnc_0123456789abcdef"); strings.Contains(got, "456789") || !strings.HasPrefix(got, `a b\x1b]0;x\a\u202ec`+"\ufffd") {
		t.Errorf("got %q", got)
	}
}
