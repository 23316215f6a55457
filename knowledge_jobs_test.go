package connic_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

func TestWaitJob(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, srv *connictest.Server, client *connic.Client) {
		srv.IngestionTime(8 * time.Second)
		attempts := 0
		srv.FailIngestion(func(e connictest.IngestedEntry) error {
			attempts++
			if e.EntryID == "good" && e.Attempt == 2 && e.Metadata["k"] == "v" && e.Content == "text" && e.EnvironmentID == "env-test" {
				return nil
			}
			return errors.New("no way")
		})
		good := upload(t, client, connic.TextUpload{Content: "text", EntryID: "good", Metadata: map[string]any{"k": "v"}})
		bad := upload(t, client, connic.TextUpload{Content: "text", EntryID: "bad"})
		var seen []string
		start := time.Now()
		job, err := client.Knowledge.WaitJob(t.Context(), good.JobID, &connic.KnowledgeParams{EnvironmentID: "env-test"},
			connic.WithPoll(time.Second, time.Second), connic.WithProgress(func(e connic.WaitEvent) {
				if e.Kind != "ingestion job" || e.ID != good.JobID || e.Err != nil {
					t.Errorf("event %+v", e)
				}
				seen = append(seen, e.Status)
			}))
		if err != nil || job.Status != connic.JobCompleted {
			t.Errorf("it ended as %+v, %v", job, err)
		}
		if took := time.Since(start); took < 16*time.Second || took > 18*time.Second {
			t.Errorf("the wait took %v", took)
		}
		if got := slices.Compact(seen); !slices.Equal(got, []string{"queued", "processing", "retrying", "completed"}) {
			t.Errorf("it was seen %q", got)
		}
		job, err = client.Knowledge.WaitJob(t.Context(), bad.JobID, nil)
		var failed *connic.JobError
		if !errors.As(err, &failed) || failed.Job != job || job.Status != connic.JobFailed || job.Error != "no way" || errors.Is(err, connic.ErrUnknownStatus) {
			t.Errorf("the other ended as %+v, %v", job, err)
		}
		if want := "connic: ingestion job " + bad.JobID + " of entry bad ended: failed: no way"; err == nil || err.Error() != want {
			t.Errorf("the error reads %q, want %q", err, want)
		}
		if attempts != 4 {
			t.Errorf("%d attempts to ingest, want 4", attempts)
		}
		failedJobs, err := connic.Collect(client.Knowledge.AllJobs(t.Context(), &connic.JobListParams{Status: connic.JobFailed}), 0)
		if err != nil || len(failedJobs) != 1 || failedJobs[0].ID != bad.JobID {
			t.Errorf("failed jobs: %+v, %v", failedJobs, err)
		}
		page, err := client.Knowledge.Jobs(t.Context(), &connic.JobListParams{Limit: 1})
		if err != nil || len(page.Items) != 1 || page.Items[0].ID != bad.JobID || page.Total != 2 || !page.HasNext() {
			t.Errorf("the first page of jobs is %+v, %v", page, err)
		}
	})
}

func TestWaitJobEndsEarly(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, srv *connictest.Server, client *connic.Client) {
		srv.IngestionTime(time.Hour)
		i := upload(t, client, connic.TextUpload{Content: "text"})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		job, err := client.Knowledge.WaitJob(ctx, i.JobID, nil)
		var wait *connic.WaitError
		if !errors.As(err, &wait) || !errors.Is(err, context.DeadlineExceeded) || wait.ID != i.JobID || wait.LastStatus != "queued" || job.EntryID != i.EntryID {
			t.Errorf("the wait ended with %+v, %v", job, err)
		}
		if job, err := client.Knowledge.WaitJob(t.Context(), "nobody", nil); !errors.Is(err, connic.ErrNotFound) || job.ID != "nobody" {
			t.Errorf("an unknown job: %+v, %v", job, err)
		}
		var argument *connic.ArgumentError
		//nolint:staticcheck // a nil context is what is tested
		if _, err := client.Knowledge.WaitJob(nil, i.JobID, nil); !errors.As(err, &argument) {
			t.Errorf("a nil context: %v", err)
		}
		start := time.Now()
		if _, err := client.Knowledge.WaitJob(t.Context(), "a/b", nil); !errors.As(err, &argument) || time.Since(start) > 0 {
			t.Errorf("a job id with a slash: %v after %v", err, time.Since(start))
		}
	})
}

