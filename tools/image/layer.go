package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Nobody in particular: the programs run as this user and group, whose numbers
// the chart and the policies of a cluster name.
const nobody = 65532

// file is something in an image. A path that ends in a slash is a directory.
type file struct {
	Path    string // from the root, without a leading slash
	Mode    int64
	Owner   int
	Content []byte
}

// passwd gives the numbers their name; there is no shell to log in with.
const (
	passwd = "root:x:0:0:root:/:/sbin/nologin\nsealedge:x:65532:65532:sealedge:/var/lib/sealedge:/sbin/nologin\n"
	group  = "root:x:0:\nsealedge:x:65532:\n"
)

// rootsPath is where Go, as others, looks for CA roots.
const rootsPath = "etc/ssl/certs/ca-certificates.crt"

// base is what every image has, whatever it runs.
func base(roots []byte) []file {
	return []file{
		{Path: "etc/group", Mode: 0o644, Content: []byte(group)},
		{Path: "etc/passwd", Mode: 0o644, Content: []byte(passwd)},
		{Path: "etc/sealedge/", Mode: 0o755},
		{Path: rootsPath, Mode: 0o644, Content: roots},
		{Path: "tmp/", Mode: 0o1777},
		{Path: "var/lib/sealedge/", Mode: 0o700, Owner: nobody},
	}
}

// layer packs files, and the directories that lead to them, in the order of
// their paths.
func layer(files []file, at time.Time) (v1.Layer, error) {
	paths := map[string]file{}
	for _, f := range files {
		for dir := path.Dir(strings.TrimSuffix(f.Path, "/")); dir != "."; dir = path.Dir(dir) {
			if _, known := paths[dir+"/"]; !known {
				paths[dir+"/"] = file{Path: dir + "/", Mode: 0o755}
			}
		}
		paths[f.Path] = f
	}
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, name := range sortedKeys(paths) {
		f := paths[name]
		h := &tar.Header{
			Format: tar.FormatUSTAR, Typeflag: tar.TypeReg, Name: f.Path, Mode: f.Mode,
			Uid: f.Owner, Gid: f.Owner, Size: int64(len(f.Content)), ModTime: at,
		}
		if strings.HasSuffix(f.Path, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.Content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer),
		tarball.WithCompressionLevel(gzip.BestCompression), tarball.WithCompressedCaching)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
