package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// settings are a unit's, with its drop-ins: all values of a key, in their order.
type settings map[string][]string

// unit reads the unit, with a drop-in or none.
func unit(t *testing.T, dropIn string) settings {
	t.Helper()
	var text strings.Builder
	for _, name := range []string{"sealedge.service", dropIn} {
		if name == "" {
			continue
		}
		content, err := files.ReadFile("files/" + name)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(content)
	}
	return parse(text.String())
}

// parse reads a unit and its drop-ins, one after the other.
func parse(text string) settings {
	s := make(settings)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			s[key] = append(s[key], value)
		}
	}
	return s
}

// privileges are a unit's, as setpriv(1) gives them.
func privileges(u settings, user, group string) []string {
	caps := func(key string) string {
		list := "-all"
		for _, c := range u.words(key) {
			list += ",+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
		}
		return list
	}
	return []string{
		"setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--no-new-privs",
		"--bounding-set=" + caps("CapabilityBoundingSet"),
		"--inh-caps=" + caps("AmbientCapabilities"), "--ambient-caps=" + caps("AmbientCapabilities"),
	}
}

func (s settings) last(key string) string {
	if v := s[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// words are those of all values of a key: of a list that drop-ins add to.
func (s settings) words(key string) (all []string) {
	for _, v := range s[key] {
		all = append(all, strings.Fields(v)...)
	}
	return all
}

// systemd understands the unit and its drop-ins, and finds all that they name.
func TestUnitVerifies(t *testing.T) {
	needs(t, "systemd-analyze")
	for _, dropIns := range [][]string{nil, {"netlink.conf"}, {"tun.conf"}, {"netlink.conf", "tun.conf"}} {
		root := installed(t, dropIns...)
		if out, err := verify(root); err != nil || out != "" {
			t.Errorf("%v: %v %s", dropIns, err, out)
		}
	}
	// It would say so.
	root := installed(t)
	if err := os.Remove(filepath.Join(root, "usr/bin/sealedge")); err != nil {
		t.Fatal(err)
	}
	if out, err := verify(root); err == nil && out == "" {
		t.Error("a unit without its program is found good")
	}
}

// installed is the package below a root directory, with what of systemd the unit
// names.
func installed(t *testing.T, dropIns ...string) (root string) {
	t.Helper()
	root = t.TempDir()
	for _, e := range tree(t) {
		install(t, root, e)
	}
	for _, name := range []string{"network-online.target", "time-sync.target", "multi-user.target", "sysinit.target", "basic.target", "shutdown.target", "system.slice", "-.slice", "-.mount", "tmp.mount"} {
		install(t, root, entry{"usr/lib/systemd/system/" + name, 0o644, []byte("[Unit]\nDescription=a part of systemd\n")})
	}
	install(t, root, entry{"bin/kill", 0o755, []byte("procps has it")})
	for _, name := range dropIns {
		content, err := files.ReadFile("files/" + name)
		if err != nil {
			t.Fatal(err)
		}
		install(t, root, entry{"etc/systemd/system/sealedge.service.d/" + name, 0o644, content})
	}
	return root
}

// verify asks systemd, and leaves out what it says of the files that installed made up.
func verify(root string) (string, error) {
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", "--recursive-errors=one", "--root="+root, "sealedge.service").CombinedOutput()
	var about []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "sealedge") {
			about = append(about, line)
		}
	}
	return strings.Join(about, ""), err
}

// systemd's own measure of what a service could do if somebody got into it, 0 to 100.
func TestUnitSecurity(t *testing.T) {
	needs(t, "systemd-analyze")
	for _, c := range []struct {
		dropIns []string
		at      int // most
	}{
		{nil, 13}, {[]string{"netlink.conf"}, 20}, {[]string{"tun.conf"}, 23}, {[]string{"netlink.conf", "tun.conf"}, 25},
	} {
		root := installed(t, c.dropIns...)
		if out, err := exposure(root, c.at); err != nil {
			t.Errorf("%v: %v\n%s", c.dropIns, err, out)
		}
	}
	root := installed(t)
	install(t, root, entry{"etc/systemd/system/sealedge.service.d/loose.conf", 0o644, []byte("[Service]\nSystemCallFilter=\nProtectSystem=no\n")})
	if _, err := exposure(root, 13); err == nil {
		t.Error("a unit that may do much is found good")
	}
}

