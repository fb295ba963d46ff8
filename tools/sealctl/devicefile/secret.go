package devicefile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// givenCredentials is where a YAML document's credentials stand until they are
// filled in.
const givenCredentials = "credentials"

// maxSecrets is how long a file of secrets may be.
const maxSecrets = 16 << 20

// secrets reads passwords and keys from files: one that has nothing else, or one
// for many devices, with a line of name and secret for each.
type secrets struct {
	dir  string
	read map[string]secretFile
}

type secretFile struct {
	one string            // the whole file is this one secret
	of  map[string]string // by name, in upper case
	err error
}

// terminal makes credentials of user, chap and password_file.
func (s *secrets) terminal(name string, values map[string]any) error {
	from, given := values[givenCredentials].(map[string]any)
	if !given {
		from = map[string]any{}
		for _, key := range []string{"user", "chap", "password_file"} {
			if v, there := values[key]; there {
				from[key] = v
				delete(values, key)
			}
		}
	}
	path, _ := from["password_file"].(string)
	delete(from, "password_file")
	user, _ := from["user"].(string)
	if path != "" {
		if from["password"] != nil {
			return errors.New("password_file: there is a password too; have one of them")
		}
		password, err := s.find("password_file", path, name)
		if err != nil {
			return err
		}
		from["password"] = password
	}
	chap, _ := from["chap"].(bool)
	switch _, named := from["user"]; {
	case user == "" && from["password"] == nil && !chap && (given || named):
		values[givenCredentials] = map[string]any{} // removes them
	case len(from) > 0:
		if !named && !given {
			return errors.New("user: missing: a password goes with a user name")
		}
		values[givenCredentials] = from
	}
	return nil
}

// barrel makes psk of psk_file.
func (s *secrets) barrel(name string, values map[string]any) error {
	path, _ := values["psk_file"].(string)
	delete(values, "psk_file")
	if path == "" {
		return nil
	}
	if values["psk"] != nil {
		return errors.New("psk_file: there is a psk too; have one of them")
	}
	psk, err := s.find("psk_file", path, name)
	values["psk"] = psk
	return err
}

// find is the secret of a device in a file.
func (s *secrets) find(field, path, name string) (string, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.dir, path)
	}
	f, known := s.read[path]
	if !known {
		f = readSecrets(path)
		if s.read == nil {
			s.read = map[string]secretFile{}
		}
		s.read[path] = f
	}
	if f.err != nil {
		return "", fmt.Errorf("%s: %w", field, f.err)
	}
	if f.of == nil {
		return f.one, nil
	}
	v, there := f.of[strings.ToUpper(name)]
	if !there {
		return "", fmt.Errorf("%s: %s has no line for %s; a line is its name, a blank and the secret", field, path, name)
	}
	return v, nil
}

// readSecrets reads a file of one secret, which has no line break, or of many. A
// line of many begins with the name of a device. Nothing of the content is in an
// error.
func readSecrets(path string) secretFile {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return secretFile{err: err}
	case !info.Mode().IsRegular():
		return secretFile{err: fmt.Errorf("%s is no file", path)}
	case info.Size() > maxSecrets:
		return secretFile{err: fmt.Errorf("%s has more than %d MB", path, maxSecrets>>20)}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return secretFile{err: err}
	}
	var lines []string
	for l := range strings.Lines(string(raw)) {
		if l = strings.TrimRight(l, "\r\n"); l != "" {
			lines = append(lines, l)
		}
	}
	switch {
	case len(lines) == 0:
		return secretFile{err: fmt.Errorf("%s is empty", path)}
	case len(lines) == 1 && !strings.Contains(lines[0], " "):
		return secretFile{one: lines[0]}
	}
	f := secretFile{of: map[string]string{}}
	for i, l := range lines {
		name, v, ok := strings.Cut(l, " ")
		if name = strings.ToUpper(name); !ok || v == "" || f.of[name] != "" {
			return secretFile{err: fmt.Errorf("%s: line %d is not a device's name, a blank and its secret, or the name is there twice; a file of one secret has one line without blanks", path, i+1)}
		}
		f.of[name] = v
	}
	return f
}
