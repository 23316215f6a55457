package connictest

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/yaml"
)

// declared returns the paths of the YAML files in a folder, at any depth.
func declared(files map[string]string, folder string) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasPrefix(name, folder+"/") && strings.EqualFold(path.Ext(name), ".yaml") {
			names = append(names, name)
		}
	}
	return names
}

func stem(name string) string { return strings.TrimSuffix(path.Base(name), path.Ext(name)) }

// agentNames returns the names of the agents in a project: those of the YAML
// files in the folder agents, except _defaults.yaml. The name is the value of
// the key name, or else the name of the file.
func agentNames(files map[string]string) []string {
	names := []string{}
	for _, file := range declared(files, "agents") {
		if path.Base(file) == "_defaults.yaml" {
			continue
		}
		name := stem(file)
		for line := range strings.Lines(files[file]) {
			// An agent may contain YAML that the fake does not understand.
			if value, ok := strings.CutPrefix(line, "name:"); ok {
				if text, err := yaml.Decode([]byte(value)); err == nil && text != nil {
					name = fmt.Sprint(text)
				}
				break
			}
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// readSuites reads the test suites of a project: the YAML files in the folder
// tests. The problem names the first invalid file.
func readSuites(files map[string]string, agents []string) (cases []connic.TestCase, problem string) {
	for _, file := range declared(files, "tests") {
		value, err := yaml.Decode([]byte(files[file]))
		if err != nil {
			return nil, file + ": " + err.Error()
		}
		if value == nil {
			continue // an empty suite is skipped
		}
		suite := &reader{}
		found := suite.cases(value, stem(file))
		if suite.problem == "" && !slices.Contains(agents, found[0].AgentName) {
			suite.problem = fmt.Sprintf("unknown agent %q; the project has %q", found[0].AgentName, agents)
		}
		if suite.problem != "" {
			return nil, file + ": " + suite.problem
		}
		cases = append(cases, found...)
	}
	return cases, ""
}

// reader reads a suite, and records the first problem. Of the many keys of a
// case it knows those that determine which cases there are and how often they
// run.
type reader struct{ problem string }

func (r *reader) refuse(format string, args ...any) {
	if r.problem == "" {
		r.problem = fmt.Sprintf(format, args...)
	}
}

func (r *reader) cases(value any, agent string) []connic.TestCase {
	suite, isMap := value.(map[string]any)
	if !isMap {
		r.refuse("a suite is a mapping")
		return nil
	}
	agent = r.text(suite, "agent", agent)
	defaults := map[string]any{}
	if value := suite["defaults"]; value != nil {
		if defaults, isMap = value.(map[string]any); !isMap {
			r.refuse("defaults is a mapping")
		}
	}
	runs, threshold := r.number(defaults, "runs", 1), r.number(defaults, "success_threshold", 100)
	list, _ := suite["tests"].([]any)
	if len(list) == 0 {
		r.refuse("tests is a list of at least one case")
	}
	names := make(map[string]bool)
	var cases []connic.TestCase
	for i, element := range list {
		test, isMap := element.(map[string]any)
		if !isMap {
			r.refuse("case %d is not a mapping", i+1)
			continue
		}
		name := r.text(test, "name", "")
		switch {
		case name == "" || utf8.RuneCountInString(name) > 120:
			r.refuse("case %d needs a name of 1 to 120 characters", i+1)
		case names[name]:
			r.refuse("the name %q comes twice", name)
		case r.text(test, "payload", "") == "" && test["payload"] == nil && r.text(test, "builder", "") == "":
			r.refuse("the case %q needs a payload or a builder", name)
		}
		names[name] = true
		c := connic.TestCase{AgentName: agent, TestName: name, Passed: true}
		c.Runs = r.number(test, "runs", runs)
		c.Successes = c.Runs
		set(&c.SuccessThreshold, r.number(test, "success_threshold", threshold))
		cases = append(cases, c)
	}
	return cases
}

func set[N int | float64](target *N, value int) { *target = N(value) }

func (r *reader) text(from map[string]any, key, fallback string) string {
	value, isText := from[key].(string)
	switch {
	case from[key] == nil:
		return fallback
	case !isText:
		r.refuse("%s is a text; put it in quotes", key)
	}
	return value
}

// number reads a number from 1 to 100: a number of runs, or a percentage.
func (r *reader) number(from map[string]any, key string, fallback int) int {
	value, isNumber := from[key].(int64)
	switch {
	case from[key] == nil:
		return fallback
	case !isNumber || value < 1 || value > 100:
		r.refuse("%s is a whole number from 1 to 100", key)
	}
	return int(value)
}
