package connic_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
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
	var docs []connic.Document
	for i := range 20 {
		docs = append(docs, connic.TextUpload{Content: fmt.Sprint("page ", i), Namespace: "manual", StableID: true})
	}

	run := func(ctx context.Context, progress *connic.UploadProgress, most int) {
		n := 0
		for r, err := range client.Knowledge.UploadAll(ctx, slices.Values(docs), &connic.UploadAllParams{Progress: progress}) {
			if err != nil {
				fmt.Printf("document %d: %v\n", r.Index, err)
				continue
			}
			if n++; n == most {
				break // as if the program were stopped
			}
		}
	}
	var progress connic.UploadProgress
	run(context.Background(), &progress, 5)
	saved, err := json.Marshal(&progress) // to a file, for example
	if err != nil {
		fmt.Println(err)
		return
	}

	var loaded connic.UploadProgress
	if err := json.Unmarshal(saved, &loaded); err != nil {
		fmt.Println(err)
		return
	}
	run(context.Background(), &loaded, len(docs))
	fmt.Println(progress.Count() >= 5, loaded.Count(), len(loaded.Unknown()))
	// Output: true 20 0
}
