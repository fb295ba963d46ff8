//go:build linux

package lab

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// What is built of other sources, versions or flags is another program, and is built anew.
func TestFingerprint(t *testing.T) {
	seen := map[string]string{}
	look := func(what, flags string, change func(dir string)) {
		t.Helper()
		dir := t.TempDir()
		for name, content := range map[string]string{"go.mod": "module a\n", "go.sum": "sums\n", "main.go": "package main\n"} {
			write(t, filepath.Join(dir, name), content)
		}
		change(dir)
		key, err := fingerprint(dir, flags)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[key]; ok {
			t.Errorf("%s is taken for %s", what, other)
		}
		seen[key] = what
	}
	look("the module", "", func(string) {})
	look("other flags", "-X a.b=c", func(string) {})
	look("another source", "", func(dir string) { write(t, filepath.Join(dir, "main.go"), "package main // changed\n") })
	look("one more source", "", func(dir string) { write(t, filepath.Join(dir, "more.go"), "package main\n") })
	look("another version", "", func(dir string) { write(t, filepath.Join(dir, "go.mod"), "module b\n") })
	look("other sums", "", func(dir string) { write(t, filepath.Join(dir, "go.sum"), "more sums\n") })
	if _, err := fingerprint(t.TempDir(), ""); err == nil {
		t.Error("an empty directory is a module")
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// An image names its layer by the digest of what is in it, which is the program.
func TestImage(t *testing.T) {
	dir := t.TempDir()
	program, archive := filepath.Join(dir, "hello"), filepath.Join(dir, "hello.tar")
	write(t, program, "a program")
	if err := image(program, "example.test/hello:1", archive); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	files := contents(t, whole)
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil || len(manifest) != 1 || manifest[0].RepoTags[0] != "example.test/hello:1" {
		t.Fatalf("manifest %s: %v", files["manifest.json"], err)
	}
	var config struct {
		Config struct{ Entrypoint []string }
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(files[manifest[0].Config], &config); err != nil {
		t.Fatal(err)
	}
	layer := files[manifest[0].Layers[0]]
	if config.RootFS.DiffIDs[0] != "sha256:"+digest(layer) || config.Config.Entrypoint[0] != "/hello" {
		t.Errorf("config %+v", config)
	}
	if is := contents(t, layer)["hello"]; string(is) != "a program" {
		t.Errorf("the layer has %q", is)
	}
}

func contents(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}
