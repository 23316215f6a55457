package sqlite

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/tests/bulk/killed"
)

func TestMain(m *testing.M) {
	killed.Main(m, func(folder string) connic.Journal { return &Journal{Path: filepath.Join(folder, "journal.db")} })
}

// Of 500 inputs, none is started twice or lost by a program that is killed 20
// times, whatever keeps its journal.
func TestJournalWhenKilled(t *testing.T) {
	t.Parallel()
	killed.Test(t)
}

// Two have it open one after the other.
func TestJournalInUse(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal.db")
	one, two := &Journal{Path: path}, &Journal{Path: path}
	if err := one.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := two.Open(t.Context()); !errors.Is(err, connic.ErrJournalInUse) {
		t.Errorf("opened twice: %v", err)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	if err := two.Open(t.Context()); err != nil {
		t.Error(err)
	}
	_ = two.Close()
}
