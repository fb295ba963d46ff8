package main

import (
	"bytes"
	"crypto/md5" //nolint:gosec // the format's, of files that came whole; see deb-md5sums(5)
	"fmt"
	"regexp"
	"strings"
	"time"
)

// debian is a package as deb(5) has it: an ar archive of the format's version, of what
// the package manager is told, and of the tree.
func debian(tree []entry, version, arch string, made time.Time) ([]byte, error) {
	size := 0
	var sums bytes.Buffer
	for _, e := range tree {
		size += len(e.content)
		fmt.Fprintf(&sums, "%x  %s\n", md5.Sum(e.content), e.path)
	}
	about := []entry{
		{"control", 0o644, control(version, arch, size)},
		{"md5sums", 0o644, sums.Bytes()},
	}
	for _, name := range []string{"postinst", "postrm", "prerm"} {
		script, err := files.ReadFile("files/" + name)
		if err != nil {
			return nil, err
		}
		about = append(about, entry{name, 0o755, script})
	}
	told, err := tarball(about, made)
	if err != nil {
		return nil, err
	}
	data, err := tarball(tree, made)
	if err != nil {
		return nil, err
	}
	out := bytes.NewBufferString("!<arch>\n")
	for _, member := range []struct {
		name    string
		content []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar.gz", told}, {"data.tar.gz", data}} {
		fmt.Fprintf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", member.name, made.Unix(), 0, 0, "100644", len(member.content))
		out.Write(member.content)
		if len(member.content)%2 == 1 {
			out.WriteByte('\n')
		}
	}
	return out.Bytes(), nil
}

// control says what the package is (deb-control(5)). The programs are static: it needs
// systemd for the user and the service, and a clock that is right.
func control(version, arch string, size int) []byte {
	return fmt.Appendf(nil, `Package: sealedge
Version: %s
Architecture: %s
Maintainer: sealedge maintainers <maintainers@sealedge.example>
Installed-Size: %d
Depends: systemd
Recommends: chrony | time-daemon
Section: net
Priority: optional
Homepage: https://github.com/sealedge/sealedge
Description: gateway for the use of company seals over a private APN
 A node of the gateway (sealedge), the operators' tool (sealctl) and the
 check of a running gateway (sealsim check). Nothing is started by the
 installation: see /usr/share/doc/sealedge/install-linux.md.
`, debianVersion(version), arch, (size+1023)/1024)
}

var (
	describedVersion = regexp.MustCompile(`^(\d[\w.+~]*)-(\d+)-(g[0-9a-f]+)`)
	notInVersion     = regexp.MustCompile(`[^A-Za-z0-9.+~]+`)
)

// debianVersion is a version as Debian orders it (deb-version(7)): v0.2.0 is 0.2.0,
// v0.2.0-14-gabc comes after it as 0.2.0+14.gabc, v0.3.0-rc1 before 0.3.0 as 0.3.0~rc1,
// and what is no version before all.
func debianVersion(v string) string {
	v = strings.TrimPrefix(v, "v")
	if m := describedVersion.FindStringSubmatch(v); m != nil {
		v = m[1] + "+" + m[2] + "." + strings.ReplaceAll(strings.TrimPrefix(v, m[1]+"-"+m[2]+"-"), "-", ".")
	} else {
		v = strings.Replace(v, "-", "~", 1)
	}
	v = notInVersion.ReplaceAllString(v, ".")
	if v == "" || v[0] < '0' || v[0] > '9' || !strings.Contains(v, ".") {
		v = "0~" + v
	}
	return v
}
