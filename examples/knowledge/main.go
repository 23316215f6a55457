// Knowledge uploads the texts of a folder, waits until they can be found, and
// searches them. The path of a file is its id, so that uploading the folder again
// replaces its entries.
//
//	go run ./examples/knowledge
//	go run ./examples/knowledge ./my-folder "my question"
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/signal"
	"path"
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/examples/internal/service"
)

const namespace = "handbook"

func main() {
	service.Fake() // Delete this line to use Connic.
	folder, question := "examples/knowledge/handbook", "When are refunds paid?"
	if len(os.Args) > 1 {
		folder = os.Args[1]
	}
	if len(os.Args) > 2 {
		question = os.Args[2]
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	client, err := connic.NewFromEnv(connic.WithApplication("knowledge", "1.0")) // also reads CONNIC_ENVIRONMENT
	if err == nil {
		err = upload(ctx, client, os.DirFS(folder), os.Stdout)
		if err == nil {
			err = search(ctx, client, question, os.Stdout)
		}
		err = errors.Join(err, client.Close())
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "knowledge:", err)
		os.Exit(1)
	}
}

// upload uploads the texts of a folder. One that fails does not stop the others.
func upload(ctx context.Context, client *connic.Client, folder fs.FS, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, time.Hour) // 3,600 files at 60 requests a minute
	defer cancel()
	texts := make(map[string]connic.Document)
	err := fs.WalkDir(folder, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(name) != ".md" {
			return err
		}
		data, err := fs.ReadFile(folder, name)
		id := strings.ReplaceAll(name, "/", "~") // an id has no slash
		texts[name] = connic.TextUpload{EntryID: id, Namespace: namespace, Content: string(data)}
		return err
	})
	if err != nil {
		return err
	}
	var failed []error
	var jobs []string
	for r, err := range client.Knowledge.UploadAll(ctx, maps.All(texts), nil) {
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", r.Key, err))
		} else if r.Value.JobID != "" { // otherwise there is nothing to wait for
			jobs = append(jobs, r.Value.JobID)
		}
	}
	for _, err := range client.Knowledge.WaitJobs(ctx, jobs, nil) {
		if err != nil {
			failed = append(failed, err)
		}
	}
	_, err = fmt.Fprintf(w, "%d of %d texts uploaded\n", len(texts)-len(failed), len(texts))
	return errors.Join(append(failed, err)...)
}

// search writes the text that answers a question best.
func search(ctx context.Context, client *connic.Client, question string, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	found, err := client.Knowledge.Query(ctx, connic.KnowledgeQuery{Query: question, Namespace: namespace, MaxResults: 1})
	if err != nil {
		return err
	}
	for _, m := range found.Items {
		if _, err := fmt.Fprintf(w, "%s: %s\n", m.EntryID, strings.TrimSpace(m.Content)); err != nil {
			return err
		}
	}
	return nil
}
