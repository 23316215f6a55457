// Package bulk tests bulk calls with processes that are killed, and with
// many inputs.
package bulk

import (
	"path/filepath"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/tests/bulk/killed"
)

func TestMain(m *testing.M) {
	killed.Main(m, func(folder string) connic.Journal { return connic.FileJournal(filepath.Join(folder, "journal")) })
}

// Of 500 inputs, none is started twice or lost by a program that is killed 20
// times.
func TestFileJournalWhenKilled(t *testing.T) {
	t.Parallel()
	killed.Test(t)
}
