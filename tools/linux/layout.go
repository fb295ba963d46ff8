package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sealedge/sealedge/edge/config"
)

//go:embed files
var files embed.FS

// entry is a file of a package. All belong to root and nobody else can write them.
type entry struct {
	path    string // without the leading slash
	mode    fs.FileMode
	content []byte
}

// places is where the files of this directory go.
var places = map[string]string{
	"sealedge.service": "usr/lib/systemd/system/sealedge.service",
	"sysusers.conf":    "usr/lib/sysusers.d/sealedge.conf",
	"tmpfiles.conf":    "usr/lib/tmpfiles.d/sealedge.conf",
	"sysctl.conf":      "usr/lib/sysctl.d/50-sealedge.conf",
	"netlink.conf":     "usr/share/sealedge/systemd/netlink.conf",
	"tun.conf":         "usr/share/sealedge/systemd/tun.conf",
}

// documents is where pages of the repository go.
var documents = map[string]string{
	"LICENSE":               "usr/share/doc/sealedge/copyright",
	"docs/install-linux.md": "usr/share/doc/sealedge/install-linux.md",
}

// layout is everything that is installed, by path.
func layout(source string, programs map[string][]byte) ([]entry, error) {
	tree := []entry{{"usr/share/doc/sealedge/reference.yaml", 0o644, config.Reference()}}
	for name, content := range programs {
		tree = append(tree, entry{"usr/bin/" + name, 0o755, content})
	}
	for name, to := range places {
		content, err := files.ReadFile("files/" + name)
		if err != nil {
			return nil, err
		}
		tree = append(tree, entry{to, 0o644, content})
	}
	for name, to := range documents {
		content, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return nil, fmt.Errorf("%w: give the root of the source with -source", err)
		}
		tree = append(tree, entry{to, 0o644, content})
	}
	slices.SortFunc(tree, func(a, b entry) int { return strings.Compare(a.path, b.path) })
	return tree, nil
}

// tarball is a tree as it lies in the file system, with its directories, compressed.
func tarball(tree []entry, made time.Time) ([]byte, error) {
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	w := tar.NewWriter(zip)
	header := func(name string, kind byte, mode fs.FileMode, size int) error {
		return w.WriteHeader(&tar.Header{
			Typeflag: kind, Name: "./" + name, Mode: int64(mode.Perm()), Size: int64(size),
			Uname: "root", Gname: "root", ModTime: made, Format: tar.FormatUSTAR,
		})
	}
	there := make(map[string]bool)
	for _, e := range tree {
		var parents []string
		for dir := path.Dir(e.path); dir != "." && !there[dir]; dir = path.Dir(dir) {
			there[dir] = true
			parents = append(parents, dir)
		}
		for _, dir := range slices.Backward(parents) {
			if err := header(dir+"/", tar.TypeDir, 0o755, 0); err != nil {
				return nil, err
			}
		}
		if err := header(e.path, tar.TypeReg, e.mode, len(e.content)); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := zip.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