func exposure(root string, most int) (string, error) {
	out, err := exec.Command("systemd-analyze", "security", "--no-pager", "--offline=true", fmt.Sprintf("--threshold=%d", most), "--root="+root, "sealedge.service").CombinedOutput()
	var bad []string
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "✗") || strings.HasPrefix(line, "→") {
			bad = append(bad, line)
		}
	}
	return strings.Join(bad, ""), err
}

// A stop gives the drain its time, and the end after it.
func TestUnitStops(t *testing.T) {
	u := unit(t, "")
	var drain, limit int
	_, after, _ := strings.Cut(u.last("ExecStop"), "--timeout ")
	if _, err := fmt.Sscanf(after, "%ds", &drain); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(u.last("TimeoutStopSec"), "%ds", &limit); err != nil {
		t.Fatal(err)
	}
	if limit < drain+15 {
		t.Errorf("%d s for a drain that takes up to %d", limit, drain)
	}
	if u.last("RestartPreventExitStatus") != "2" || u.last("NoNewPrivileges") != "yes" {
		t.Error("a mistake in the configuration is tried again, or the unit may gain privileges")
	}
}

// allowed expands the unit's filter of system calls, as systemd knows the sets.
func allowed(t *testing.T, u settings) map[string]bool {
	t.Helper()
	sets := make(map[string][]string)
	name := ""
	for line := range strings.Lines(do(t, "systemd-analyze", "--no-pager", "syscall-filter")) {
		switch word := strings.TrimSpace(line); {
		case strings.HasPrefix(line, "@"):
			name = word
		case word != "" && !strings.HasPrefix(word, "#"):
			sets[name] = append(sets[name], word)
		}
	}
	calls := make(map[string]bool)
	var put func(word string, ok bool)
	put = func(word string, ok bool) {
		if !strings.HasPrefix(word, "@") {
			calls[word] = ok
			return
		}
		if len(sets[word]) == 0 {
			t.Fatalf("systemd knows no set %s", word)
		}
		for _, w := range sets[word] {
			put(w, ok)
		}
	}
	for _, v := range u["SystemCallFilter"] {
		forbid := strings.HasPrefix(v, "~")
		for word := range strings.FieldsSeq(strings.TrimPrefix(v, "~")) {
			put(word, !forbid)
		}
	}
	put("@default", true) // always (systemd.exec(5))
	calls["execve"] = true
	return calls
}

// forbidden are the system calls and kinds of sockets in a trace of the daemon that the
// unit doesn't allow.
func forbidden(t *testing.T, u settings, trace string) (calls []string) {
	t.Helper()
	ok, families := allowed(t, u), u.words("RestrictAddressFamilies")
	_, after, found := strings.Cut(trace, "/sealedge\", [")
	if !found {
		t.Fatalf("the trace doesn't begin with the daemon:\n%.2000s", trace)
	}
	seen := 0
	for line := range strings.Lines(after) {
		_, call, _ := strings.Cut(strings.TrimSpace(line), " ") // after the thread
		call = strings.TrimSpace(call)
		name, rest, is := strings.Cut(call, "(")
		if !is || strings.ContainsAny(name, " <+-") {
			continue
		}
		seen++
		if !ok[name] {
			calls = append(calls, name)
		}
		if family, _, _ := strings.Cut(rest, ","); name == "socket" && !slices.Contains(families, family) {
			calls = append(calls, "socket "+family)
		}
	}
	if seen < 100 {
		t.Fatalf("%d system calls in the trace", seen)
	}
	slices.Sort(calls)
	return slices.Compact(calls)
}
