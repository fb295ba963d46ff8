package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// machines are the architectures that an image can be for.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// check reads what a directory holds, as a stranger would, and tells everything
// that isn't as docs/image.md says.
func check(dir string, images []kind) error {
	if err := checkSums(dir); err != nil {
		return err
	}
	root, err := layout.ImageIndexFromPath(filepath.Join(dir, layoutDir))
	if err != nil {
		return err
	}
	list, err := root.IndexManifest()
	if err != nil {
		return err
	}
	boms, err := attached(filepath.Join(dir, layoutDir), list)
	if err != nil {
		return err
	}
	var wrong []error
	for _, k := range images {
		found := 0
		for _, d := range list.Manifests {
			if !strings.Contains(d.Annotations[refName], "/"+k.Name+":") {
				continue
			}
			found++
			index, err := root.ImageIndex(d.Digest)
			if err != nil {
				return err
			}
			if err := checkIndex(dir, k, index, boms); err != nil {
				wrong = append(wrong, fmt.Errorf("%s: %w", k.Name, err))
			}
		}
		if found != 1 {
			wrong = append(wrong, fmt.Errorf("%d images %s in the layout, not one", found, k.Name))
		}
	}
	return errors.Join(wrong...)
}

// checkSums compares the files with the list of their digests.
func checkSums(dir string) error {
	sums, err := sum(dir)
	if err != nil {
		return err
	}
	listed, err := os.Open(filepath.Join(dir, sumsFile))
	if err != nil {
		return err
	}
	defer listed.Close()
	for lines := bufio.NewScanner(listed); lines.Scan(); {
		want, path, ok := strings.Cut(lines.Text(), "  ")
		if !ok || sums[path] != want {
			return fmt.Errorf("%s: %q isn't what lies there", sumsFile, lines.Text())
		}
		delete(sums, path)
	}
	if len(sums) > 0 {
		return fmt.Errorf("%s doesn't have %s", sumsFile, strings.Join(sortedKeys(sums), ", "))
	}
	return nil
}

// attached has the SBOMs of a layout by the digest of their image, or of their index.
func attached(dir string, list *v1.IndexManifest) (map[v1.Hash][][]byte, error) {
	l := layout.Path(dir)
	boms := map[v1.Hash][][]byte{}
	for _, d := range list.Manifests {
		if d.ArtifactType != spdxType {
			continue
		}
		raw, err := l.Bytes(d.Digest)
		if err != nil {
			return nil, err
		}
		var a artifact
		if err := json.Unmarshal(raw, &a); err != nil {
			return nil, err
		}
		if a.ArtifactType != spdxType || a.Subject == nil || len(a.Layers) == 0 {
			return nil, fmt.Errorf("%s isn't an SBOM of an image", d.Digest)
		}
		if _, twice := boms[a.Subject.Digest]; twice {
			return nil, fmt.Errorf("two SBOMs for %s", a.Subject.Digest)
		}
		for _, b := range a.Layers {
			bom, err := l.Bytes(b.Digest)
			if err != nil {
				return nil, err
			}
			boms[a.Subject.Digest] = append(boms[a.Subject.Digest], bom)
		}
	}
	return boms, nil
}

func checkIndex(dir string, k kind, index v1.ImageIndex, boms map[v1.Hash][][]byte) error {
	if err := validate.Index(index); err != nil {
		return err
	}
	list, err := index.IndexManifest()
	if err != nil {
		return err
	}
	if len(list.Manifests) == 0 {
		return errors.New("an index of nothing")
	}
	told, err := os.ReadFile(filepath.Join(dir, digestsFile))
	if err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	var all [][]byte // SBOMs
	digests := []v1.Hash{digest}
	for _, d := range list.Manifests {
		digests = append(digests, d.Digest)
	}
	for _, d := range digests {
		if !strings.Contains(string(told), "/"+k.Name+"@"+d.String()+" ") {
			return fmt.Errorf("%s doesn't tell of %s", digestsFile, d)
		}
	}
	for _, d := range list.Manifests {
		arch := d.Platform.Architecture
		img, err := index.Image(d.Digest)
		if err != nil {
			return err
		}
		beside := filepath.Join(dir, k.Name+"-"+arch)
		if len(boms[d.Digest]) != 1 {
			return fmt.Errorf("%s: %d SBOMs, not one", arch, len(boms[d.Digest]))
		}
		if err := checkImage(k, arch, img, boms[d.Digest][0]); err != nil {
			return fmt.Errorf("%s: %w", arch, err)
		}
		all = append(all, boms[d.Digest]...)
		if err := checkArchive(beside+".tar", img); err != nil {
			return err
		}
		if bom, err := os.ReadFile(beside + ".spdx.json"); err != nil {
			return err
		} else if !bytes.Equal(bom, boms[d.Digest][0]) {
			return fmt.Errorf("%s.spdx.json isn't the SBOM that is attached", beside)
		}
	}
	if !slices.EqualFunc(all, boms[digest], bytes.Equal) {
		return errors.New("the SBOMs of the index aren't those of its images")
	}
	return nil
}

