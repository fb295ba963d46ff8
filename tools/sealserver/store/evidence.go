package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Errors of an upload.
var (
	ErrOffset   = errors.New("the upload does not go on where it stopped")
	ErrDigest   = errors.New("the image is not the one that its digest says")
	ErrConflict = errors.New("another image of this stamping is stored already")
)

// Key names the image of one stamping.
type Key struct {
	Order string
	Use   uint64
	Stamp uint32
}

func (k Key) String() string { return fmt.Sprintf("%s/%d/%d", k.Order, k.Use, k.Stamp) }

// Evidence is a stored image.
type Evidence struct {
	Order       string    `json:"order"`
	Use         uint64    `json:"use"`
	Stamp       uint32    `json:"stamp"`
	SHA256      []byte    `json:"sha256"`
	Size        int64     `json:"size"`
	ContentType string    `json:"content_type"`
	Stored      time.Time `json:"stored"`
	Verdict     string    `json:"verdict,omitempty"` // "", "match" or "mismatch"
	Reviewer    string    `json:"reviewer,omitempty"`
	Words       string    `json:"words,omitempty"`
}

// path is the file of an image; order numbers can hold any character, so the
// name is a digest.
func (s *Store) path(k Key, suffix string) string {
	sum := sha256.Sum256([]byte(k.String()))
	return filepath.Join(s.evidence, hex.EncodeToString(sum[:16])+suffix)
}

const selectEvidence = "SELECT order_number, use, stamp, sha256, size, content_type, stored, verdict, reviewer, words FROM evidence "

func scanEvidence(r scanner) (Evidence, error) {
	var e Evidence
	var use, stored int64
	err := r.Scan(&e.Order, &use, &e.Stamp, &e.SHA256, &e.Size, &e.ContentType, &stored, &e.Verdict, &e.Reviewer, &e.Words)
	e.Use, e.Stored = uint64(use), time.Unix(0, stored).UTC()
	return e, err
}

// Evidence returns a stored image's record.
func (s *Store) Evidence(ctx context.Context, k Key) (Evidence, error) {
	e, err := scanEvidence(s.db.QueryRowContext(ctx, selectEvidence+"WHERE order_number = ? AND use = ? AND stamp = ?", k.Order, int64(k.Use), k.Stamp))
	return e, missing(err, "evidence", k.String())
}

// EvidenceOf lists the images of an order, or of all orders when it is empty.
func (s *Store) EvidenceOf(ctx context.Context, order string) ([]Evidence, error) {
	rows, err := s.db.QueryContext(ctx, selectEvidence+"WHERE ?1 = '' OR order_number = ?1 ORDER BY order_number, use, stamp", order)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []Evidence{}
	for rows.Next() {
		e, err := scanEvidence(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, rows.Err()
}

// Image opens a stored image.
func (s *Store) Image(k Key) (*os.File, error) {
	f, err := os.Open(s.path(k, ".image"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("image %s: %w", k, ErrNotFound)
	}
	return f, err
}

// Offset tells how many bytes of an image that isn't complete are here, and
// how long it will be; both are 0 when none was begun.
func (s *Store) Offset(k Key) (offset, length int64, err error) {
	b, err := os.ReadFile(s.path(k, ".length"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	if length, err = strconv.ParseInt(string(b), 10, 64); err != nil {
		return 0, 0, nil // cut off by a crash: the upload begins anew
	}
	info, err := os.Stat(s.path(k, ".part"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, length, nil
	}
	if err != nil {
		return 0, 0, err
	}
	return info.Size(), length, nil
}

// Append writes body at offset, which must be the one reached, and returns the
// offset then. When the image has its whole length, its digest is checked and
// it is stored for good: synced, renamed and noted. An image of another digest
// is thrown away, and the upload begins anew. What was written of a body that
// broke off is kept.
func (s *Store) Append(ctx context.Context, k Key, offset, length int64, want [32]byte, contentType string, body io.Reader, now time.Time) (reached int64, err error) {
	if !s.begin(k) {
		// The connection of an earlier try may not have noticed its end yet.
		return offset, fmt.Errorf("another upload of it is under way: %w", ErrOffset)
	}
	defer s.end(k)
	part := s.path(k, ".part")
	if offset == 0 {
		// An image begun anew may be another one.
		if err := os.Remove(part); err != nil && !errors.Is(err, os.ErrNotExist) {
			return 0, err
		}
		if err := os.WriteFile(s.path(k, ".length"), strconv.AppendInt(nil, length, 10), 0o600); err != nil {
			return 0, err
		}
	}
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	if size != offset {
		return size, ErrOffset
	}
	n, copyErr := io.Copy(f, io.LimitReader(body, length-offset))
	reached = offset + n
	if err := f.Sync(); err != nil {
		return offset, err
	}
	if copyErr != nil || reached < length {
		return reached, copyErr
	}
	sum := sha256.New()
	if err := rehash(f, sum); err != nil {
		return reached, err
	}
	if [32]byte(sum.Sum(nil)) != want {
		return 0, errors.Join(ErrDigest, os.Remove(part))
	}
	if err := s.keep(ctx, k, length, want, contentType, now); err != nil {
		return reached, err
	}
	return reached, nil
}

// begin and end keep two uploads of one image apart.
func (s *Store) begin(k Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.uploading[k] {
		return false
	}
	s.uploading[k] = true
	return true
}

func (s *Store) end(k Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.uploading, k)
}

func rehash(f *os.File, sum hash.Hash) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err := io.Copy(sum, f)
	return err
}

// keep renames the file first and notes it then: a crash in between leaves a
// file without a row, and the upload, begun anew, replaces it.
func (s *Store) keep(ctx context.Context, k Key, length int64, sum [32]byte, contentType string, now time.Time) error {
	if err := os.Rename(s.path(k, ".part"), s.path(k, ".image")); err != nil {
		return err
	}
	dir, err := os.Open(s.evidence)
	if err != nil {
		return err
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return err
	}
	if err := os.Remove(s.path(k, ".length")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	_, err = s.db.ExecContext(ctx, "INSERT INTO evidence (order_number, use, stamp, sha256, size, content_type, stored) VALUES (?, ?, ?, ?, ?, ?, ?)",
		k.Order, int64(k.Use), k.Stamp, sum[:], length, contentType, now.UnixNano())
	return err
}

// Judge notes a reviewer's verdict on an image. A mismatch ends the order and
// queues a disconnect in the same transaction. A verdict is given once.
func (s *Store) Judge(ctx context.Context, k Key, match bool, reviewer, words string, now time.Time) error {
	verdict := "mismatch"
	if match {
		verdict = "match"
	}
	return s.tx(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, "UPDATE evidence SET verdict = ?, reviewer = ?, words = ? WHERE order_number = ? AND use = ? AND stamp = ? AND verdict = ''",
			verdict, reviewer, words, k.Order, int64(k.Use), k.Stamp)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			var known int
			if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM evidence WHERE order_number = ? AND use = ? AND stamp = ?", k.Order, int64(k.Use), k.Stamp).Scan(&known); err != nil {
				return err
			}
			if known == 0 {
				return fmt.Errorf("evidence %s: %w", k, ErrNotFound)
			}
			return fmt.Errorf("evidence %s has its verdict: %w", k, ErrState)
		}
		if match {
			return nil
		}
		if _, err := tx.ExecContext(ctx, "UPDATE orders SET state = ?, decision_words = ? WHERE number = ?", Ended, words, k.Order); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO disconnects (id, order_number, use, reason, created) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
			fmt.Sprintf("verdict/%s", k), k.Order, int64(k.Use), words, now.UnixNano())
		return err
	})
}
