package gen

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The types of agents.
const (
	kindLLM        = "llm"
	kindSequential = "sequential"
	kindTool       = "tool"
)

// An agent is a file of the folder agents, with the defaults of the folders above.
type agent struct {
	file, name, kind string
	description      string
	schema           string   // the value of output_schema
	steps            []string // of a sequence
	guarded          bool     // a guardrail may block
	base             *agent   // of an A/B variant
	last             *agent   // of a sequence

	goName          string
	in, out         string
	inFile, outFile string
}

var agentName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// required are the keys that an agent has in its own file.
var required = []string{"name", "description", "version"}

func isBare(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\\:\x00")
}

// readAgents reads the agents as the vendor's client does: all files agents/**/*.yaml
// but hidden ones, each with the files _defaults.yaml of its folders.
func (g *generator) readAgents() {
	defaults := make(map[string]map[string]any)
	g.byName = make(map[string]*agent)
	err := fs.WalkDir(g.fsys, "agents", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case file != "agents" && strings.HasPrefix(d.Name(), ".") && d.IsDir():
			return fs.SkipDir
		case d.IsDir():
			folder, above := file, defaults[path.Dir(file)]
			own, err := g.readYAML(folder + "/_defaults.yaml")
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				g.errorf(folder+"/_defaults.yaml", "%v", err)
			}
			for _, key := range []string{"name", "description"} {
				if _, ok := own[key]; ok {
					g.errorf(folder+"/_defaults.yaml", "%s belongs to the file of an agent", key)
				}
			}
			defaults[folder] = merge(above, own, "")
			return nil
		case !d.Type().IsRegular() || strings.HasPrefix(d.Name(), ".") || path.Ext(file) != ".yaml" || d.Name() == "_defaults.yaml":
			return nil
		}
		if a := g.readAgent(file, defaults[path.Dir(file)]); a != nil {
			g.agents = append(g.agents, a)
		}
		return nil
	})
	if err != nil {
		g.errorf("agents", "the folder cannot be read: %v", err)
	}
	slices.SortFunc(g.agents, func(a, b *agent) int { return strings.Compare(a.file, b.file) })
	for _, a := range g.agents {
		if other := g.byName[a.name]; other != nil {
			g.errorf(a.file, "the name %s is that of %s too", a.name, other.file)
			continue
		}
		g.byName[a.name] = a
	}
	if len(g.agents) == 0 && len(g.errs) == 0 {
		g.errorf("agents", "there is no agent")
	}
	for _, a := range g.agents {
		// The longest name that an agent has counts.
		for i := strings.Index(a.name, "-test-"); i >= 0; {
			if base := g.byName[a.name[:i]]; base != nil && i+len("-test-") < len(a.name) {
				a.base = base
			}
			next := strings.Index(a.name[i+1:], "-test-")
			if next < 0 {
				break
			}
			i += 1 + next
		}
		if strings.Contains(a.name, "-test-") && a.base == nil {
			g.errorf(a.file, "the name %s is one of a variant, and its base is no agent", a.name)
		}
	}
}

// read reads a file of the project. A device or a pipe may have no end.
func (g *generator) read(file string) ([]byte, error) {
	if info, err := fs.Stat(g.fsys, file); err == nil && !info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	return fs.ReadFile(g.fsys, file)
}

// readYAML reads a file with one mapping.
func (g *generator) readYAML(file string) (map[string]any, error) {
	data, err := g.read(file)
	if err != nil {
		return nil, err
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	var node, more yaml.Node
	if err := d.Decode(&node); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("it has more than one document")
	}
	if len(node.Content) == 1 && node.Content[0].Kind == yaml.ScalarNode && node.Content[0].Tag == "!!null" {
		return nil, nil
	}
	if len(node.Content) != 1 || node.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("it is no mapping")
	}
	var keys map[string]any
	err = node.Decode(&keys)
	return keys, err
}

func (g *generator) readAgent(file string, defaults map[string]any) *agent {
	own, err := g.readYAML(file)
	if err != nil {
		g.errorf(file, "%v", err)
		return nil
	}
	for _, key := range required {
		if _, ok := own[key]; !ok {
			g.errorf(file, "it has no key %s", key)
			return nil
		}
	}
	keys := merge(defaults, own, "")
	a := &agent{file: file, kind: kindLLM}
	text := func(key string, to *string) {
		switch v := keys[key].(type) {
		case nil:
		case string:
			*to = v
		default:
			g.errorf(file, "the value of %s is no text", key)
		}
	}
	text("name", &a.name)
	text("type", &a.kind)
	text("output_schema", &a.schema)
	a.description = fmt.Sprint(keys["description"])
	if !agentName.MatchString(a.name) {
		g.errorf(file, "%q is no name of an agent: lower-case letters, digits, and hyphens between them", a.name)
		return nil
	}
	if a.kind != kindLLM && a.kind != kindSequential && a.kind != kindTool {
		g.errorf(file, "the type %q is none of llm, sequential and tool", a.kind)
		return nil
	}
	if steps, ok := keys["agents"].([]any); ok {
		for _, step := range steps {
			a.steps = append(a.steps, fmt.Sprint(step))
		}
	}
	if rails, ok := keys["guardrails"].(map[string]any); ok {
		a.guarded = notEmpty(rails["input"]) || notEmpty(rails["output"])
	}
	if code, err := g.read("middleware/" + a.name + ".py"); err == nil {
		a.guarded = a.guarded || afterHook.Match(code)
	}
	return a
}

var afterHook = regexp.MustCompile(`(?m)^(async\s+)?def\s+after\s*\(`)

func notEmpty(v any) bool {
	list, ok := v.([]any)
	return ok && len(list) > 0
}

// merge returns the values of a folder with those of a folder or file below it. Those
// win, but mappings are joined, and so are the steps of a sequence.
func merge(base, over map[string]any, at string) map[string]any {
	merged := make(map[string]any, len(base)+len(over))
	maps.Copy(merged, base)
	for key, v := range over {
		switch was := merged[key].(type) {
		case map[string]any:
			if now, ok := v.(map[string]any); ok {
				v = merge(was, now, at+key+".")
			}
		case []any:
			now, ok := v.([]any)
			switch path := at + key; {
			case !ok:
			case path == "agents":
				v = union(was, now)
			case path == "guardrails.input", path == "guardrails.output":
				v = append(slices.Clone(was), now...) // by name, which does not matter here
			}
		}
		merged[key] = v
	}
	return merged
}

func union(lists ...[]any) (all []any) {
	seen := make(map[string]bool)
	for _, v := range slices.Concat(lists...) {
		if name := fmt.Sprint(v); !seen[name] {
			seen[name] = true
			all = append(all, v)
		}
	}
	return all
}
