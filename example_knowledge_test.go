package connic_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing/fstest"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func ExampleKnowledgeService_UploadText() {
	srv := connictest.New()
	defer srv.Close()
	srv.IngestionTime(0)
	client := srv.Client(connic.WithEnvironment("env-test"))
	ctx := context.Background()

	// With an id, the upload replaces the entry and can be retried safely.
	upload, err := client.Knowledge.UploadText(ctx, connic.TextUpload{
		Content:   "Refunds are paid within 14 days.",
		Namespace: "support.policies",
		EntryID:   "refunds",
		Metadata:  map[string]any{"team": "support"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := client.Knowledge.WaitJob(ctx, upload.JobID, nil); err != nil {
		fmt.Println(err)
		return
	}
	found, err := client.Knowledge.Query(ctx, connic.KnowledgeQuery{
		Query:     "When are refunds paid?",
		Namespace: "support",
		Filter:    connic.Where("team").Equals("support"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range found.Items {
		fmt.Printf("%s: %s\n", m.EntryID, m.Content)
	}
	// Output: refunds: Refunds are paid within 14 days.
}

func ExampleKnowledgeService_UploadFile() {
	srv := connictest.New()
	defer srv.Close()
	client := srv.Client(connic.WithEnvironment("env-test"))
	handbook := fstest.MapFS{"docs/handbook.md": {Data: []byte("# Handbook")}}

	// For a file on disk, use connic.LocalFile("docs/handbook.md").
	upload, err := client.Knowledge.UploadFile(context.Background(), connic.FileUpload{
		File:      connic.FSFile(handbook, "docs/handbook.md"),
		Namespace: "docs",
		EntryID:   "handbook",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(upload.EntryID, upload.Status)
	// Output: handbook queued
}

// An upload of many documents is interrupted and resumed.
func ExampleKnowledgeService_UploadAll() {
	srv := connictest.New()
	defer srv.Close()
	client := srv.Client(connic.WithEnvironment("env-test"))
	docs := func(yield func(string, connic.Document) bool) {
		for i := range 20 {
			page := connic.TextUpload{Content: fmt.Sprint("page ", i), Namespace: "manual", StableID: true}
			if !yield(fmt.Sprint("page ", i), page) {
				return
			}
		}
	}
	folder, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(folder)
	journal := connic.FileJournal(filepath.Join(folder, "manual.journal"))

	run := func(ctx context.Context, most int) (accepted int) {
		for r, err := range client.Knowledge.UploadAll(ctx, docs, journal) {
			if err != nil {
				fmt.Printf("%s: %v\n", r.Key, err)
				continue
			}
			if accepted++; accepted == most {
				break // as if the program were stopped
			}
		}
		return accepted
	}
	fmt.Println(run(context.Background(), 5))
	// The result at which the loop was left is yielded again.
	fmt.Println(run(context.Background(), 20), srv.Executions("knowledge.upload_text"))
	fmt.Println(run(context.Background(), 20))
	// Output:
	// 5
	// 16 20
	// 0
}
