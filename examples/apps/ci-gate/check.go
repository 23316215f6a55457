package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/examples/apps/internal/progress"
)

// setup holds what a gate needs.
type setup struct {
	client *connic.Client
	suite  *Suite
	line   *progress.Line
}

func newSetup(client *connic.Client, suite *Suite, line *progress.Line) setup {
	return setup{client, suite, line}
}

var errTimeout = errors.New("the time of -timeout is over")

// check runs a gate, writes its reports, and returns the exit code. It writes
// the reports in any case, with whatever is known.
func check(ctx context.Context, p setup, name string, conf options, stdout io.Writer) int {
	j, err := openJournal(conf.state)
	if err != nil {
		p.line.Say("ci-gate: %v", err)
		return exitUsage
	}
	begin := time.Now()
	limited, done := context.WithTimeoutCause(ctx, conf.timeout, errTimeout)
	defer done()
	g := newGate(p.client, p.suite, j, p.line)
	err = g.run(limited, conf.again)
	if g.judges == nil { // the judges were not found, and nothing was triggered
		p.line.Say("ci-gate: %v", err)
		_ = j.finish(false)
		return exitUsage
	}
	p.line.Done()
	r := &report{suite: name, results: g.results, cost: g.runs.Cost, took: time.Since(begin), err: err}
	code := r.code(ctx)
	settled := g.settled()
	if failed := r.write(conf, stdout); failed != nil {
		p.line.Say("ci-gate: %v", failed)
		if code == exitPassed {
			code = exitIncomplete
		}
		settled = false
	}
	if failed := j.finish(settled); failed != nil {
		p.line.Say("ci-gate: %v", failed)
	}
	if conf.state != "" && !settled {
		p.line.Say("start again with -state %s to resume", conf.state)
	}
	return code
}

func (r *report) code(ctx context.Context) int {
	switch {
	case ctx.Err() != nil:
		return exitInterrupted
	case r.count(Errored)+r.count(Skipped) > 0, r.err != nil:
		return exitIncomplete
	case r.count(Failed) > 0:
		return exitFailed
	}
	return exitPassed
}

func (r *report) write(conf options, stdout io.Writer) error {
	err := r.table(stdout)
	if conf.junit != "" {
		if failed := replaceFile(conf.junit, r.junit); failed != nil {
			err = errors.Join(err, fmt.Errorf("the JUnit file: %w", failed))
		}
	}
	if conf.summary != "" {
		if failed := appendFile(conf.summary, r.summary); failed != nil {
			err = errors.Join(err, fmt.Errorf("the summary: %w", failed))
		}
	}
	return err
}
