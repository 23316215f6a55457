// Package environ reads the settings of a client from variables and from the
// file .connic, as the vendor's own client does.
package environ

import (
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
)

// The names of the variables and of the file.
const (
	Key         = "CONNIC_API_KEY"
	Project     = "CONNIC_PROJECT_ID"
	Token       = "CONNIC_TOKEN"
	URL         = "CONNIC_API_URL"
	Environment = "CONNIC_ENVIRONMENT"
	File        = ".connic"
)

// A Source holds the key and the project that one source names.
type Source struct {
	Name         string
	Project, Key string
}

// Settings are what was found. Anything may be empty.
type Settings struct {
	URL, Environment string
	Key, Project     Source // the first with a key, and the first with a project
	// Apart reports that sources name different projects, and that the key and
	// the project are not from the same one: the key may belong to either project.
	Apart bool
	// Broken says what could not be used. It matters only if something is
	// missing. It quotes no content.
	Broken []string
}

// Read reads the settings: first the variables [Key] and [Project], then the
// file, then the variable [Token].
func Read(getenv func(string) string, readFile func(string) ([]byte, error)) Settings {
	clean := func(name string) string { return strings.TrimSpace(getenv(name)) }
	found := Settings{URL: clean(URL), Environment: clean(Environment)}
	variables := Source{Name: Key + " and " + Project, Project: clean(Project), Key: clean(Key)}
	if variables.Project != "" && variables.Key != "" {
		found.Key, found.Project = variables, variables
		return found
	}
	file, broken := readCredentials(readFile)
	if broken != "" {
		found.Broken = append(found.Broken, broken)
	}
	token := Source{Name: Token}
	if text := clean(Token); text != "" {
		project, key, ok := strings.Cut(text, ":")
		if !ok {
			found.Broken = append(found.Broken, Token+" is not of the form project_id:api_key")
		} else {
			token.Project, token.Key = strings.TrimSpace(project), strings.TrimSpace(key)
		}
	}
	differ := false
	for _, s := range []Source{variables, file, token} {
		if found.Key.Key == "" {
			found.Key = s
		}
		switch {
		case found.Project.Project == "":
			found.Project = s
		case s.Project != "" && s.Project != found.Project.Project:
			differ = true
		}
	}
	found.Apart = differ && found.Key.Name != found.Project.Name
	return found
}

// readCredentials reads the file. A broken one counts as absent, as in the
// vendor's own client: containers mount directories in its place.
func readCredentials(readFile func(string) ([]byte, error)) (s Source, broken string) {
	s.Name = "the file " + File
	data, err := readFile(File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, ""
	case err != nil:
		return s, "the file " + File + " cannot be read"
	}
	var file struct {
		APIKey    string `json:"api_key"`
		ProjectID string `json:"project_id"`
	}
	if json.Unmarshal(data, &file) != nil {
		// The decoder's error could quote part of the key.
		return s, "the file " + File + " is not JSON with api_key and project_id"
	}
	s.Project, s.Key = strings.TrimSpace(file.ProjectID), strings.TrimSpace(file.APIKey)
	return s, ""
}
