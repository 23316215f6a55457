package connic_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/connic-go/connic"
)

// auditLog answers with the entries that have appeared, newest first.
type auditLog []loggedEntry

type loggedEntry struct {
	text        string
	at, appears time.Time
}

func (l auditLog) RoundTrip(r *http.Request) (*http.Response, error) {
	from, _ := time.Parse(time.RFC3339Nano, r.URL.Query().Get("from"))
	var offset int
	_, _ = fmt.Sscan(r.URL.Query().Get("offset"), &offset)
	var shown []string
	for _, e := range l {
		if !e.appears.After(time.Now()) && !e.at.Before(from) {
			shown = append(shown, e.text)
		}
	}
	slices.Reverse(shown)
	shown = shown[min(offset, len(shown)):]
	return respondWith(r, http.StatusOK, "["+strings.Join(shown[:min(100, len(shown))], ",")+"]"), nil
}

// followed is what comes of following a log for ten minutes.
func followed(t *testing.T, log auditLog) map[string]int {
	t.Helper()
	client, err := connic.New("p", "cnc_key", connic.WithHTTPClient(&http.Client{Transport: log}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	got := make(map[string]int)
	for e, err := range client.AuditLogs.Follow(ctx, &connic.AuditLogListParams{From: time.Now().Add(-time.Hour)}) {
		if err == nil {
			got[e.Action+e.ID]++
		}
	}
	return got
}

// An entry that comes a minute late stands behind more than a page of others.
func TestFollowALateEntryInABusyLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log auditLog
		start := time.Now()
		for i := range 300 {
			at := start.Add(time.Duration(i) * time.Second / 4)
			e := loggedEntry{fmt.Sprintf(`{"id":"%d","action":"a","timestamp":%q}`, i, at.Format(time.RFC3339Nano)), at, at}
			if i == 20 {
				e.appears = at.Add(100 * time.Second)
			}
			log = append(log, e)
		}
		got := followed(t, log)
		if len(got) != 300 || got["a20"] != 1 {
			t.Errorf("%d of 300 entries came, the late one %d times", len(got), got["a20"])
		}
	})
}

// Entries without an id are told apart by what else they say.
func TestFollowEntriesWithoutIDs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log auditLog
		for i := range 30 {
			at := time.Now().Add(time.Duration(i) * 10 * time.Second)
			log = append(log, loggedEntry{fmt.Sprintf(`{"action":"a%d","timestamp":%q}`, i, at.Format(time.RFC3339Nano)), at, at})
		}
		got := followed(t, log)
		for action, n := range got {
			if n != 1 {
				t.Errorf("%s came %d times", action, n)
			}
		}
		if len(got) != 30 {
			t.Errorf("%d of 30 entries came", len(got))
		}
	})
}
