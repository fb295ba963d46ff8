package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// sampleImage reads the amd64 image "hello" of the sample, and its SBOM.
func sampleImage(t *testing.T) (v1.Image, []byte) {
	t.Helper()
	dir := filepath.Join(sampleImages(t), layoutDir)
	root, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	list, err := root.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	boms, err := attached(dir, list)
	if err != nil {
		t.Fatal(err)
	}
	index, err := root.ImageIndex(list.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	below, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	img, err := index.Image(below.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return img, boms[below.Manifests[0].Digest][0]
}

func TestCheckRefusesImages(t *testing.T) {
	good, bom := sampleImage(t)
	if err := checkImage(sampleKinds[0], "amd64", good, bom); err != nil {
		t.Fatal(err)
	}
	config, err := good.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	with := func(f file) func(*testing.T) v1.Image {
		return func(t *testing.T) v1.Image {
			l, err := layer([]file{f}, config.Created.Time)
			if err != nil {
				t.Fatal(err)
			}
			img, err := mutate.AppendLayers(good, l)
			if err != nil {
				t.Fatal(err)
			}
			return img
		}
	}
	configured := func(change func(*v1.ConfigFile)) func(*testing.T) v1.Image {
		return func(t *testing.T) v1.Image {
			c := config.DeepCopy()
			change(c)
			img, err := mutate.ConfigFile(good, c)
			if err != nil {
				t.Fatal(err)
			}
			return img
		}
	}
	sh, err := os.ReadFile("/bin/sh") // dynamically linked on whatever runs the tests
	if err != nil {
		t.Fatal(err)
	}
	sbom := func(change func(*spdxDocument)) []byte {
		var altered spdxDocument
		if err := json.Unmarshal(bom, &altered); err != nil {
			t.Fatal(err)
		}
		change(&altered)
		raw, err := json.Marshal(altered)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for _, c := range []struct {
		name string
		img  func(*testing.T) v1.Image
		bom  []byte
		want string
	}{
		{"a shell", with(file{Path: "bin/sh", Mode: 0o755, Content: sh}), bom, "bin/sh has no business"},
		{"a setuid program", with(file{Path: "usr/bin/hello", Mode: 0o4755, Content: sh}), bom, "has mode"},
		{"a writable program", with(file{Path: "usr/bin/hello", Mode: 0o777, Content: sh}), bom, "has mode"},
		{"a program of the user", with(file{Path: "usr/bin/hello", Mode: 0o755, Owner: nobody, Content: sh, Permits: netAdmin | bpf}), bom, "no business"},
		{"more capabilities", with(file{Path: "usr/bin/hello", Mode: 0o755, Content: sh, Permits: netAdmin | bpf | netRaw}), bom, "permits other capabilities"},
		{"no capabilities", with(file{Path: "usr/bin/hello", Mode: 0o755, Content: sh}), bom, "permits other capabilities"},
		{"capabilities elsewhere", with(file{Path: rootsPath, Mode: 0o644, Content: sh, Permits: netAdmin}), bom, "permits other capabilities"},
		{"a dynamic program", with(file{Path: "usr/bin/hello", Mode: 0o755, Content: sh, Permits: netAdmin | bpf}), bom, "isn't static"},
		{"no CA roots", with(file{Path: rootsPath, Mode: 0o644}), bom, "is missing"},
		{"other CA roots", with(file{Path: rootsPath, Mode: 0o644, Content: certificate("Other", true)}), bom, "SBOM doesn't tell of ./" + rootsPath},
		{"root", configured(func(c *v1.ConfigFile) { c.Config.User = "0" }), bom, "runs as"},
		{"nobody said who", configured(func(c *v1.ConfigFile) { c.Config.User = "" }), bom, "runs as"},
		{"another architecture", configured(func(c *v1.ConfigFile) { c.Architecture = "arm64" }), bom, "is for linux/arm64"},
		{"another time", configured(func(c *v1.ConfigFile) { c.Created.Time = c.Created.Add(time.Second) }), bom, "not of the commit's time"},
		{"another entry point", configured(func(c *v1.ConfigFile) { c.Config.Entrypoint = []string{"/usr/bin/other"} }), bom, "starts"},
		{"no SBOM", configured(func(*v1.ConfigFile) {}), nil, "SBOM"},
		{"an SBOM without the standard library", configured(func(*v1.ConfigFile) {}), sbom(func(d *spdxDocument) {
			d.Packages = d.Packages[:2]
		}), "SBOM doesn't tell of stdlib"},
		{"an SBOM of a module that isn't there", configured(func(*v1.ConfigFile) {}), sbom(func(d *spdxDocument) {
			d.Packages = append(d.Packages, spdxPackage{Name: "example.com/x", Version: "v1", Purpose: "LIBRARY"})
		}), "SBOM tells of example.com/x v1"},
		{"an SBOM of another file", configured(func(*v1.ConfigFile) {}), sbom(func(d *spdxDocument) {
			d.Files[0].Checksums[1].Value = strings.Repeat("0", 64)
		}), "SBOM doesn't tell of"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := checkImage(sampleKinds[0], "amd64", c.img(t), c.bom); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, not %q", err, c.want)
			}
		})
	}
}

// Descriptors in an index have no more than OCI 1.0 knew: older tools drop the rest when
// they copy an index, and its digest with it.
func TestIndexSurvivesOlderTools(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(sampleImages(t), layoutDir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	type list struct {
		Manifests []map[string]any
	}
	var top list
	if err := json.Unmarshal(raw, &top); err != nil {
		t.Fatal(err)
	}
	digest := strings.TrimPrefix(top.Manifests[0]["digest"].(string), "sha256:")
	if raw, err = os.ReadFile(filepath.Join(sampleImages(t), layoutDir, "blobs/sha256", digest)); err != nil {
		t.Fatal(err)
	}
	var index list
	if err := json.Unmarshal(raw, &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Manifests) != 2 {
		t.Fatalf("%d images in the index", len(index.Manifests))
	}
	for _, m := range index.Manifests {
		for _, field := range sortedKeys(m) {
			if !slices.Contains([]string{"digest", "mediaType", "platform", "size"}, field) {
				t.Errorf("a descriptor has %s", field)
			}
		}
	}
}

func TestCheckRefusesDeliveries(t *testing.T) {
	// resum makes the list of digests anew, as one would who changes a delivery.
	resum := func(t *testing.T, dir string) {
		sums, err := sum(dir)
		if err != nil {
			t.Fatal(err)
		}
		var list strings.Builder
		for path, s := range sums {
			list.WriteString(s + "  " + path + "\n")
		}
		write(t, filepath.Join(dir, sumsFile), []byte(list.String()))
	}
	largest := func(t *testing.T, dir string) string {
		blobs, err := filepath.Glob(filepath.Join(dir, layoutDir, "blobs/sha256/*"))
		if err != nil {
			t.Fatal(err)
		}
		var file string
		var size int64
		for _, b := range blobs {
			if info, err := os.Stat(b); err == nil && info.Size() > size {
				file, size = b, info.Size()
			}
		}
		return file
	}
	flip := func(t *testing.T, file string) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		content[len(content)/2] ^= 1
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		write(t, file, content)
	}
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string)
		want   string
	}{
		"a bit of a layer":     {func(t *testing.T, dir string) { flip(t, largest(t, dir)) }, sumsFile},
		"a layer and the list": {func(t *testing.T, dir string) { flip(t, largest(t, dir)); resum(t, dir) }, "both"},
		"a file more":          {func(t *testing.T, dir string) { write(t, filepath.Join(dir, "x"), nil) }, "doesn't have x"},
		"a file less":          {func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, digestsFile)) }, sumsFile},
		"another digest": {func(t *testing.T, dir string) {
			file := filepath.Join(dir, digestsFile)
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			write(t, file, bytes.Replace(content, []byte("sha256:"), []byte("sha256:0"), 1))
			resum(t, dir)
		}, digestsFile},
		"an SBOM that isn't attached": {func(t *testing.T, dir string) {
			file := filepath.Join(dir, layoutDir, "index.json")
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var list v1.IndexManifest
			if err := json.Unmarshal(raw, &list); err != nil {
				t.Fatal(err)
			}
			list.Manifests = list.Manifests[:len(list.Manifests)-1]
			if raw, err = json.Marshal(list); err != nil {
				t.Fatal(err)
			}
			write(t, file, raw)
			resum(t, dir)
		}, "SBOMs"},
		"another image's archive": {func(t *testing.T, dir string) { swap(t, dir, "hello-amd64.tar", "both-amd64.tar"); resum(t, dir) }, "isn't the image of the layout"},
		"another image's SBOM": {func(t *testing.T, dir string) {
			swap(t, dir, "hello-amd64.spdx.json", "hello-arm64.spdx.json")
			resum(t, dir)
		}, "isn't the SBOM that is attached"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "delivery")
			if err := os.CopyFS(dir, os.DirFS(sampleImages(t))); err != nil {
				t.Fatal(err)
			}
			c.change(t, dir)
			if err := check(dir, sampleKinds); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, not %q", err, c.want)
			}
		})
	}
}

