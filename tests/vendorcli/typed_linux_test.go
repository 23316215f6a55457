package vendorcli

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The client accepts and deploys the projects that connicgen is tested with: the
// generator does not read what no project is.
func TestProjectsOfTheGenerator(t *testing.T) {
	t.Parallel()
	projects, err := filepath.Glob("../../contrib/connicgen/testdata/*/agents")
	if err != nil || len(projects) == 0 {
		t.Fatal(err, projects)
	}
	for _, agents := range projects {
		d := sit(t, "")
		if err := os.RemoveAll(d.dir); err != nil {
			t.Fatal(err)
		}
		root := filepath.Dir(agents)
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, path)
			d.write(name, string(data))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if out := d.run("", 0, []string{"lint"}, "agent(s) loaded", "Project validation complete"); strings.Contains(out, "Warning") {
			t.Errorf("%s: it warns", root)
		}
		if out := d.run("", 0, []string{"deploy", "--env", "production", "--yes"}, "Deployment created."); strings.Contains(out, "contracts") {
			t.Errorf("%s: it sends the contracts", root)
		}
	}
}
