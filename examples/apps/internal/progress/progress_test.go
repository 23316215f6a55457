package progress_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic/examples/apps/internal/progress"
)

// Where nobody watches, a line every 5 s is enough.
func TestPlainLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		line := progress.New(&out)
		for i := range 12 {
			line.Show("%d of 12", i)
			sleep(time.Second)
		}
		line.Say("that was\nall\x1b[2J")
		line.Done()
		if want := "0 of 12\n5 of 12\n10 of 12\nthat was all?[2J\n"; out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
	})
}

func sleep(d time.Duration) { <-time.After(d) }

// What comes from elsewhere cannot move the cursor or turn the text around.
func TestClean(t *testing.T) {
	t.Parallel()
	if got := progress.Clean("a\r\nb\x1b]0;x\a\u202ec\xff"); got != "a  b?]0;x??c?" {
		t.Errorf("got %q", got)
	}
}

func TestNilLine(t *testing.T) {
	t.Parallel()
	var line *progress.Line
	line.Show("x")
	line.Say("x")
	line.Done()
}
