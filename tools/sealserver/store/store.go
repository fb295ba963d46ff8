// Package store keeps what the reference seal server knows: users, work
// orders, seal types and levels, settled uses, evidence and the disconnects
// that the gateway has yet to accept. It is an SQLite file with migrations;
// the images themselves lie beside it as files (see Evidence).
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// Errors of this package. What they are wrapped in says which object.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("exists already")
	ErrState    = errors.New("its state does not allow that")
)

// Store is safe for concurrent use.
type Store struct {
	db       *sql.DB
	evidence string // directory of the images

	mu        sync.Mutex
	uploading map[Key]bool // guarded by mu
}

// Open opens or makes the database file and the directory for images, and
// brings the schema up to date. A database of a later version is refused.
func Open(ctx context.Context, file, evidenceDir string) (*Store, error) {
	for _, dir := range []string{filepath.Dir(file), evidenceDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
	}
	s := &Store{evidence: evidenceDir, uploading: map[Key]bool{}}
	if err := s.open(file, "rwc"); err != nil {
		return nil, err
	}
	if err := errors.Join(s.migrate(ctx), s.db.Close()); err != nil {
		return nil, fmt.Errorf("store: %s: %w", file, err)
	}
	// A connection is made anew when a request is given up in the middle of a
	// statement. Should the file have been moved away, the server has to say so, and
	// not to go on with an empty one.
	if err := s.open(file, "rw"); err != nil {
		return nil, err
	}
	return s, nil
}

// open opens the database file, in a mode of SQLite's.
func (s *Store) open(file, mode string) error {
	// A write is durable when it is acknowledged: evidence and disconnects are
	// promises. One connection makes writers queue instead of failing busy.
	db, err := sql.Open("sqlite", "file:"+file+"?mode="+mode+"&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_pragma=busy_timeout(5000)&_txlock=immediate")
	if err != nil {
		return fmt.Errorf("store: %s: %w", file, err)
	}
	db.SetMaxOpenConns(1)
	s.db = db
	return nil
}

// Close closes the database.
func (s *Store) Close() error { return s.db.Close() }

func (s *Store) migrate(ctx context.Context) error {
	return s.tx(ctx, func(tx *sql.Tx) error {
		var at int
		if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&at); err != nil {
			return err
		}
		if at > len(migrations) {
			return fmt.Errorf("the database has schema %d, this program knows %d: start a newer sealserver", at, len(migrations))
		}
		for i, m := range migrations[at:] {
			if _, err := tx.ExecContext(ctx, m); err != nil {
				return fmt.Errorf("migration %d: %w", at+i+1, err)
			}
		}
		// A pragma takes no placeholder; the value is a number of ours.
		_, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", len(migrations)))
		return err
	})
}

// tx runs fn in a transaction and rolls back when it fails.
func (s *Store) tx(ctx context.Context, fn func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// missing turns "no rows" into ErrNotFound with a name.
func missing(err error, what, name string) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s %q: %w", what, name, ErrNotFound)
	}
	return err
}
