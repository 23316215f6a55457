package connic_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
)

// Seven days of waiting cost at most a request a minute, and the decision of
// another process is seen within that.
func TestDaysOfApproval(t *testing.T) {
	t.Parallel()
	days := 7*24*time.Hour - time.Minute
	if raceDetector {
		days = 24 * time.Hour
	}
	for name, wait := range map[string]func(t *testing.T, c *connic.Client, a *connic.Approval) error{
		"a run": func(t *testing.T, c *connic.Client, a *connic.Approval) error {
			t.Helper()
			_, err := c.Runs.Wait(t.Context(), a.RunID)
			return err
		},
		"a run with a function": func(t *testing.T, c *connic.Client, a *connic.Approval) error {
			t.Helper()
			_, err := c.Runs.Wait(t.Context(), a.RunID, connic.OnApproval(func(ctx context.Context, _ *connic.Approval) (connic.Decision, error) {
				<-ctx.Done()
				return connic.Decision{}, ctx.Err()
			}))
			return err
		},
		"an approval": func(t *testing.T, c *connic.Client, a *connic.Approval) error {
			t.Helper()
			decided, err := c.Approvals.Wait(t.Context(), a.ID)
			if err == nil && decided.Status != connic.ApprovalApproved {
				err = fmt.Errorf("it is %s", decided.Status)
			}
			return err
		},
		"the queue": func(t *testing.T, c *connic.Client, _ *connic.Approval) error {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), days)
			defer cancel()
			n := 0
			for _, err := range c.Approvals.Follow(ctx, nil) {
				if err != nil && ctx.Err() == nil {
					return err
				}
				n++
			}
			if n != 2 { // the approval, and the end
				return fmt.Errorf("%d pairs", n)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				srv, c := asking(t, 1, payment)
				run := paused(t, c)
				before, start := len(srv.Requests()), time.Now()
				sent := 0
				other := srv.Client(connic.WithObserver(func(_ context.Context, e connic.Event) {
					if e.Kind == connic.EventAttempt {
						sent++
					}
				}))
				time.AfterFunc(days, func() { srv.Approve(run.Approval.ID) })
				if err := wait(t, other, run.Approval); err != nil {
					t.Fatal(err)
				}
				took := time.Since(start)
				most := int(took/time.Minute) + 15
				t.Logf("%d requests in %v (%d kept by the fake)", sent, took, len(srv.Requests())-before)
				if sent > most || sent < 100 {
					t.Errorf("%d requests, want at most %d", sent, most)
				}
				if took < days || took > days+2*time.Minute {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// A decision with the same client is seen at once.
func TestDecisionsResumeWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, c := asking(t, 1, payment)
		run := paused(t, c)
		decided := make(chan time.Time, 1)
		time.AfterFunc(24*time.Hour, func() {
			decided <- time.Now()
			if _, err := c.Approvals.Approve(t.Context(), run.Approval.ID); err != nil {
				t.Error(err)
			}
		})
		run, err := c.Runs.Wait(t.Context(), run.ID)
		if after := time.Since(<-decided); err != nil || run.Output != "paid " || after > 3*time.Second {
			t.Errorf("%+v, %v after %v", run, err, after)
		}
	})
}

// New approvals are yielded as they come, once each, the oldest first.
func TestFollowApprovals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, c := asking(t, 1, payment)
		first, second := paused(t, c), paused(t, c)
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Hour)
		defer cancel()
		started := make(chan string, 1)
		time.AfterFunc(time.Hour, func() { started <- spend(t, c, "payer", "m") })
		time.AfterFunc(2*time.Hour, func() { srv.Approve(first.ID) })
		var runs []string
		for a, err := range c.Approvals.Follow(ctx, &connic.ApprovalListParams{AgentName: "payer"}) {
			if err != nil {
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				break
			}
			runs = append(runs, a.RunID)
		}
		if !slices.Equal(runs, []string{first.ID, second.ID, <-started}) {
			t.Errorf("it yields %v", runs)
		}
	})
}
