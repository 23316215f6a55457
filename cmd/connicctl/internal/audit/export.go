package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/examples/apps/internal/progress"
)

type exporter struct {
	client   *connic.Client
	conf     options
	state    *state
	out      *output
	line     *progress.Line
	exported int
}

// lineOf returns an entry as a line, as the service sent it, and its identity.
func lineOf(e *connic.AuditEntry) (line []byte, key string, err error) {
	raw := e.Raw()
	if raw == nil {
		return nil, "", errors.New("the entry has lost its JSON")
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, "", err
	}
	line = append(b.Bytes(), '\n')
	return line, keyOf(e, line), nil
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
		params.To = at.Add(overlap)
	}
	for e, err := range x.client.AuditLogs.All(ctx, &params, connic.KeepRaw()) {
		if err != nil {
			return err
		}
		// The service may not filter by time.
		if at := e.Timestamp; !at.IsZero() && (at.Before(s.head.Since) || !x.conf.params.To.IsZero() && !at.Before(x.conf.params.To)) {
			continue
		}
		line, key, err := lineOf(e)
		if err != nil {
			return err
		}
		if _, old := x.state.Recent[key]; old {
			x.state.seen(key, e.Timestamp)
			continue
		}
		if s.has(key) {
			continue
		}
		if err := s.add(line, key, e.Timestamp); err != nil {
			return err
		}
		if len(s.items)%100 == 0 { // a page
			x.line.Show("%d entries, back to %s", len(s.items), stamp(e.Timestamp))
		}
	}
	return nil
}

// deliver appends the spool to the output, oldest first.
func (x *exporter) deliver(s *spool) error {
	if len(s.items) == 0 {
		return nil
	}
	slices.Reverse(s.items)
	slices.SortStableFunc(s.items, func(a, b item) int { return a.at.Compare(b.at) })
	if err := x.open(); err != nil {
		return err
	}
	w := bufio.NewWriterSize(x.out, 64<<10)
	for _, i := range s.items {
		if err := s.copy(w, i); err != nil {
			return err
		}
		x.state.seen(i.key, i.at)
	}
	if err := cmp.Or(w.Flush(), x.out.sync()); err != nil {
		return err
	}
	x.exported += len(s.items)
	x.state.Open, x.state.Size = false, x.out.size
	return x.state.save()
}

// open records that the output is being written.
func (x *exporter) open() error {
	x.state.Open, x.state.Size = true, x.out.size
	return x.state.save()
}

const saveEvery = time.Second

// follow exports new entries as they appear.
func (x *exporter) follow(ctx context.Context) (err error) {
	params := x.conf.params
	if params.From = x.since(); params.From.IsZero() { // nothing has happened yet
		params.From = time.Now().Add(-overlap)
	}
	if err := x.open(); err != nil {
		return err
	}
	var saved time.Time
	save := func(open bool) error {
		saved = time.Now()
		x.state.Open, x.state.Size = open, x.out.size
		return cmp.Or(x.out.sync(), x.state.save())
	}
	defer func() { err = errors.Join(err, save(false)) }()
	x.line.Say("following")
	for e, err := range x.client.AuditLogs.Follow(ctx, &params, connic.WithRequestOptions(connic.KeepRaw())) {
		if err != nil {
			if ctx.Err() != nil {
				return nil // following always ends this way
			}
			return err
		}
		line, key, err := lineOf(e)
		if err != nil {
			return err
		}
		if _, old := x.state.Recent[key]; old {
			x.state.seen(key, e.Timestamp)
			continue
		}
		if _, err := x.out.Write(line); err != nil {
			return err
		}
		x.state.seen(key, e.Timestamp)
		x.exported++
		x.line.Show("%d entries, the newest of %s", x.exported, stamp(e.Timestamp))
		if time.Since(saved) >= saveEvery {
			if err := save(true); err != nil {
				return err
			}
		}
	}
	return nil
}
