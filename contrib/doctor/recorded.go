package doctor

import (
	"encoding/json"
	"fmt"

	"github.com/connic-go/connic/internal/api"
)

// recordingVersion is the version of the recordings of package connictest that
// Recorded reads.
const recordingVersion = 1

// Recorded compares the responses in recordings, as package connictest writes
// them, with the client's document, as [Live] does with those of the service. It
// also sees the operations that write. Texts, ids and other private values of a
// recording are placeholders of the same type, other than ids that are numbers,
// which are strings.
func Recorded(recordings ...[]byte) (*Report, error) {
	l, err := newLive()
	if err != nil {
		return nil, err
	}
	bodies := make(map[string][][]byte) // of successes, by operation
	for i, text := range recordings {
		var file struct {
			Version   int `json:"version"`
			Exchanges []struct {
				Operation string `json:"operation"`
				Response  struct {
					Status int             `json:"status"`
					Text   string          `json:"text"`
					Body   json.RawMessage `json:"body"`
				} `json:"response"`
			} `json:"exchanges"`
		}
		if err := json.Unmarshal(text, &file); err != nil {
			return nil, fmt.Errorf("recording %d is not one: %w", i+1, err)
		}
		if file.Version != recordingVersion {
			return nil, fmt.Errorf("recording %d has the version %d, want %d", i+1, file.Version, recordingVersion)
		}
		for _, x := range file.Exchanges {
			result := l.results[x.Operation]
			if result == nil || x.Response.Status == 0 {
				continue
			}
			if result.State == Skipped || x.Response.Status < 300 {
				result.Status = x.Response.Status
			}
			switch {
			case x.Response.Status >= 300:
				if result.State == Skipped {
					result.State = Missing
				}
			case x.Response.Text != "":
				result.State = Same
				bodies[x.Operation] = append(bodies[x.Operation], []byte(x.Response.Text))
			default:
				result.State = Same
				if len(x.Response.Body) > 0 {
					bodies[x.Operation] = append(bodies[x.Operation], x.Response.Body)
				}
			}
		}
	}
	for i := range api.Table {
		op := &api.Table[i]
		if answers := bodies[op.Name]; len(answers) > 0 && l.schema(op) != nil {
			l.compare(op, op.Op, l.schema(op), answers)
		}
	}
	l.states()
	l.report.sort()
	return l.report, nil
}
