package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

var now = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), filepath.Join(dir, "seal.db"), filepath.Join(dir, "evidence"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestPasswords(t *testing.T) {
	h := hashPassword("correct horse")
	if !strings.HasPrefix(h, "$argon2id$v=19$m=65536,t=3,p=4$") || strings.Contains(h, "horse") {
		t.Errorf("hash %q", h)
	}
	if !checkPassword(h, "correct horse") || checkPassword(h, "correct horsf") {
		t.Error("the wrong password passes, or the right one doesn't")
	}
	if hashPassword("correct horse") == h {
		t.Error("two hashes of one password are equal: no salt")
	}
	for n := range h {
		if checkPassword(h[:n], "correct horse") {
			t.Errorf("a hash cut to %d characters passes", n)
		}
	}
}

// Somebody moves the files away under the server, and its connection breaks: it says so
// from then on, and doesn't go on with an empty database.
func TestMovedFilesAreMissed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := open(t, dir)
	fill(t, s)
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.db.SetMaxIdleConns(0) // closes it
	if _, err := s.Order(t.Context(), "WO-1"); err == nil || !strings.Contains(err.Error(), "unable to open database file") {
		t.Errorf("the order is told, or missed for another reason: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("an empty database was made: %v, %v", left, err)
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	if _, err := s.Append(t.Context(), Key{"WO-1", 1, 1}, 0, 8, sha256.Sum256([]byte("12345678")), "image/png", strings.NewReader("1234"), now); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, dir)
	if o, err := s.Order(t.Context(), "WO-1"); err != nil || o.Applicant != "li" || !o.NotAfter.Equal(now.Add(time.Hour)) {
		t.Errorf("order %+v, %v", o, err)
	}
	if offset, length, err := s.Offset(Key{"WO-1", 1, 1}); offset != 4 || length != 8 || err != nil {
		t.Errorf("upload at %d of %d, %v; want 4 of 8", offset, length, err)
	}
	if n, err := s.Append(t.Context(), Key{"WO-1", 1, 1}, 4, 8, sha256.Sum256([]byte("12345678")), "image/png", strings.NewReader("5678"), now); n != 8 || err != nil {
		t.Errorf("the rest: %d, %v", n, err)
	}
}

func fill(t *testing.T, s *Store) {
	t.Helper()
	if err := s.AddUser(t.Context(), User{Name: "li"}, "li-password-1"); err != nil {
		t.Fatal(err)
	}
	o := Order{Number: "WO-1", Applicant: "li", Reason: "x", SealType: "contract", Count: 1, NotBefore: now, NotAfter: now.Add(time.Hour), Created: now}
	if err := s.AddOrder(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := s.AddOrder(t.Context(), o); !errors.Is(err, ErrExists) {
		t.Errorf("the same number again: %v", err)
	}
}

// What arrived of a body that broke off is kept, and a crash between the file
// and its row only makes the upload begin anew.
func TestAppendSurvivesBreaks(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s)
	k := Key{"WO-1", 1, 1}
	image := []byte("12345678")
	sum := sha256.Sum256(image)
	broken := io.MultiReader(bytes.NewReader(image[:5]), iotest.ErrReader(errors.New("reset by peer")))
	if n, err := s.Append(t.Context(), k, 0, 8, sum, "", broken, now); n != 5 || err == nil {
		t.Fatalf("broken body: %d, %v", n, err)
	}
	if err := os.Rename(s.path(k, ".part"), s.path(k, ".image")); err != nil {
		t.Fatal(err)
	}
	if offset, _, err := s.Offset(k); offset != 0 || err != nil {
		t.Errorf("offset after the crash: %d, %v", offset, err)
	}
	if n, err := s.Append(t.Context(), k, 0, 8, sum, "", bytes.NewReader(image), now); n != 8 || err != nil {
		t.Errorf("anew: %d, %v", n, err)
	}
	f, err := s.Image(k)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, _ := io.ReadAll(f); !bytes.Equal(got, image) {
		t.Errorf("stored %q", got)
	}
}

// A second upload of one image while one is under way must not mix with it.
func TestOneUploadAtATime(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s)
	k := Key{"WO-1", 1, 1}
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := s.Append(context.Background(), k, 0, 4, sha256.Sum256([]byte("abcd")), "", r, now)
		done <- err
	}()
	if _, err := w.Write([]byte("ab")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), k, 0, 4, sha256.Sum256([]byte("wxyz")), "", strings.NewReader("wxyz"), now); !errors.Is(err, ErrOffset) {
		t.Errorf("second upload: %v", err)
	}
	if _, err := w.Write([]byte("cd")); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := <-done; err != nil {
		t.Errorf("first upload: %v", err)
	}
}

func TestLaterSchemaIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.tx(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.Exec("PRAGMA user_version = 99")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(t.Context(), filepath.Join(dir, "seal.db"), filepath.Join(dir, "evidence")); err == nil || !strings.Contains(err.Error(), "newer sealserver") {
		t.Errorf("Open = %v", err)
	}
}
