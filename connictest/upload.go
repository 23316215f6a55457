package connictest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/connic-go/connic"
)

// UploadedProject is a project that came as an archive.
type UploadedProject struct {
	ID            string // of the deployment or the test run
	EnvironmentID string
	Files         map[string]string // their contents, by path
	Filter        string            // of a test run
}

// PhaseTime sets how long each phase of deployments and test runs takes that
// begin from now on: 1 s by default. With 0 they are finished at once.
func (s *Server) PhaseTime(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phaseTime = d
}

// FailDeployment makes deployments fail, in the phase build, for which f returns
// an error. It is asked when a project arrives, and must not call methods of the
// Server. A nil f lets all succeed again.
func (s *Server) FailDeployment(f func(UploadedProject) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failDeployment = f
}

// Tests sets the results of a project's tests, for test runs and for the phase
// tests of deployments: one that fails fails those. It is asked when a project
// arrives, and must not call methods of the Server. Without it there is one test
// for each file of the folder tests, which passes.
func (s *Server) Tests(f func(UploadedProject) []connic.TestCase) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tests = f
}

// cases are the results of a project's tests.
func (s *Server) cases(p UploadedProject) []connic.TestCase {
	if s.tests != nil {
		return s.tests(p)
	}
	cases := []connic.TestCase{}
	for _, name := range slices.Sorted(maps.Keys(p.Files)) {
		if test, ok := strings.CutPrefix(name, "tests/"); ok && !strings.Contains(test, "/") && !strings.HasPrefix(test, "__") {
			cases = append(cases, connic.TestCase{
				AgentName: "agent", TestName: strings.TrimSuffix(test, path.Ext(test)), Passed: true, Successes: 1, Runs: 1, SuccessThreshold: 100,
			})
		}
	}
	return cases
}

// What the service takes, as its own client knows it.
const (
	archiveLimit = 25 << 20
	projectLimit = 5 << 20
)

var (
	projectFolders = strings.Fields("agents tools middleware schemas guardrails hooks tests connectors")
	projectEndings = strings.Fields(".py .yaml .txt .json .csv .md .toml .jsonl")
)

// unpack reads files_data. The hash is checked unless it is nil.
func unpack(data, hash *string) (files map[string]string, complaint *answer) {
	bad := func(format string, args ...any) (map[string]string, *answer) {
		a := problem(http.StatusBadRequest, fmt.Sprintf(format, args...))
		return nil, &a
	}
	if data == nil {
		return nil, invalid("Field required", "missing", "body", "files_data")
	}
	archive, err := base64.StdEncoding.DecodeString(*data)
	if err != nil {
		return bad("files_data is not base64: %v", err)
	}
	if len(archive) > archiveLimit {
		return bad("The archive has %d bytes, more than %d", len(archive), archiveLimit)
	}
	if sum := sha256.Sum256(archive); hash != nil && *hash != hex.EncodeToString(sum[:])[:12] {
		return bad("files_hash is not the beginning of the archive's SHA-256")
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return bad("The archive is not a gzip: %v", err)
	}
	files = make(map[string]string)
	var problems []string
	code := 0
	for entries := tar.NewReader(unzipped); ; {
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		var content []byte
		if err == nil {
			content, err = io.ReadAll(entries)
		}
		if err != nil {
			return bad("The archive is not a tar: %v", err)
		}
		free := strings.HasPrefix(h.Name, "tests/files/")
		top, _, nested := strings.Cut(h.Name, "/")
		switch {
		case h.Typeflag == tar.TypeDir:
			continue
		case h.Typeflag != tar.TypeReg, path.Clean(h.Name) != h.Name:
			problems = append(problems, h.Name+" is not a plain file")
		case h.Name == "requirements.txt", free:
		case !nested || !slices.Contains(projectFolders, top):
			problems = append(problems, h.Name+" is in none of the folders "+strings.Join(projectFolders, " "))
		case !slices.Contains(projectEndings, strings.ToLower(path.Ext(h.Name))):
			problems = append(problems, h.Name+" has another ending than "+strings.Join(projectEndings, " "))
		}
		if !free {
			code += len(content)
		}
		files[h.Name] = string(content)
	}
	switch {
	case len(problems) > 0:
		return bad("%s", strings.Join(problems, "; "))
	case code > projectLimit:
		return bad("The files outside tests/files have %d bytes, more than %d", code, projectLimit)
	case len(files) == 0:
		return bad("The archive is empty")
	}
	return files, nil
}

// target is the environment of an upload: the given one, or the default.
func (s *Server) target(id string) (string, *answer) {
	var known []string
	for _, e := range s.environments {
		if e.ID == id || id == "" && e.Default {
			return e.ID, nil
		}
		known = append(known, e.ID)
	}
	a := problem(http.StatusNotFound, "Environment not found; expected the id of one: "+strings.Join(known, ", "))
	return "", &a
}
