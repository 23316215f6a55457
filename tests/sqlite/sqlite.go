// Package sqlite has a connic.Journal in a table of SQLite, as a program of a
// user's may have one.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/connic-go/connic"
	_ "modernc.org/sqlite" // the driver
)

// A Journal is a connic.Journal in a database file.
type Journal struct {
	Path string
	db   *sql.DB
}

// Open opens the database, and keeps it locked until the process ends.
func (j *Journal) Open(ctx context.Context) error {
	db, err := sql.Open("sqlite", j.Path+"?_pragma=synchronous(FULL)&_pragma=locking_mode(EXCLUSIVE)")
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1) // the one with the lock
	// Only a write takes the lock.
	_, err = db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS journal (key TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
		INSERT INTO journal VALUES ('', '') ON CONFLICT DO NOTHING;
		UPDATE journal SET record = record WHERE key = ''`)
	if err != nil {
		if strings.Contains(err.Error(), "SQLITE_BUSY") {
			err = fmt.Errorf("%w: %w", connic.ErrJournalInUse, err)
		}
		return errors.Join(err, db.Close())
	}
	j.db = db
	return nil
}

// Close implements [connic.Journal].
func (j *Journal) Close() error { return j.db.Close() }

// Get implements [connic.Journal].
func (j *Journal) Get(ctx context.Context, key string) (record string, err error) {
	err = j.db.QueryRowContext(ctx, `SELECT record FROM journal WHERE key = ?`, key).Scan(&record)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return record, err
}

// All implements [connic.Journal].
func (j *Journal) All(ctx context.Context, yield func(key, record string) bool) error {
	rows, err := j.db.QueryContext(ctx, `SELECT key, record FROM journal WHERE record <> ''`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var key, record string
		if err := rows.Scan(&key, &record); err != nil {
			return err
		}
		if !yield(key, record) {
			break
		}
	}
	return rows.Err()
}

// Put implements [connic.Journal].
func (j *Journal) Put(ctx context.Context, records map[string]string) error {
	tx, err := j.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // of a committed one it does nothing
	put, err := tx.PrepareContext(ctx, `INSERT INTO journal VALUES (?, ?) ON CONFLICT DO UPDATE SET record = excluded.record`)
	if err != nil {
		return err
	}
	defer func() { _ = put.Close() }()
	for key, record := range records {
		if _, err := put.ExecContext(ctx, key, record); err != nil {
			return err
		}
	}
	return tx.Commit()
}
