package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// source is what is built: a copy of the module, away from the work tree, so
// that nothing comes in that isn't in the commit and nobody edits it meanwhile.
type source struct {
	Dir      string    // the copy; made by from...
	Version  string    // as git describe says it
	Revision string    // the commit
	Created  time.Time // the time of the commit, or of SOURCE_DATE_EPOCH
}

// describe doesn't shorten a hash to what is unique in this clone: another
// clone has other objects.
var describe = []string{"describe", "--tags", "--always", "--abbrev=12"}

// fromCommit takes the files of a commit.
func (s *source) fromCommit(ctx context.Context, commit string) error {
	if strings.HasPrefix(commit, "-") {
		return fmt.Errorf("%q is no commit", commit)
	}
	var err error
	if s.Revision, err = git(ctx, "rev-parse", "--verify", commit+"^{commit}"); err != nil {
		return err
	}
	if s.Version, err = git(ctx, append(describe, s.Revision)...); err != nil {
		return err
	}
	if err := s.stamp(ctx); err != nil {
		return err
	}
	top, err := git(ctx, "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	archive := exec.CommandContext(ctx, "git", "-C", top, "archive", "--format=tar", s.Revision)
	var said bytes.Buffer
	archive.Stderr = &said
	out, err := archive.StdoutPipe()
	if err != nil {
		return err
	}
	if err := archive.Start(); err != nil {
		return err
	}
	failed := unpack(out, s.Dir)
	_, _ = io.Copy(io.Discard, out)
	if err := archive.Wait(); err != nil {
		return fmt.Errorf("git archive: %w: %s", err, said.String())
	}
	return failed
}

// fromWorkTree takes the files of the work tree that git doesn't ignore.
func (s *source) fromWorkTree(ctx context.Context) error {
	var err error
	if s.Revision, err = git(ctx, "rev-parse", "HEAD"); err != nil {
		return err
	}
	if s.Version, err = git(ctx, append(describe, "--dirty")...); err != nil {
		return err
	}
	if err := s.stamp(ctx); err != nil {
		return err
	}
	top, err := git(ctx, "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	listed, err := git(ctx, "-C", top, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(strings.Trim(listed, "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join(top, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, and that isn't committed
		} else if err != nil {
			return err
		}
		if err := put(s.Dir, name, content); err != nil {
			return err
		}
	}
	return nil
}

// stamp finds the time that everything made of the source carries.
func (s *source) stamp(ctx context.Context) error {
	seconds := os.Getenv("SOURCE_DATE_EPOCH")
	if seconds == "" {
		var err error
		if seconds, err = git(ctx, "log", "-1", "--format=%ct", s.Revision); err != nil {
			return err
		}
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || n < 0 {
		return fmt.Errorf("SOURCE_DATE_EPOCH is %q: it must be seconds since 1970", seconds)
	}
	s.Created = time.Unix(n, 0).UTC()
	return nil
}

func git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(said.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// unpack writes the regular files of a tar below dir.
func unpack(r io.Reader, dir string) error {
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		content, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		if err := put(dir, h.Name, content); err != nil {
			return err
		}
	}
}

func put(dir, name string, content []byte) error {
	if !filepath.IsLocal(name) {
		return fmt.Errorf("%q leads out of the source", name)
	}
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, content, 0o644)
}
