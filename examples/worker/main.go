// Worker asks a question once, and gets the answer even if the program is killed.
// The file worker.json remembers the question.
//
//	go run ./examples/worker
//
// To kill it, give it a fake that outlives it: start connictest/cmd/connic-fake in
// one terminal, set the variables that it prints in another one, start the worker
// there, stop it with Ctrl-C or kill -9, and start it again. For many questions,
// Agents.TriggerAll does the same.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/examples/internal/service"
)

const agent = "slow"

// A job is what has to be remembered of a question.
type job struct {
	Marker string    `json:"marker,omitempty"` // is in the question, and identifies the run if its id is lost
	Sent   time.Time `json:"sent,omitzero"`    // is when the question was about to be sent
	RunID  string    `json:"run_id,omitempty"` // follows on a line of its own
}

func main() {
	service.Fake() // Delete this line to use Connic.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	client, err := connic.NewFromEnv(connic.WithApplication("worker", "1.0"))
	if err == nil {
		err = errors.Join(work(ctx, client, "worker.json", "How long may I keep the goods?", os.Stdout), client.Close())
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

// work asks the question, unless the file has one, and writes the answer. It
// writes it again if it was killed before it could delete the file.
func work(ctx context.Context, client *connic.Client, file, question string, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	j, err := load(file)
	if errors.Is(err, fs.ErrNotExist) {
		j, err = start(ctx, client, file, question)
	}
	if err == nil && j.RunID == "" {
		j.RunID, err = find(ctx, client, j)
	}
	if err != nil {
		return err
	}
	run, err := client.Runs.Wait(ctx, j.RunID)
	if ended := (*connic.WaitError)(nil); errors.As(err, &ended) {
		return fmt.Errorf("start again to go on, or delete %s to give up: %w", file, err)
	}
	if err == nil {
		_, err = fmt.Fprintln(w, run.Output)
	}
	return errors.Join(err, os.Remove(file)) // a run that failed has ended, too
}

// start records the question, asks it, and records the run.
func start(ctx context.Context, client *connic.Client, file, question string) (job, error) {
	req, marker := connic.TriggerRequest{Message: question}.Marked()
	j := job{Marker: marker, Sent: time.Now()}
	if err := record(file, os.O_CREATE|os.O_EXCL, j); err != nil {
		return j, err
	}
	result, err := client.Agents.Trigger(ctx, agent, req)
	switch {
	case errors.Is(err, connic.ErrOutcomeUnknown):
		return j, nil // to be searched for
	case err != nil:
		return j, errors.Join(err, os.Remove(file)) // it was not asked
	}
	j.RunID = result.RunID
	return j, record(file, os.O_APPEND, job{RunID: j.RunID})
}

// find searches for the run of a question that may have been asked.
func find(ctx context.Context, client *connic.Client, j job) (string, error) {
	found, err := client.Runs.SettleTriggered(ctx, []connic.RunSearch{{Marker: j.Marker, AgentName: agent, Since: j.Sent}})
	if runs := found[j.Marker]; len(runs) > 0 {
		return runs[0].ID, nil
	}
	if err == nil {
		err = errors.New("no run has the question: delete the file to ask it again")
	}
	return "", err
}

func record(file string, flag int, j job) error {
	line, err := json.Marshal(j)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_SYNC|flag, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

func load(file string) (j job, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return j, err
	}
	first, second, _ := strings.Cut(string(text), "\n")
	if err := json.Unmarshal([]byte(first), &j); err != nil {
		return j, fmt.Errorf("nothing was sent: delete %s: %w", file, err)
	}
	_ = json.Unmarshal([]byte(second), &j) // an incomplete id is searched for
	return j, nil
}