func swap(t *testing.T, dir, a, b string) {
	t.Helper()
	a, b = filepath.Join(dir, a), filepath.Join(dir, b)
	for _, move := range [][2]string{{a, a + ".x"}, {b, a}, {a + ".x", b}} {
		if err := os.Rename(move[0], move[1]); err != nil {
			t.Fatal(err)
		}
	}
}

// The attribute is the one that setcap cap_net_admin,cap_bpf=p writes.
func TestCapabilities(t *testing.T) {
	const want = "0000000200100000" + "00000000" + "80000000" + "00000000"
	if got := hex.EncodeToString([]byte(capabilities(netAdmin | bpf))); got != want {
		t.Errorf("%s, not %s", got, want)
	}
}

func TestReadRoots(t *testing.T) {
	a, b := certificate("A", true), certificate("B", true)
	for _, c := range []struct {
		name  string
		files map[string]string
		n     int
		want  string // of the error
	}{
		{"two files", map[string]string{"a.crt": string(a), "b.crt": string(b), "readme": "x"}, 2, ""},
		{"twice the same", map[string]string{"a.crt": string(a), "b.crt": string(a)}, 1, ""},
		{"none", map[string]string{"readme": "x"}, 0, "no CA certificate"},
		{"a server's certificate", map[string]string{"a.crt": string(certificate("S", false))}, 0, "is not a CA"},
		{"a key", map[string]string{"a.crt": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}, 0, "a PRIVATE KEY among CA roots"},
		{"rubbish", map[string]string{"a.crt": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, 0, "a.crt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range c.files {
				write(t, filepath.Join(dir, name), []byte(content))
			}
			bundle, n, err := readRoots(dir)
			if n != c.n || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%d roots, %v; not %d, %q", n, err, c.n, c.want)
			}
			if strings.Count(string(bundle), "BEGIN CERTIFICATE") != c.n {
				t.Errorf("the bundle is %s", bundle)
			}
			if c.n == 0 {
				return
			}
			// What was taken out of an image makes the same image.
			again, _, err := readRoots(write(t, filepath.Join(t.TempDir(), "bundle"), bundle))
			if err != nil || !bytes.Equal(again, bundle) {
				t.Errorf("the bundle becomes %s, %v", again, err)
			}
		})
	}
	if _, _, err := readRoots(filepath.Join(t.TempDir(), "nothing")); err == nil || !strings.Contains(err.Error(), "ca-certificates") {
		t.Errorf("without a file: %v", err)
	}
}