// checkArchive sees that an archive is the same image.
func checkArchive(path string, img v1.Image) error {
	packed, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		return err
	}
	if err := validate.Image(packed); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	got, err := packed.ConfigName()
	if err != nil {
		return err
	}
	if want, err := img.ConfigName(); err != nil {
		return err
	} else if got != want {
		return fmt.Errorf("%s isn't the image of the layout", path)
	}
	return nil
}

// checkImage sees that an image has what it must, and nothing else.
func checkImage(k kind, arch string, img v1.Image, bom []byte) error {
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	if want := fmt.Sprintf("%d:%d", nobody, nobody); config.Config.User != want {
		return fmt.Errorf("runs as %q, not as %s", config.Config.User, want)
	}
	if config.Architecture != arch || config.OS != "linux" {
		return fmt.Errorf("is for %s/%s", config.OS, config.Architecture)
	}
	allowed := []string{"etc/group", "etc/passwd", rootsPath, "usr/share/licenses/sealedge/LICENSE", "usr/share/licenses/sealedge/third-party.txt"}
	var programs []string
	for _, pkg := range k.Programs {
		programs = append(programs, "usr/bin/"+filepath.Base(pkg))
	}
	content := mutate.Extract(img)
	defer content.Close()
	contents := map[string][]byte{}
	for in := tar.NewReader(content); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		if !h.ModTime.Equal(config.Created.Time) {
			return fmt.Errorf("%s is of %s, not of the commit's time", h.Name, h.ModTime)
		}
		if h.Mode&0o6000 != 0 || h.Mode&0o022 != 0 && h.Name != "tmp" {
			return fmt.Errorf("%s has mode %o", h.Name, h.Mode)
		}
		var permitted string
		if slices.Contains(programs, h.Name) && k.Permits != 0 {
			permitted = capabilities(k.Permits)
		}
		if h.PAXRecords[capabilityRecord] != permitted {
			return fmt.Errorf("%s permits other capabilities: %x", h.Name, h.PAXRecords[capabilityRecord])
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		if h.Typeflag != tar.TypeReg || !slices.Contains(allowed, h.Name) && !slices.Contains(programs, h.Name) || h.Uid != 0 {
			return fmt.Errorf("%s has no business in the image", h.Name)
		}
		if contents[h.Name], err = io.ReadAll(in); err != nil {
			return err
		}
	}
	for _, name := range slices.Concat(allowed, programs) {
		if len(contents[name]) == 0 {
			return fmt.Errorf("%s is missing", name)
		}
	}
	for _, name := range programs {
		if err := checkStatic(contents[name], arch); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if len(config.Config.Entrypoint) != 1 || config.Config.Entrypoint[0] != "/"+programs[0] {
		return fmt.Errorf("starts %q", config.Config.Entrypoint)
	}
	return checkBOM(bom, contents, programs)
}

// checkStatic sees that a program needs nothing but the kernel.
func checkStatic(program []byte, arch string) error {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return err
	}
	if f.Machine != machines[arch] {
		return fmt.Errorf("is for %s", f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			return errors.New("isn't static")
		}
	}
	return nil
}

// checkBOM sees that an SBOM tells of each file and of each module built in, and of
// none besides.
func checkBOM(bom []byte, contents map[string][]byte, programs []string) error {
	var d spdxDocument
	if err := json.Unmarshal(bom, &d); err != nil {
		return fmt.Errorf("SBOM: %w", err)
	}
	said, is := map[string]bool{}, map[string]bool{}
	for _, f := range d.Files {
		said[fmt.Sprint(f.Name, f.Checksums)] = true
	}
	for name, content := range contents {
		is[fmt.Sprint("./"+name, checksums(content))] = true
	}
	for _, p := range d.Packages {
		if p.Purpose == "LIBRARY" {
			said[p.Name+" "+p.Version] = true
		}
	}
	for _, name := range programs {
		info, err := buildinfo.Read(bytes.NewReader(contents[name]))
		if err != nil {
			return err
		}
		is["stdlib "+strings.TrimPrefix(info.GoVersion, "go")] = true
		for _, dep := range info.Deps {
			c := dependency(dep)
			is[c.Path+" "+c.Version] = true
		}
	}
	for what := range is {
		if !said[what] {
			return fmt.Errorf("SBOM doesn't tell of %s", what)
		}
	}
	for what := range said {
		if !is[what] {
			return fmt.Errorf("SBOM tells of %s, which isn't there", what)
		}
	}
	return nil
}
