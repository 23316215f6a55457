package guide

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#+ (.+)$`)
	fenced   = regexp.MustCompile("(?ms)^```.*?^```")
	verbatim = regexp.MustCompile("`[^`\n]+`")
	noAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the fragments under which the headings of a page are found.
func anchors(page string) (all []string) {
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
		all = append(all, strings.ReplaceAll(noAnchor.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return all
}

// TestLinks follows the links of the documents within the repository.
func TestLinks(t *testing.T) {
	t.Parallel()
	followed := 0
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/llms.txt", "docs/guide/*.md", "contrib/*/README.md", "cmd/*/README.md", "cmd/*/docs/*.md", "examples/README.md"} {
		pages, err := filepath.Glob(filepath.Join("../..", pattern))
		if err != nil || len(pages) == 0 {
			t.Fatal(pattern, err)
		}
		for _, page := range pages {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range link.FindAllStringSubmatch(verbatim.ReplaceAllString(fenced.ReplaceAllString(string(text), ""), ""), -1) {
				target, err := url.Parse(m[1])
				if err != nil || target.Scheme != "" || target.Host != "" {
					continue
				}
				followed++
				path := page
				if target.Path != "" {
					path = filepath.Join(filepath.Dir(page), filepath.FromSlash(target.Path))
				}
				if _, err := os.Stat(path); err != nil {
					t.Errorf("%s: %s leads nowhere", page, m[1])
				} else if target.Fragment != "" {
					if data, err := os.ReadFile(path); err != nil || !slices.Contains(anchors(string(data)), target.Fragment) {
						t.Errorf("%s: %s names no heading", page, m[1])
					}
				}
			}
		}
	}
	if followed < 100 {
		t.Error("only", followed)
	}
}

// TestTheBadges compares what the badges of the README say with the files they lead to.
func TestTheBadges(t *testing.T) {
	t.Parallel()
	badge := regexp.MustCompile(`img\.shields\.io/badge/(Go|License)-([\w.]+)`)
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	said := make(map[string]string)
	for _, m := range badge.FindAllStringSubmatch(string(text), -1) {
		said[m[1]] = m[2]
	}
	mod, err := os.ReadFile("../../go.mod")
	if err != nil || !strings.Contains(string(mod), "\ngo "+said["Go"]+".0\n") || said["Go"] == "" {
		t.Error(said, err)
	}
	license, err := os.ReadFile("../../LICENSE")
	if err != nil || !strings.HasPrefix(string(license), said["License"]+" License") || said["License"] == "" {
		t.Error(said, err)
	}
}
