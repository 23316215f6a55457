package progress_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
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
		if want := "0 of 12\n5 of 12\n10 of 12\nthat was all\\x1b[2J\n"; out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
	})
}

func sleep(d time.Duration) { <-time.After(d) }

// What comes from elsewhere cannot move the cursor or turn the text around.
func TestClean(t *testing.T) {
	t.Parallel()
	if got := progress.Clean("a\r\nb\x1b]0;x\a\u202ec\xff cnc_0123456789abcdef"); strings.Contains(got, "456789") || !strings.HasPrefix(got, `a b\x1b]0;x\a\u202ec`+"\ufffd") {
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

// A wait for the quota is shown, a short one is not.
func TestObserve(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		line := progress.New(&out)
		fake := connictest.New()
		defer fake.Close()
		client := fake.Client(connic.WithObserver(line.Observe))
		defer client.Close()
		for range 61 {
			if _, err := client.Project.Get(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := out.String(); !strings.HasPrefix(got, "project.get waits 1m0s for its turn (") && !strings.HasPrefix(got, "project.get waits 1m1s for its turn (") || strings.Count(got, "\n") != 1 {
			t.Errorf("got %q", got)
		}
	})
}
