package tests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/leaktest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRecordingOfEveryOperation records a conversation with every operation, and
// replays it.
func TestRecordingOfEveryOperation(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "everything.json")
	var key connic.APIKey
	t.Run("record", func(t *testing.T) { //nolint:paralleltest // one after the other
		srv := connictest.New(t)
		srv.Seed(7)
		prepare(srv)
		key = srv.Key()
		fakeConversation(t, connictest.Record(t, path, &connictest.RecordOptions{
			Client: func(opts ...connic.Option) (*connic.Client, error) { return srv.ClientWithKey(key, opts...), nil },
		}).Client(connic.WithEnvironment("env-production")))
	})
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Empty(t, leaktest.For(string(key)).In(string(text)))
	for _, private := range []string{connictest.ProjectID, "north and south", "short", "# west"} {
		assert.NotContains(t, string(text), private)
	}
	var file struct {
		Exchanges []struct {
			Operation string `json:"operation"`
		} `json:"exchanges"`
	}
	require.NoError(t, json.Unmarshal(text, &file))
	seen := make(map[string]bool)
	for _, x := range file.Exchanges {
		seen[x.Operation] = true
	}
	for i := range api.Table {
		assert.True(t, seen[api.Table[i].Name] || api.Table[i].Keyless, api.Table[i].Name)
	}
	t.Run("replay", func(t *testing.T) { //nolint:paralleltest // one after the other
		fakeConversation(t, connictest.Replay(t, path, nil).Client(connic.WithEnvironment("env-production")))
	})
}
