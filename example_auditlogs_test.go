package connic_test

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// The audit log shows who changed the judges, and what they were before.
func ExampleAuditLogsService_All() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("support", nil)
	client := srv.Client()
	ctx := context.Background()
	judge, err := client.Judges.Create(ctx, connic.JudgeCreate{
		Name: "tone", AgentName: "support", Model: "openai/gpt-5", Criteria: []connic.Criterion{{Name: "tone", MaxScore: 5}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := client.Judges.Update(ctx, judge.ID, connic.JudgeUpdate{Name: connic.Set("strict tone")}); err != nil {
		fmt.Println(err)
		return
	}

	for entry, err := range client.AuditLogs.All(ctx, &connic.AuditLogListParams{ResourceType: "judge"}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		var before struct {
			Name string `json:"name"`
		}
		if entry.Before != nil {
			if err := json.Unmarshal(entry.Before, &before); err != nil {
				fmt.Println(err)
				return
			}
		}
		fmt.Printf("%s by %s, before: %q\n", entry.Action, entry.Actor, before.Name)
	}
	// Output:
	// judges.update by cnc_…cess, before: "tone"
	// judges.create by cnc_…cess, before: ""
}

// Changes are reported as they happen. To resume after a restart, store the ids
// of the entries of the last minutes, and skip them. Pass as From the Timestamp
// of the last entry, or the time of the restart if that is earlier, less two
// minutes.
func ExampleAuditLogsService_Follow() {
	srv := connictest.New()
	defer srv.Close()
	srv.Agent("support", nil)
	client := srv.Client()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	start := time.Now().Add(-time.Minute)
	judge, err := client.Judges.Create(ctx, connic.JudgeCreate{
		Name: "tone", AgentName: "support", Model: "openai/gpt-5", Criteria: []connic.Criterion{{Name: "tone", MaxScore: 5}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	quick := connic.WithPoll(time.Millisecond, time.Millisecond) // only against a fake
	for entry, err := range client.AuditLogs.Follow(ctx, &connic.AuditLogListParams{From: start}, quick) {
		if err != nil {
			fmt.Println(err) // the context's error when it ends
			return
		}
		fmt.Println(entry.Action)
		if entry.Action == "judges.delete" {
			break
		}
		if err := client.Judges.Delete(ctx, judge.ID); err != nil {
			fmt.Println(err)
			return
		}
	}
	// Output:
	// judges.create
	// judges.delete
}
