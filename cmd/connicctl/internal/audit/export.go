package audit

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/gofrs/flock"
)

type exporter struct {
	app      *cli.App
	client   *connic.Client
	conf     options
	emit     func(line []byte) error // writes a line, unless there is a file
	state    *state
	out      *output
	exported int
}

// run exports what there is, and what comes if it is to follow.
func (x *exporter) run(ctx context.Context) (err error) {
	if x.conf.state != "" {
		lock := flock.New(x.conf.state + ".lock")
		locked, err := lock.TryLock()
		if err == nil && !locked {
			err = &cli.ExitError{Status: cli.ExitLater, Err: fmt.Errorf("%s is in use by another export", x.conf.state)}
		}
		if err != nil {
			return err
		}
		defer func() { _ = lock.Close() }()
	}
	if x.state, err = openState(x.conf); err != nil {
		return err
	}
	if x.out, err = openOutput(x.conf, x.state, x.emit); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.out.close()) }()
	if x.conf.follow && x.conf.state == "" && x.conf.params.From.IsZero() {
		return x.follow(ctx)
	}
	if err := x.catchUp(ctx); err != nil {
		if x.conf.state != "" && !errors.Is(err, errStopped) {
			x.app.Progress.Say("the next export with %s goes on where this one stopped", x.conf.state)
		}
		return err
	}
	if x.conf.file != "" && !x.conf.quiet {
		x.app.Progress.Say("%d entries exported to %s", x.exported, x.conf.file)
	}
	if x.conf.follow {
		return x.follow(ctx)
	}
	return nil
}

// lineOf returns an entry as a line, as the service sent it, and its identity. The
// line of one that was exported before is nil.
func (x *exporter) lineOf(e *connic.AuditEntry) (line []byte, key string, err error) {
	raw := e.Raw()
	if raw == nil {
		return nil, "", errors.New("the entry has lost its JSON")
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, "", err
	}
	line = append(b.Bytes(), '\n')
	key = keyOf(e, line)
	if _, old := x.state.Recent[key]; old {
		x.state.seen(key, e.Timestamp)
		line = nil
	}
	return line, key, nil
}

func keyOf(e *connic.AuditEntry, line []byte) string {
	if e.ID != "" {
		return e.ID
	}
	sum := sha256.Sum256(line)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// since returns the start of the next export.
func (x *exporter) since() time.Time {
	if x.state.Through.IsZero() {
		return x.conf.params.From
	}
	if since := x.state.Through.Add(-overlap); since.After(x.conf.params.From) {
		return since
	}
	return x.conf.params.From
}

// catchUp exports the existing entries. The service lists the newest entries
// first, and the export is oldest first, so entries are spooled to a file until
// all of them have arrived. If an export is interrupted, the next one continues
// it, and then looks for newer entries.
func (x *exporter) catchUp(ctx context.Context) error {
	for {
		s, err := openSpool(x.conf.state, head{x.state.Query, x.since().UTC(), x.conf.params.To.UTC()})
		if err != nil {
			return err
		}
		resumed := len(s.items) > 0
		if err = x.fetch(ctx, s); err == nil {
			err = x.deliver(s)
		}
		if err = errors.Join(err, s.close(err == nil)); err != nil || !resumed {
			return err
		}
	}
}

// fetch adds the missing entries to the spool.
func (x *exporter) fetch(ctx context.Context, s *spool) error {
	params := x.conf.params
	params.From = s.head.Since
	if at := s.reached(); !at.IsZero() {
		if params.To = at.Add(overlap); params.To.Before(params.From) {
			return nil
		}
	}
	for e, err := range x.client.AuditLogs.All(ctx, &params, connic.KeepRaw()) {
		if err != nil {
			return err
		}
		// The service may not filter by time.
		if at := e.Timestamp; s.early(at) || !at.IsZero() && !x.conf.params.To.IsZero() && !at.Before(x.conf.params.To) {
			continue
		}
		line, key, err := x.lineOf(e)
		if err != nil {
			return err
		}
		if line == nil || s.keys[key] {
			continue
		}
		if err := s.add(line, key, e.Timestamp); err != nil {
			return err
		}
		if len(s.items)%100 == 0 { // a page
			x.app.Progress.Show("%d entries, back to %s", len(s.items), x.app.Time(e.Timestamp))
		}
	}
	return nil
}

// deliver writes the spool to the output, oldest first.
func (x *exporter) deliver(s *spool) error {
	if len(s.items) == 0 {
		return nil
	}
	slices.Reverse(s.items)
	slices.SortStableFunc(s.items, func(a, b item) int { return a.at.Compare(b.at) })
	if err := x.save(true); err != nil {
		return err
	}
	for _, i := range s.items {
		if s.early(i.at) {
			continue
		}
		line, err := s.line(i)
		if err == nil {
			err = x.out.write(line)
		}
		if err != nil {
			return err
		}
		x.state.seen(i.key, i.at)
		x.exported++
	}
	return x.save(false)
}

// save completes what was written and records it, and whether more is written.
func (x *exporter) save(open bool) error {
	if err := x.out.sync(); err != nil {
		return err
	}
	x.state.Open, x.state.Size = open, x.out.size
	return x.state.save()
}

const saveEvery = time.Second

// follow exports new entries as they appear.
func (x *exporter) follow(ctx context.Context) (err error) {
	params := x.conf.params
	if params.From = x.since(); params.From.IsZero() && x.conf.state != "" { // nothing has happened yet
		params.From = time.Now().Add(-overlap)
	}
	if err := x.save(true); err != nil {
		return err
	}
	saved := time.Now()
	defer func() { err = cmp.Or(err, x.save(false)) }()
	x.app.Progress.Show("waiting for entries; Ctrl-C ends it")
	for e, err := range x.client.AuditLogs.Follow(ctx, &params, connic.WithRequestOptions(connic.KeepRaw())) {
		if err != nil {
			return err
		}
		line, key, err := x.lineOf(e)
		if err != nil {
			return err
		}
		if line == nil {
			continue
		}
		if err := cmp.Or(x.out.write(line), x.out.flush()); err != nil {
			return err
		}
		x.state.seen(key, e.Timestamp)
		x.exported++
		x.app.Progress.Show("waiting for entries; so far: %d", x.exported)
		if time.Since(saved) >= saveEvery {
			saved = time.Now()
			if err := x.save(true); err != nil {
				return err
			}
		}
	}
	return nil
}