// What is built is the commit, whatever lies in the work tree.
func TestSource(t *testing.T) {
	repo := t.TempDir()
	t.Chdir(repo)
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	t.Setenv("SOURCE_DATE_EPOCH", "")
	t.Setenv("GIT_COMMITTER_DATE", "1700000000 +0100")
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		t.Setenv("GIT_"+who+"_NAME", "A")
		t.Setenv("GIT_"+who+"_EMAIL", "a@example")
	}
	do := func(args ...string) {
		if said, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, said)
		}
	}
	write(t, "a", []byte("committed"))
	write(t, ".gitignore", []byte("ignored\n"))
	do("init", "-q")
	do("add", ".")
	do("commit", "-qm", "one")
	do("tag", "v1.0.0")
	write(t, "a", []byte("changed"))
	write(t, "new", []byte("new"))
	write(t, "ignored", []byte("secret"))
	files := func(dir string) string {
		var all []string
		for _, name := range []string{"a", "new", "ignored"} {
			if content, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
				all = append(all, name+"="+string(content))
			}
		}
		return strings.Join(all, " ")
	}

	commit := source{Dir: t.TempDir()}
	if err := commit.fromCommit(t.Context(), "HEAD"); err != nil {
		t.Fatal(err)
	}
	if got := files(commit.Dir); got != "a=committed" || commit.Version != "v1.0.0" || commit.Created.Unix() != 1700000000 || len(commit.Revision) != 40 {
		t.Errorf("the commit is %+v with %s", commit, got)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1600000000")
	tree := source{Dir: t.TempDir()}
	if err := tree.fromWorkTree(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := files(tree.Dir); got != "a=changed new=new" || tree.Version != "v1.0.0-dirty" || tree.Created.Unix() != 1600000000 {
		t.Errorf("the work tree is %+v with %s", tree, got)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if err := (&source{Dir: t.TempDir()}).fromCommit(t.Context(), "HEAD"); err == nil || !strings.Contains(err.Error(), "SOURCE_DATE_EPOCH") {
		t.Errorf("a time that is none: %v", err)
	}
	if err := (&source{Dir: t.TempDir()}).fromCommit(t.Context(), "--output=x"); err == nil {
		t.Error("an option was taken for a commit")
	}
}

// A directory that isn't ours isn't replaced.
func TestInstall(t *testing.T) {
	fresh, out := sampleImages(t), filepath.Join(t.TempDir(), "out")
	for range 2 { // into nothing, and over what was made before
		if err := install(fresh, out); err != nil {
			t.Fatal(err)
		}
		if differ, err := differences(fresh, out); err != nil || len(differ) > 0 {
			t.Fatalf("differ: %v, %v", differ, err)
		}
	}
	theirs := t.TempDir()
	write(t, filepath.Join(theirs, "thesis.txt"), []byte("x"))
	if err := install(fresh, theirs); err == nil {
		t.Error("somebody else's directory was replaced")
	}
	if _, err := os.Stat(filepath.Join(theirs, "thesis.txt")); err != nil {
		t.Error(err)
	}
}
