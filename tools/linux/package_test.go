package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var made = time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC)

// needs ends a test for want of a program. A CI machine has to have it.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}

// needsRoot skips a test that only root can do.
func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can start a program with another user's rights")
	}
}

// do runs a program and returns what it says; it has to end well.
func do(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// tree is what is installed, with programs that are only looked at.
func tree(t *testing.T) []entry {
	t.Helper()
	dummy := make(map[string][]byte)
	for name := range programs {
		dummy[name] = []byte("#!/bin/sh\necho " + name + "\n")
	}
	all, err := layout("../..", dummy)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// find is an installed file.
func find(t *testing.T, all []entry, path string) entry {
	t.Helper()
	i := slices.IndexFunc(all, func(e entry) bool { return "/"+e.path == path })
	if i < 0 {
		t.Fatalf("%s is not in the package", path)
	}
	return all[i]
}

// Everything is root's, nobody else can write it, and what the unit runs is there.
func TestLayout(t *testing.T) {
	all := tree(t)
	u := unit(t, "")
	for _, key := range []string{"ExecStart", "ExecStop"} {
		program, _, _ := strings.Cut(strings.TrimPrefix(u.last(key), "-"), " ")
		if e := find(t, all, program); e.mode != 0o755 {
			t.Errorf("%s has mode %o", e.path, e.mode)
		}
	}
	find(t, all, strings.TrimPrefix(u.last("Documentation"), "file://"))
	if !strings.Contains(string(find(t, all, "/usr/lib/tmpfiles.d/sealedge.conf").content), " "+u.last("ConditionPathExists")+" ") {
		t.Error("the configuration that the unit waits for is not in tmpfiles.d")
	}
	archive, err := tarball(all, made)
	if err != nil {
		t.Fatal(err)
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{".": true}
	var installed int
	for r := tar.NewReader(unzipped); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := path.Clean(h.Name)
		if !there[path.Dir(name)] {
			t.Errorf("%s comes before its directory", name)
		}
		there[name] = true
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "root" || h.Gname != "root" || h.Mode&0o022 != 0 || !h.ModTime.Equal(made) {
			t.Errorf("%+v", h)
		}
		if h.Typeflag == tar.TypeReg {
			installed++
			if program := strings.HasPrefix(name, "usr/bin/"); program != (h.Mode&0o111 != 0) {
				t.Errorf("%s has mode %o", name, h.Mode)
			}
		}
	}
	if installed != len(all) {
		t.Errorf("%d files of %d", installed, len(all))
	}
}

// The page lists what the package has.
func TestDocumentedLayout(t *testing.T) {
	page, err := os.ReadFile("../../docs/install-linux.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range tree(t) {
		if !strings.Contains(string(page), "`/"+e.path+"`") {
			t.Errorf("docs/install-linux.md doesn't say what /%s is", e.path)
		}
	}
}

// The same in gives the same out, and Debian's own tools read it.
func TestDebian(t *testing.T) {
	all := tree(t)
	deb, err := debian(all, "v0.2.0-3-gabcdef0", "amd64", made)
	if err != nil {
		t.Fatal(err)
	}
	again, err := debian(tree(t), "v0.2.0-3-gabcdef0", "amd64", made)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(deb, again) {
		t.Error("made twice, it differs")
	}
	needs(t, "dpkg-deb")
	dir := t.TempDir()
	file := filepath.Join(dir, "sealedge.deb")
	if err := os.WriteFile(file, deb, 0o600); err != nil {
		t.Fatal(err)
	}
	about := do(t, "dpkg-deb", "--info", file)
	for _, want := range []string{"Version: 0.2.0+3.gabcdef0", "Architecture: amd64", "postinst", "prerm", "md5sums"} {
		if !strings.Contains(about, want) {
			t.Errorf("no %q in\n%s", want, about)
		}
	}
	do(t, "dpkg-deb", "--raw-extract", file, filepath.Join(dir, "x"))
	for _, e := range all {
		got, err := os.ReadFile(filepath.Join(dir, "x", e.path))
		if err != nil || !bytes.Equal(got, e.content) {
			t.Errorf("%s: %v", e.path, err)
		}
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		do(t, "sh", "-n", filepath.Join(dir, "x", "DEBIAN", script))
	}
	sums := exec.Command("md5sum", "--quiet", "-c", "DEBIAN/md5sums")
	sums.Dir = filepath.Join(dir, "x")
	if out, err := sums.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// Versions are in Debian's order as they are in ours.
// The page has who unpacks the archive do what the package does. The kernel's settings are
// taken from all of the machine's files, so that a larger value that somebody set stays.
func TestThePageDoesWhatThePackageDoes(t *testing.T) {
	script, err := os.ReadFile("files/postinst")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/install-linux.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "does by itself:\n\n")
	block, _, _ := strings.Cut(rest, "\n\n")
	lines := strings.Split(block, "\n")
	for _, line := range lines {
		if !strings.Contains(string(script), strings.TrimSpace(line)) {
			t.Errorf("postinst doesn't do %q", line)
		}
	}
	if last := lines[len(lines)-1]; len(lines) != 4 || !strings.Contains(last, "systemd-sysctl --prefix=/net/core/") {
		t.Errorf("%q", lines)
	}
}

func TestDebianVersion(t *testing.T) {
	needs(t, "dpkg")
	order := []string{"1a2b3c4-dirty", "v0.1.0", "v0.2.0-rc1", "v0.2.0", "v0.2.0-14-gabcdef0", "v0.2.0-15-gabcdef0-dirty", "v0.10.0"}
	for i := range order[1:] {
		a, b := debianVersion(order[i]), debianVersion(order[i+1])
		if err := exec.Command("dpkg", "--compare-versions", a, "lt", b).Run(); err != nil {
			t.Errorf("%s is not before %s: %v", a, b, err)
		}
		do(t, "dpkg", "--validate-version", a)
	}
}

// The user, and the directories, come out as the unit wants them.
func TestUserAndDirectories(t *testing.T) {
	needsRoot(t)
	needs(t, "systemd-sysusers", "systemd-tmpfiles")
	root := t.TempDir()
	for _, e := range tree(t) {
		install(t, root, e)
	}
	install(t, root, entry{"etc/sealedge/pki/key.pem", 0o600, []byte("a key")})
	install(t, root, entry{"etc/sealedge/sealedge.yaml", 0o644, []byte("a configuration")})
	do(t, "systemd-sysusers", "--root="+root)
	do(t, "systemd-tmpfiles", "--root="+root, "--create", "--prefix=/etc/sealedge")
	passwd, err := os.ReadFile(filepath.Join(root, "etc/passwd"))
	if err != nil {
		t.Fatal(err)
	}
	if u := unit(t, ""); u.last("User") != "sealedge" || !strings.Contains(string(passwd), "\nsealedge:") && !strings.HasPrefix(string(passwd), "sealedge:") {
		t.Errorf("the unit's user is %s, there are\n%s", u.last("User"), passwd)
	}
	group := do(t, "stat", "-c", "%g", filepath.Join(root, "etc/sealedge"))
	for path, want := range map[string]string{
		"etc/sealedge": "750 0 ", "etc/sealedge/pki": "750 0 ", "etc/sealedge/pki/key.pem": "640 0 ", "etc/sealedge/sealedge.yaml": "640 0 ",
	} {
		if got := do(t, "stat", "-c", "%a %u %g", filepath.Join(root, path)); got != want+group || group == "0\n" {
			t.Errorf("%s: %s, want %s%s", path, got, want, group)
		}
	}
}

// install puts a file below another root directory.
func install(t *testing.T, root string, e entry) {
	t.Helper()
	at := filepath.Join(root, e.path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, e.content, e.mode)); err != nil {
		t.Fatal(err)
	}
}
