package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdxlib"
)

// aProgram says where its source lies: what must not be in the binary.
var aProgram = map[string]string{
	"go.mod":              "module github.com/sealedge/sealedge\n\ngo 1.26.0\n",
	"LICENSE":             "", // the house's, see sample
	"edge/hello/main.go":  "package main\n\nimport \"runtime\"\n\nvar version = \"unknown\"\n\nfunc main() {\n\t_, file, _, _ := runtime.Caller(0)\n\tprintln(version, file)\n}\n",
	"tools/other/main.go": "package main\n\nvar version = \"unknown\"\n\nfunc main() { println(version) }\n",
}

var sampleKinds = []kind{
	{Name: "hello", Title: "hello", Description: "Says where it is from", Programs: []string{"./edge/hello"}, Command: []string{"run"}, Permits: netAdmin | bpf},
	{Name: "both", Title: "both", Description: "Two programs", Programs: []string{"./edge/hello", "./tools/other"}},
}

// sample writes the small module into dir.
func sample(t testing.TB, dir string) string {
	t.Helper()
	own, err := os.ReadFile("../../LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range aProgram {
		if name == "LICENSE" {
			content = string(own)
		}
		if err := put(dir, name, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// aRoot is a CA certificate, the same for all tests of a run.
var aRoot = sync.OnceValue(func() []byte { return certificate("Test Root", true) })

func certificate(name string, isCA bool) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true, IsCA: isCA,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(4e9, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func write(t testing.TB, file string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// sampleJob is the making of images of the small module that lies in dir.
func sampleJob(t testing.TB, dir string) job {
	return job{
		Source: source{Dir: dir, Version: "v1.2.3", Revision: strings.Repeat("5e", 20), Created: time.Unix(1795410541, 0).UTC()},
		Images: sampleKinds, Arches: []string{"amd64", "arm64"}, Registry: "registry.example/seals",
		Roots: write(t, filepath.Join(t.TempDir(), "roots.pem"), aRoot()), Log: t.Logf,
	}
}

// once is made for the tests that only read it, or that copy it.
var once struct {
	sync.Once
	dir string
}

func sampleImages(t testing.TB) string {
	t.Helper()
	once.Do(func() {
		j := sampleJob(t, sample(t, filepath.Join(t.TempDir(), "src")))
		dir, err := os.MkdirTemp("", "image-test-")
		if err != nil {
			t.Fatal(err)
		}
		if err := j.make(t.Context(), filepath.Join(dir, "out")); err != nil {
			os.RemoveAll(dir)
			t.Fatal(err)
		}
		once.dir = dir
	})
	if once.dir == "" {
		t.Fatal("the sample wasn't made")
	}
	return filepath.Join(once.dir, "out")
}

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(once.dir)
	os.Exit(code)
}

// The same source gives the same bytes wherever it lies, and another source others.
func TestSameInputSameDigest(t *testing.T) {
	first := sampleImages(t)
	elsewhere := sampleJob(t, sample(t, filepath.Join(t.TempDir(), "quite", "another", "place")))
	second := filepath.Join(t.TempDir(), "out")
	if err := elsewhere.make(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if differ, err := differences(first, second); err != nil || len(differ) > 0 {
		t.Errorf("two builds of the same differ in %v, %v", differ, err)
	}

	for name, change := range map[string]func(*job){
		"version":  func(j *job) { j.Source.Version = "v1.2.4" },
		"time":     func(j *job) { j.Source.Created = j.Source.Created.Add(time.Second) },
		"CA roots": func(j *job) { j.Roots = write(t, filepath.Join(t.TempDir(), "r.pem"), certificate("Other", true)) },
	} {
		t.Run(name, func(t *testing.T) {
			j := sampleJob(t, elsewhere.Source.Dir)
			j.Arches = []string{"amd64"}
			change(&j)
			third := filepath.Join(t.TempDir(), "out")
			if err := j.make(t.Context(), third); err != nil {
				t.Fatal(err)
			}
			a, _ := os.ReadFile(filepath.Join(first, "hello-amd64.tar"))
			b, _ := os.ReadFile(filepath.Join(third, "hello-amd64.tar"))
			if len(a) == 0 || bytes.Equal(a, b) {
				t.Errorf("with another %s the image is the same", name)
			}
		})
	}
}

// An image is the same whatever registry it is for.
func TestRegistryIsNotInTheImage(t *testing.T) {
	j := sampleJob(t, sample(t, filepath.Join(t.TempDir(), "src")))
	j.Registry = "elsewhere.example"
	out := filepath.Join(t.TempDir(), "out")
	if err := j.make(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	digests := func(dir string) string {
		content, err := os.ReadFile(filepath.Join(dir, digestsFile))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	want := strings.ReplaceAll(digests(sampleImages(t)), "registry.example/seals/", "elsewhere.example/")
	if got := digests(out); got != want {
		t.Errorf("digests are\n%s, not\n%s", got, want)
	}
}

func TestWhatIsMadePassesTheCheck(t *testing.T) {
	out := sampleImages(t)
	if err := check(out, sampleKinds); err != nil {
		t.Error(err)
	}
	if err := check(out, catalogue); err == nil {
		t.Error("images that aren't there were found")
	}
}

// A foreign implementation of SPDX reads the SBOM and finds it valid.
func TestSBOMIsValidSPDX(t *testing.T) {
	out := sampleImages(t)
	for _, name := range []string{"hello-amd64", "both-arm64"} {
		raw, err := os.ReadFile(filepath.Join(out, name+".spdx.json"))
		if err != nil {
			t.Fatal(err)
		}
		d, err := spdxjson.Read(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if err := spdxlib.ValidateDocument(d); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d.SPDXVersion != "SPDX-2.3" || d.CreationInfo.Created != "2026-11-23T05:09:01Z" {
			t.Errorf("%s: %s of %s", name, d.SPDXVersion, d.CreationInfo.Created)
		}
		described, err := spdxlib.GetDescribedPackageIDs(d)
		if err != nil || len(described) != 1 || described[0] != "Image" {
			t.Errorf("%s describes %v, %v", name, described, err)
		}
		// The digest of the roots is there.
		var mine spdxDocument
		if err := json.Unmarshal(raw, &mine); err != nil {
			t.Fatal(err)
		}
		roots, _, err := readRoots(write(t, filepath.Join(t.TempDir(), "r"), aRoot()))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, f := range mine.Files {
			found = found || f.Name == "./"+rootsPath && f.Checksums[1] == checksums(roots)[1]
		}
		if !found {
			t.Errorf("%s doesn't have the digest of the CA roots", name)
		}
	}
}

// Every licence of what the programs of this tree are made of is known, and none
// asks for what a closed network can't give.
func TestLicencesOfTheRealPrograms(t *testing.T) {
	c := compiler{Dir: "../..", Arch: "amd64"}
	shelf, err := c.shelf(context.Background(), catalogue)
	if err != nil {
		t.Fatal(err)
	}
	if len(shelf) < 20 {
		t.Fatalf("only %d modules", len(shelf))
	}
	accepted := []string{
		"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0",
		"LicenseRef-modernc.org-libc-LICENSE-3RD-PARTY.md", "LicenseRef-modernc.org-sqlite-LICENSE-3RD-PARTY.md", // of the above, with addresses and copyright lines
		"LicenseRef-modernc.org-memory-LICENSE-LOGO",   // a picture that isn't built in
		"LicenseRef-modernc.org-sqlite-LICENSE-SQLITE", // public domain
	}
	for path, lic := range shelf {
		for id := range strings.SplitSeq(lic.Expression, " AND ") {
			if !slices.Contains(accepted, id) {
				t.Errorf("%s is under %s: look whether it may be given away with the image, and say so in this test", path, lic.Expression)
			}
		}
		if lic.Text == "" {
			t.Errorf("%s has no licence text", path)
		}
	}
}
