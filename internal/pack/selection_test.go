package pack

import (
	"bytes"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// project is a tree with folders and files of all kinds.
func project() fstest.MapFS {
	m := make(fstest.MapFS)
	for _, name := range []string{
		"agents/a.yaml", "agents/.secret", "agents/b.pyc", "agents/__pycache__/a.py", "apps/shop/index.html", "apps/shop/.env", "docs/a.md",
		".env", ".git/config", "README.md", "requirements.txt",
	} {
		m[name] = &fstest.MapFile{Data: []byte(name)}
	}
	return m
}

func TestSelection(t *testing.T) {
	t.Parallel()
	usual := []string{"agents/a.yaml", "requirements.txt"}
	left := []string{".env", ".git/", "README.md", "agents/.secret", "agents/__pycache__/", "agents/b.pyc"}
	for name, test := range map[string]struct {
		selection   Selection
		files, left []string
		want        string // the error
	}{
		"undecided": {Selection{}, nil, nil, "apps is a folder of a project by the vendor's documentation"},
		"included":  {Selection{Folders: []string{"apps"}}, append([]string{"apps/shop/index.html"}, usual...), append([]string{"apps/shop/.env", "docs/"}, left...), ""},
		"excluded":  {Selection{Exclude: []string{"apps", "agents"}}, []string{"requirements.txt"}, []string{".env", ".git/", "README.md", "agents/", "apps/", "docs/"}, ""},
		"another":   {Selection{Folders: []string{"docs"}, Exclude: []string{"apps"}}, append([]string{"docs/a.md"}, usual...), append([]string{"apps/"}, left...), ""},
		"both":      {Selection{Folders: []string{"docs"}, Exclude: []string{"apps", "docs"}}, nil, nil, "docs is named in Folders, and has no file to pack"},
		"missing":   {Selection{Folders: []string{"app"}, Exclude: []string{"apps"}}, nil, nil, "app is named in Folders, and has no file to pack"},
		"nested":    {Selection{Folders: []string{"apps/shop"}}, nil, nil, "apps/shop is not the name of a top-level folder"},
		"hidden":    {Selection{Folders: []string{".git"}}, nil, nil, ".git is not the name of a top-level folder"},
		"nothing":   {Selection{Exclude: []string{""}}, nil, nil, "is not the name of a top-level folder"},
	} {
		a, err := test.selection.Tree(t.Context(), project())
		if test.want != "" {
			if !breaks(err, test.want) {
				t.Errorf("%s: %v, want %q", name, err, test.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		slices.Sort(test.left)
		if !slices.Equal(a.LeftOut(), test.left) {
			t.Errorf("%s: left out are %q, want %q", name, a.LeftOut(), test.left)
		}
		b, err := sent(t, a)
		if err != nil {
			t.Fatal(err)
		}
		files, err := test.selection.Read(b)
		slices.Sort(test.files)
		if got := slices.Sorted(maps.Keys(files)); err != nil || !slices.Equal(got, test.files) || files[got[0]] != got[0] {
			t.Errorf("%s: %q are packed, %v, want %q", name, files, err, test.files)
		}
		// As an archive, it needs the same decision.
		open := func() (io.Reader, error) { return bytes.NewReader(b), nil }
		if _, err := test.selection.File(t.Context(), "x", open); err != nil {
			t.Errorf("%s: the archive is refused: %v", name, err)
		}
		_, err = Selection{}.File(t.Context(), "x", open)
		switch name {
		case "included":
			if !breaks(err, "apps is a folder of a project by the vendor's documentation") || strings.Count(err.Error(), "apps") != 1 {
				t.Errorf("%s: the archive: %v", name, err)
			}
		case "another":
			if !breaks(err, "docs/a.md is neither") {
				t.Errorf("%s: the archive: %v", name, err)
			}
		}
	}
}

func TestWhatIsLeftOutIsBounded(t *testing.T) {
	t.Parallel()
	m := fstest.MapFS{"agents/a.yaml": {}, "agents/b.pyc": {}}
	for i := range 2 * maxLeftOut {
		m[string(rune('a'+i%26))+strings.Repeat("x", i)+".md"] = &fstest.MapFile{}
	}
	a, err := Selection{}.Tree(t.Context(), m)
	if err != nil || len(a.LeftOut()) != maxLeftOut {
		t.Errorf("%d names, %v", len(a.LeftOut()), err)
	}
}
