package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/connic-go/connic"
	"github.com/spf13/cobra"
)

// shell are the characters that shells obey. Bash completes the common prefix of
// several names without quoting it.
const shell = "$`\"'\\;&|<>(){}[]*?!~#="

// A Kind is a kind of names that are completed.
type Kind string

// The kinds of names.
const (
	Agents       Kind = "agents"       // names
	Runs         Kind = "runs"         // ids
	Environments Kind = "environments" // ids
)

const (
	cacheAge   = 24 * time.Hour
	cacheNames = 200 // of a kind
)

// A Name is a name that can be completed, with a description.
type Name struct {
	Value string `json:"value"`
	About string `json:"about,omitempty"`
}

// names are the names of one kind.
type names struct {
	At    time.Time `json:"at"`
	Names []Name    `json:"names"`
}

// cacheFile returns the name of the file with the names of the project, or "".
// The name does not tell the project.
func (a *App) cacheFile() string {
	found, err := a.Settings()
	if err != nil || found.Project.Project == "" || a.CacheDir == nil {
		return ""
	}
	folder, err := a.CacheDir()
	if err != nil {
		return ""
	}
	sum := sha256.Sum256([]byte(found.URL + "\n" + found.Project.Project))
	return filepath.Join(folder, "connicctl", hex.EncodeToString(sum[:8])+".json")
}

// cached returns the names that are known and not too old.
func (a *App) cached() map[Kind]names {
	known := make(map[Kind]names)
	file := a.cacheFile()
	if file == "" {
		return known
	}
	data, err := a.ReadFile(file)
	if err != nil || json.Unmarshal(data, &known) != nil || known == nil {
		return make(map[Kind]names)
	}
	for kind, n := range known {
		if age := time.Since(n.At); age < 0 || age > cacheAge {
			delete(known, kind)
		}
	}
	return known
}

func (a *App) remembers(kind Kind, value string) bool {
	return slices.ContainsFunc(a.cached()[kind].Names, func(n Name) bool { return n.Value == value })
}

// Remember keeps names for completion, for a day. Commands that list call it with
// what they have listed. Runs are added to those that are known; other kinds are
// replaced. Names that a shell or a command would obey are left out. A cache that cannot be written is no error.
func (a *App) Remember(kind Kind, all []Name) {
	file := a.cacheFile()
	if file == "" || len(all) == 0 {
		return
	}
	safe := slices.DeleteFunc(slices.Clone(all), func(n Name) bool {
		return n.Value == "" || a.Line(n.Value) != n.Value || strings.ContainsFunc(n.Value, unicode.IsSpace) ||
			n.Value[0] == '-' || strings.ContainsAny(n.Value, shell)
	})
	for i := range safe {
		safe[i].About = cut(a.Line(safe[i].About), 60)
	}
	known := a.cached()
	if kind == Runs {
		for _, n := range known[kind].Names {
			if !slices.ContainsFunc(safe, func(s Name) bool { return s.Value == n.Value }) {
				safe = append(safe, n)
			}
		}
	}
	known[kind] = names{time.Now(), safe[:min(len(safe), cacheNames)]}
	data, err := json.Marshal(known)
	if err != nil || os.MkdirAll(filepath.Dir(file), 0o700) != nil {
		return
	}
	_ = Save(file, 0o600, func(w io.Writer) error { _, err := w.Write(data); return err })
}

// RememberAgents keeps the names of agents for completion.
func RememberAgents(a *App, all []*connic.Agent) {
	remember(a, Agents, all, func(v *connic.Agent) Name { return Name{v.Name, v.Description} })
}

// RememberEnvironments keeps the ids of environments for completion.
func RememberEnvironments(a *App, all []*connic.Environment) {
	remember(a, Environments, all, func(v *connic.Environment) Name { return Name{v.ID, v.Name} })
}

// RememberRuns keeps the ids of runs for completion.
func RememberRuns(a *App, all []*connic.Run) {
	remember(a, Runs, all, func(v *connic.Run) Name { return Name{v.ID, v.AgentName + ", " + string(v.Status)} })
}

func remember[T any](a *App, kind Kind, all []T, name func(T) Name) {
	found := make([]Name, len(all))
	for i, v := range all {
		found[i] = name(v)
	}
	a.Remember(kind, found)
}

// Complete returns the completion of names of a kind. It sends no request: it
// knows the names that commands have listed within a day.
func (a *App) Complete(kind Kind) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		var found []string
		for _, n := range a.cached()[kind].Names {
			if strings.HasPrefix(n.Value, begun) {
				found = append(found, cobra.CompletionWithDesc(n.Value, n.About))
			}
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}