// replies returns a client whose requests all get the same response.
func replies(t *testing.T, body string) *connic.Client {
	t.Helper()
	client, err := connic.New("p", "cnc_0123456789", connic.WithEnvironment("e"), connic.WithHTTPClient(&http.Client{
		Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
		}),
	}))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestWaitJobEndsInAnUnknownStatus(t *testing.T) {
	t.Parallel()
	for body, text := range map[string]string{
		`{"id": "j", "status": "hibernating"}`: "connic: ingestion job j has the unknown status hibernating",
		`{"id": "j"}`:                          "connic: ingestion job j was returned without a status",
	} {
		job, err := replies(t, body).Knowledge.WaitJob(t.Context(), "j", nil)
		if !errors.Is(err, connic.ErrUnknownStatus) || job.ID != "j" || err.Error() != text {
			t.Errorf("%s: %+v, %v", body, job, err)
		}
	}
	job, err := replies(t, `{"id": "j", "error": "lost"}`).Knowledge.WaitJob(t.Context(), "j", nil)
	var failed *connic.JobError
	if !errors.As(err, &failed) || errors.Is(err, connic.ErrUnknownStatus) || job.Status != "" {
		t.Errorf("a job with an error and no status: %+v, %v", job, err)
	}
}

func TestJobStatus(t *testing.T) {
	t.Parallel()
	for status, want := range map[connic.JobStatus][2]bool{
		connic.JobPending: {true, false}, connic.JobQueued: {true, false}, connic.JobProcessing: {true, false}, connic.JobRetrying: {true, false},
		connic.JobCompleted: {true, true}, connic.JobFailed: {true, true}, "": {}, "done": {},
	} {
		if got := [2]bool{status.Known(), status.Finished()}; got != want {
			t.Errorf("%q: known, finished are %v, want %v", status, got, want)
		}
	}
}

// TestWaitJobYields verifies that polls yield to calls.
func TestWaitJobYields(t *testing.T) {
	t.Parallel()
	lanes := &lanes{Limiter: connic.NewLimiter(60, time.Minute)}
	client := connictest.New().Client(connic.WithEnvironment("env-test"), connic.WithLimiter(lanes))
	i := upload(t, client, connic.TextUpload{Content: "text"})
	if _, err := client.Knowledge.GetJob(t.Context(), i.JobID, nil); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := client.Knowledge.WaitJob(ctx, i.JobID, nil, connic.WithProgress(func(connic.WaitEvent) { cancel() }))
	if want := []connic.Lane{connic.LaneCall, connic.LaneCall, connic.LanePoll}; !slices.Equal(lanes.seen, want) || !errors.Is(err, context.Canceled) {
		t.Errorf("the lanes were %v, want %v; %v", lanes.seen, want, err)
	}
}

type lanes struct {
	connic.Limiter
	seen []connic.Lane
}

func (l *lanes) Acquire(ctx context.Context, a connic.Admission) (connic.Permit, error) {
	l.seen = append(l.seen, a.Lane)
	return l.Limiter.Acquire(ctx, a)
}

func TestIngestionsEndInTheirOrder(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, srv *connictest.Server, client *connic.Client) {
		var order []string
		srv.FailIngestion(func(e connictest.IngestedEntry) error {
			order = append(order, e.EntryID)
			return nil
		})
		for _, seconds := range []int{3, 1, 2} {
			srv.IngestionTime(time.Duration(seconds) * time.Second)
			upload(t, client, connic.TextUpload{Content: "text", EntryID: fmt.Sprint(seconds)})
		}
		time.Sleep(time.Minute)
		if n := entryCount(t, client); n != 3 || !slices.Equal(order, []string{"1", "2", "3"}) {
			t.Errorf("%d entries came, in the order %v", n, order)
		}
	})
}

// An upload for which the service names no job does not keep the jobs of the
// others from being waited for.
func TestJobsThatWereNotNamed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := connictest.New()
		defer srv.Close()
		c := srv.Client(connic.WithEnvironment("env-test"))
		first := must[*connic.Ingestion](t)(c.Knowledge.UploadText(t.Context(), connic.TextUpload{Content: "x"}))
		second := must[*connic.Ingestion](t)(c.Knowledge.UploadText(t.Context(), connic.TextUpload{Content: "y"}))
		ended, refused := 0, 0
		for job, err := range c.Knowledge.WaitJobs(t.Context(), []string{first.JobID, "", second.JobID, "a/b"}, nil) {
			var bad *connic.ArgumentError
			switch {
			case errors.As(err, &bad) && bad.Arg == "ingestion job id":
				refused++
			case err == nil && job.Status == connic.JobCompleted:
				ended++
			default:
				t.Errorf("%+v, %v", job, err)
			}
		}
		if ended != 2 || refused != 2 {
			t.Errorf("%d ended, %d were refused", ended, refused)
		}
		for range c.Runs.WaitAll(t.Context(), []string{"", ".."}) {
			break // a caller may leave at the first one
		}
	})
}
