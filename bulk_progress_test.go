package connic_test

import (
	"context"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// The progress of inputs that are refused or skipped is reported, too.
func TestBulkProgressOfSkipped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New(t)
		srv.Agent("echo", func(_ context.Context, in connictest.Input) (any, error) { return in.Message, nil })
		client := srv.Client()
		defer client.Close()
		journal := filepath.Join(t.TempDir(), "j")
		for _, want := range []connic.BulkProgress{{Read: 1, Ended: 1}, {Read: 1, Skipped: 1}} {
			var last connic.BulkProgress
			for range client.Agents.TriggerAll(t.Context(), "echo", func(yield func(string, connic.TriggerRequest) bool) {
				yield("a", connic.TriggerRequest{Message: "m"})
			}, connic.FileJournal(journal), connic.WithBulkProgress(1, func(p connic.BulkProgress) { last = p })) {
			}
			if last.Read != want.Read || last.Ended != want.Ended || last.Skipped != want.Skipped || !last.Complete {
				t.Errorf("%+v, want %+v", last, want)
			}
		}
	})
}
