package connic

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
)

// The names of the variables and the file that NewFromEnv reads.
const (
	envKey         = "CONNIC_API_KEY"
	envProject     = "CONNIC_PROJECT_ID"
	envToken       = "CONNIC_TOKEN"
	envURL         = "CONNIC_API_URL"
	envEnvironment = "CONNIC_ENVIRONMENT"
	envFile        = ".connic"
)

// environ holds the settings that NewFromEnv found.
type environ struct {
	project, url, environment string
	key                       APIKey
}

// credentials holds the key and project of one source.
type credentials struct {
	source       string
	project, key string
}

// readEnvironment reads credentials from variables and from the file .connic in
// the working directory.
func readEnvironment(getenv func(string) string, readFile func(string) ([]byte, error)) (environ, error) {
	clean := func(name string) string { return strings.TrimSpace(getenv(name)) }
	env := environ{url: clean(envURL), environment: clean(envEnvironment)}
	variables := credentials{source: envKey + " and " + envProject, project: clean(envProject), key: clean(envKey)}
	if variables.project != "" && variables.key != "" {
		env.project, env.key = variables.project, APIKey(variables.key)
		return env, nil
	}
	file, broken := readCredentials(readFile)
	token := credentials{source: envToken}
	if text := clean(envToken); text != "" {
		var ok bool
		if token.project, token.key, ok = strings.Cut(text, ":"); !ok {
			token.project = ""
			broken = append(broken, envToken+" is not of the form project_id:api_key")
		}
		token.project, token.key = strings.TrimSpace(token.project), strings.TrimSpace(token.key)
	}
	// The first source with a key, and the first with a project.
	var key, project credentials
	differ := false
	for _, c := range []credentials{variables, file, token} {
		if key.key == "" {
			key = c
		}
		switch {
		case project.project == "":
			project = c
		case c.project != "" && c.project != project.project:
			differ = true
		}
	}
	env.project, env.key = project.project, APIKey(key.key)
	bad := func(reason string) (environ, error) {
		var reasonSb69 strings.Builder
		for _, b := range broken {
			reasonSb69.WriteString("; " + b)
		}
		reason += reasonSb69.String()
		return environ{}, &ArgumentError{Op: "connic.NewFromEnv", Arg: "credentials", Reason: reason}
	}
	var missing []string
	if env.key == "" {
		missing = append(missing, "an API key ("+envKey+"; see Project Settings → API Keys & MCP Auth)")
	}
	if env.project == "" {
		missing = append(missing, "a project id ("+envProject+"; see Project Settings → General)")
	}
	switch {
	case len(missing) > 0:
		return bad("lack " + strings.Join(missing, " and ") + "; looked at " + envKey + ", " + envProject + ", the file " +
			envFile + " (JSON with api_key and project_id) and " + envToken + " (project_id:api_key)")
	case differ && key.source != project.source:
		// The key could belong to either project.
		return bad("do not go together: the API key is from " + key.source + ", the project id is from " + project.source +
			", and the sources name different projects; set both " + envKey + " and " + envProject)
	}
	return env, nil
}

// readCredentials reads the file .connic. As in the vendor's own client, a
// broken file counts as absent: containers mount directories in its place. The
// defect is reported if something is missing.
func readCredentials(readFile func(string) ([]byte, error)) (c credentials, broken []string) {
	c.source = "the file " + envFile
	data, err := readFile(envFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c, nil
	case err != nil:
		return c, []string{"the file " + envFile + " cannot be read"}
	}
	var file struct {
		APIKey    string `json:"api_key"`
		ProjectID string `json:"project_id"`
	}
	if json.Unmarshal(data, &file) != nil {
		// The decoder's error could quote part of the key.
		return c, []string{"the file " + envFile + " is not JSON with api_key and project_id"}
	}
	c.project, c.key = strings.TrimSpace(file.ProjectID), strings.TrimSpace(file.APIKey)
	return c, nil
}

func osEnvironment() (environ, error) { return readEnvironment(os.Getenv, os.ReadFile) }
