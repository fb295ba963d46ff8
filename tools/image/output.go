package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	layoutDir   = "oci"
	digestsFile = "digests.txt"
	sumsFile    = "SHA256SUMS"

	spdxType  = "application/spdx+json"
	emptyType = "application/vnd.oci.empty.v1+json"
	refName   = "org.opencontainers.image.ref.name"
	imageName = "io.containerd.image.name"
	fileTitle = "org.opencontainers.image.title"
)

// writer lays everything out in a directory.
type writer struct {
	job     job
	dir     string
	layout  layout.Path
	images  map[string][]*made         // by kind
	boms    map[string][]v1.Descriptor // likewise
	attach  []v1.Descriptor            // the manifests of the SBOMs
	digests strings.Builder
}

func newWriter(dir string, j job) (*writer, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	l, err := layout.Write(filepath.Join(dir, layoutDir), empty.Index)
	if err != nil {
		return nil, err
	}
	return &writer{job: j, dir: dir, layout: l, images: map[string][]*made{}, boms: map[string][]v1.Descriptor{}}, nil
}

// ref is what an image is called, with its version as the tag.
func (j job) ref(k kind) (name.Tag, error) {
	return name.NewTag(j.Registry + "/" + k.Name + ":" + j.Source.Version)
}

// add writes an image's archive and its SBOM.
func (w *writer) add(m *made, roots int) error {
	tag, err := w.job.ref(m.Kind)
	if err != nil {
		return err
	}
	beside := filepath.Join(w.dir, m.Kind.Name+"-"+m.Arch)
	if err := tarball.WriteToFile(beside+".tar", tag, m.Image); err != nil {
		return err
	}
	bom, err := w.job.sbom(m, roots)
	if err != nil {
		return err
	}
	if err := os.WriteFile(beside+".spdx.json", bom, 0o644); err != nil {
		return err
	}
	content, err := w.blob(bom, spdxType)
	if err != nil {
		return err
	}
	content.Annotations = map[string]string{fileTitle: filepath.Base(beside) + ".spdx.json"}
	w.boms[m.Kind.Name] = append(w.boms[m.Kind.Name], content)
	subject, err := partial.Descriptor(plainImage{m.Image})
	if err != nil {
		return err
	}
	if err := w.refer(*subject, []v1.Descriptor{content}); err != nil {
		return err
	}
	w.images[m.Kind.Name] = append(w.images[m.Kind.Name], m)
	return nil
}

// plainImage keeps the library from telling in the index that an image is one, which
// older tools drop when they copy the index, and its digest with it.
type plainImage struct{ v1.Image }

func (plainImage) ArtifactType() (string, error) { return "", nil }

// artifact is a manifest of something that isn't an image but belongs to one (OCI
// image specification 1.1, "artifactType" and "subject").
type artifact struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     types.MediaType   `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        v1.Descriptor     `json:"config"`
	Layers        []v1.Descriptor   `json:"layers"`
	Subject       *v1.Descriptor    `json:"subject"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// refer attaches SBOMs to an image or an index of images.
func (w *writer) refer(subject v1.Descriptor, boms []v1.Descriptor) error {
	config, err := w.blob([]byte("{}"), emptyType)
	if err != nil {
		return err
	}
	created := map[string]string{"org.opencontainers.image.created": w.job.Source.Created.Format(time.RFC3339)}
	manifest, err := json.Marshal(artifact{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: spdxType,
		Config: config, Layers: boms, Subject: &subject, Annotations: created,
	})
	if err != nil {
		return err
	}
	d, err := w.blob(manifest, types.OCIManifestSchema1)
	if err != nil {
		return err
	}
	d.ArtifactType, d.Annotations = spdxType, created
	w.attach = append(w.attach, d)
	return nil
}

// blob puts something into the layout.
func (w *writer) blob(content []byte, is types.MediaType) (v1.Descriptor, error) {
	digest, size, err := v1.SHA256(bytes.NewReader(content))
	if err != nil {
		return v1.Descriptor{}, err
	}
	return v1.Descriptor{MediaType: is, Size: size, Digest: digest}, w.layout.WriteBlob(digest, io.NopCloser(bytes.NewReader(content)))
}

// close writes the indexes and what lists everything else.
func (w *writer) close() error {
	for _, k := range w.job.Images {
		tag, err := w.job.ref(k)
		if err != nil {
			return err
		}
		index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
		for _, m := range w.images[k.Name] {
			index = mutate.AppendManifests(index, mutate.IndexAddendum{
				Add: plainImage{m.Image}, Descriptor: v1.Descriptor{MediaType: types.OCIManifestSchema1, Platform: &v1.Platform{OS: "linux", Architecture: m.Arch}},
			})
		}
		index = mutate.Annotations(index, w.job.annotations(k)).(v1.ImageIndex)
		digest, err := index.Digest()
		if err != nil {
			return err
		}
		// Tools that copy an index with what belongs to it start from what belongs to the
		// index itself; and whoever asks for the SBOMs by the tag finds them.
		subject, err := partial.Descriptor(index)
		if err != nil {
			return err
		}
		if err := w.refer(v1.Descriptor{MediaType: subject.MediaType, Size: subject.Size, Digest: digest}, w.boms[k.Name]); err != nil {
			return err
		}
		fmt.Fprintf(&w.digests, "%s@%s %s\n", tag.Repository, digest, w.job.Source.Version)
		for _, m := range w.images[k.Name] {
			fmt.Fprintf(&w.digests, "%s@%s %s linux/%s\n", tag.Repository, m.Digest, w.job.Source.Version, m.Arch)
		}
		if err := w.layout.AppendIndex(index, layout.WithAnnotations(map[string]string{refName: tag.Name(), imageName: tag.Name()})); err != nil {
			return err
		}
	}
	for _, d := range w.attach {
		if err := w.layout.AppendDescriptor(d); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(w.dir, digestsFile), []byte(w.digests.String()), 0o644); err != nil {
		return err
	}
	sums, err := sum(w.dir)
	if err != nil {
		return err
	}
	var list strings.Builder
	for _, file := range sortedKeys(sums) {
		fmt.Fprintf(&list, "%s  %s\n", sums[file], file)
	}
	return os.WriteFile(filepath.Join(w.dir, sumsFile), []byte(list.String()), 0o644)
}

// sum has the SHA-256 of each file below dir, but of the list of them.
func sum(dir string) (map[string]string, error) {
	sums := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path == sumsFile {
			return err
		}
		f, err := os.Open(filepath.Join(dir, path))
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return err
		}
		sums[path] = hex.EncodeToString(h.Sum(nil))
		return nil
	})
	return sums, err
}

// differences names the files that aren't the same in two directories.
func differences(a, b string) ([]string, error) {
	first, err := sum(a)
	if err != nil {
		return nil, err
	}
	second, err := sum(b)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for path, s := range first {
		if second[path] != s {
			all[path] = s
		}
	}
	for path, s := range second {
		if first[path] != s {
			all[path] = s
		}
	}
	return sortedKeys(all), nil
}
