package demo

import (
	"bytes"
	"errors"
	"os"
)

// alter copies an export with one user's name changed.
func alter(from, to string) error {
	raw, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	changed := bytes.Replace(raw, []byte(`"user":"li.wei"`), []byte(`"user":"wu.min"`), 1)
	if bytes.Equal(raw, changed) {
		return errors.New("the export does not name the user of a seal")
	}
	return os.WriteFile(to, changed, 0o600)
}
