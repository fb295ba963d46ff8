package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
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
	Permits uint64 // capabilities that whoever starts it may have, if the runtime gives them
}

// Capabilities of Linux, by their bits.
const (
	netAdmin = 1 << 12 // addresses, routes and interfaces
	netRaw   = 1 << 13 // gratuitous ARP
	perfmon  = 1 << 38 // with bpf, programs on the fast path
	bpf      = 1 << 39
)

// capabilityRecord is where a tar says what a file permits.
const capabilityRecord = "SCHILY.xattr.security.capability"

// capabilities is the extended attribute of a file that permits some: version 2
// without the flag that would demand them (struct vfs_cap_data, capabilities(7)).
func capabilities(permits uint64) string {
	le := binary.LittleEndian
	v := le.AppendUint32(nil, 0x02000000)
	v = le.AppendUint32(v, uint32(permits))
	v = le.AppendUint32(v, 0) // inheritable
	v = le.AppendUint32(v, uint32(permits>>32))
	return string(le.AppendUint32(v, 0))
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
		if f.Permits != 0 {
			h.Format, h.PAXRecords = tar.FormatPAX, map[string]string{capabilityRecord: capabilities(f.Permits)}
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
