package audit

import (
	"context"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Standard output has the entries in each form, between the bounds.
func TestStandardOutput(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, func(t *testing.T, r *records) {
		start := time.Now()
		r.change(100)
		for format, marker := range map[string]string{"table": "budget ", "json": `"action"`, "jsonl": `"action"`, "yaml": "action:"} {
			got := r.p.Run("audit", "export", "-o", format,
				"--since", start.Add(10*time.Second).Format(time.RFC3339), "--before", start.Add(20*time.Second).Format(time.RFC3339))
			if n := strings.Count(got.Out, marker); got.Status != 0 || n != 10 || got.Err != "" {
				t.Errorf("%s: %d entries, want 10: %+v", format, n, got)
			}
		}
		want := "TIME                 ACTOR  ACTION"
		if got := r.p.Run("audit", "export"); !strings.HasPrefix(got.Out, want) {
			t.Errorf("got %.80q, want %q", got.Out, want)
		}
	})
}

// With a state, standard output has what is new. It follows from now on without.
func TestStandardOutputGoesOn(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, func(t *testing.T, r *records) {
		state := r.file + ".state"
		for _, n := range []int{130, 0, 7} {
			r.change(n)
			got := r.p.Run("audit", "export", "-o", "jsonl", "--state", state)
			if lines := strings.Count(got.Out, "\n"); got.Status != 0 || lines != n {
				t.Errorf("%d entries, want %d: %s", lines, n, got.Err)
			}
		}
		if got := r.p.Run("audit", "export", "--state", state); got.Status != 2 {
			t.Errorf("%+v", got)
		}
		for _, flags := range [][]string{nil, {"--since", "1s"}, {"--state", state}} {
			ctx, interrupt := context.WithTimeout(t.Context(), time.Minute)
			time.AfterFunc(20*time.Second, func() { r.change(3) })
			got := r.p.RunContext(ctx, append([]string{"audit", "follow", "-o", "jsonl"}, flags...)...)
			interrupt()
			want := 3
			if slices.Contains(flags, state) {
				want = 9 // and those that the others have followed
			}
			if lines := strings.Count(got.Out, "\n"); got.Status != 5 || lines != want {
				t.Errorf("%q: status %d, %d entries, want %d: %s", flags, got.Status, lines, want, got.Err)
			}
		}
	})
}

// What could not be written is exported again.
func TestOutputThatEnds(t *testing.T) {
	t.Parallel()
	inVirtualTime(t, func(t *testing.T, r *records) {
		r.change(120)
		args := []string{"audit", "export", "-o", "jsonl", "--state", r.file + ".state"}
		r.p.Stdout = &pipe{lines: 50}
		if got := r.p.Run(args...); got.Status != 141 || got.Err != "" {
			t.Errorf("%+v", got)
		}
		r.p.Stdout = nil
		if got := r.p.Run(args...); got.Status != 0 || strings.Count(got.Out, "\n") != 120 {
			t.Errorf("%d lines: %s", strings.Count(got.Out, "\n"), got.Err)
		}
	})
}

// A pipe is one whose reader goes after some lines.
type pipe struct{ lines int }

func (p *pipe) Write(b []byte) (int, error) {
	if p.lines--; p.lines < 0 {
		return 0, syscall.EPIPE
	}
	return len(b), nil
}
