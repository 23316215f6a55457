package bulk

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
)

// blocked is a Journal whose second Put waits, and then does not return.
type blocked struct {
	puts    int
	entered chan struct{}
	release chan func()
	leave   func() // called by Close, if not nil
}

func (*blocked) Open(context.Context) error                               { return nil }
func (*blocked) Get(context.Context, string) (string, error)              { return "", nil }
func (*blocked) All(context.Context, func(key, record string) bool) error { return nil }

func (j *blocked) Close() error {
	if j.leave != nil {
		j.leave()
	}
	return nil
}

func (j *blocked) Put(context.Context, map[string]string) error {
	if j.puts++; j.puts == 2 {
		close(j.entered)
		(<-j.release)()
	}
	return nil
}

// TestRecordsBehindOneThatIsNotWritten waits for a record that was to be written
// after one at which the journal panics or exits.
func TestRecordsBehindOneThatIsNotWritten(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(){"panic": func() { panic("journal's own") }, "exit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				j := &blocked{entered: make(chan struct{}), release: make(chan func())}
				l, err := openLog(t.Context(), j, head{headVersion, "op", "target"})
				if err != nil {
					t.Fatal(err)
				}
				first := l.put(Record{Key: "a", State: Sending})
				<-j.entered
				second := l.put(Record{Key: "b", State: Sending})
				j.release <- leave
				for _, b := range []*batch{first, second, l.put(Record{Key: "c", State: Sending})} {
					if err := b.wait(t.Context()); err == nil {
						t.Error("it passes for written")
					}
				}
				if err, panicked := l.close(); err == nil || (panicked != nil) != (name == "panic") {
					t.Errorf("%v, %v", err, panicked)
				}
			})
		})
	}
}

// TestJournalsThatDoNotClose ends with a journal whose Close panics or exits.
func TestJournalsThatDoNotClose(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(){"panic": func() { panic("journal's own") }, "exit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				j := &blocked{leave: leave, puts: 2}
				l, err := openLog(t.Context(), j, head{headVersion, "op", "target"})
				if err != nil {
					t.Fatal(err)
				}
				if err := l.put(Record{Key: "a", State: Sending}).wait(t.Context()); err != nil {
					t.Error(err)
				}
				if err, panicked := l.close(); err == nil || (panicked != nil) != (name == "panic") {
					t.Errorf("%v, %v", err, panicked)
				}
			})
		})
	}
}
