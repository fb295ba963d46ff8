package barrel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// store is the barrel's durable memory: one file that is replaced as a whole; with an
// empty path there is none.
type store struct{ path string }

// load reads the state; a barrel that never had one starts empty. Damaged
// memory is an error: an empty one would forget the grants that were used.
func (s store) load() (State, error) {
	var st State
	if s.path == "" {
		return st, nil
	}
	b, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err != nil {
		return st, fmt.Errorf("durable memory: %w", err)
	}
	if err := json.Unmarshal(b, &st); err != nil {
		return st, fmt.Errorf("durable memory %s is damaged: %w", s.path, err)
	}
	return st, nil
}

// save makes the state durable: it is on the disk, under its name, when save
// returns nil, and whatever happens before leaves the old one whole.
func (s store) save(st State) error {
	if s.path == "" {
		return nil
	}
	b, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("durable memory: %w", err)
	}
	dir := filepath.Dir(s.path)
	f, err := os.CreateTemp(dir, filepath.Base(s.path)+".new-*")
	if err != nil {
		return fmt.Errorf("durable memory: %w", err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), s.path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("durable memory: %w", err)
	}
	return syncDir(dir)
}

// syncDir makes a rename durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("durable memory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("durable memory: %w", err)
	}
	return nil
}
