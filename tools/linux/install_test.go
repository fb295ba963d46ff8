package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// stage is a step of docs/install-linux.md: commands on machines, or what systemctl
// does on nodes.
var stage = regexp.MustCompile("<!-- on: (.*?) -->\n```sh\n((?s:.*?))^?```|<!-- nodes: (.*?) -->")

// From three empty machines to a cluster, to a new version and to the end of a node:
// the commands of docs/install-linux.md are executed as they stand there.
func TestInstallation(t *testing.T) {
	needsRoot(t)
	needs(t, "unshare", "nsenter", "setpriv", "ip", "dpkg", "systemd-sysusers", "systemd-tmpfiles", "tar")
	page, err := os.ReadFile("../../docs/install-linux.md")
	if err != nil {
		t.Fatal(err)
	}
	content := make(map[string][]byte)
	dir := public(t)
	for name, path := range programs {
		build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", dir+"/", path)
		build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if content[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	all, err := layout("../..", content)
	if err != nil {
		t.Fatal(err)
	}
	pack := func(version string) []byte {
		deb, err := debian(all, version, strings.TrimSpace(do(t, "dpkg", "--print-architecture")), made)
		if err != nil {
			t.Fatal(err)
		}
		return deb
	}

	operator := boot(t, "operator", "192.0.2.30/24", nil)
	machines := map[string]*machine{"operator": operator}
	for n, address := range []string{"192.0.2.11/24", "192.0.2.12/24", "192.0.2.13/24"} {
		name := "node" + string(rune('1'+n))
		machines[name] = boot(t, name, address, operator)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for name, m := range machines {
				t.Logf("%s says last:\n%s", name, m.words())
			}
		}
	})
	first := pack("v0.2.0")
	for _, m := range machines {
		m.put("sealedge_0.2.0_amd64.deb", first)
	}

	steps := stage.FindAllStringSubmatch(string(page), -1)
	if blocks := bytes.Count(page, []byte("```sh\n")); len(steps) < blocks+3 {
		t.Fatalf("%d steps, of %d blocks of commands", len(steps), blocks)
	}
	for _, s := range steps {
		if words := strings.Fields(s[3]); len(words) > 1 {
			for _, n := range words[1:] {
				m := machines["node"+n]
				switch words[0] {
				case "start":
					m.start()
				case "restart":
					m.stop()
					m.start()
				case "stop":
					m.stop()
				default:
					t.Fatalf("%v", words)
				}
			}
			for _, m := range machines {
				if m.daemon != nil {
					await(t, m.name+" is a member", m.words, func() bool { return m.said("this node is a member of the cluster") > 0 })
				}
			}
			oneHolder(t, machines)
			continue
		}
		for name := range strings.FieldsSeq(s[1]) {
			said := machines[name].sh(s[2])
			if strings.Contains(s[2], "cluster status") && (!strings.Contains(said, "node1") || !strings.Contains(said, "node2")) {
				t.Errorf("the cluster's status:\n%s", said)
			}
			if strings.Contains(s[2], "sealedge init") {
				for n := range machines {
					if n != "operator" {
						machines[n].put(n+".tar", operator.get(n+".tar"))
					}
				}
			}
		}
		if strings.Contains(s[2], "check-config") { // what comes next is there before
			second := pack("v0.2.1")
			machines["node3"].sh("rm sealedge_*.deb")
			machines["node3"].put("sealedge_0.2.1_amd64.deb", second)
		}
	}
	// Nothing is left of the node that went, and the others go on.
	left := machines["node3"].sh("ls -d /usr/bin/sealedge /etc/sealedge /var/lib/sealedge /usr/share/sealedge /usr/lib/systemd/system/sealedge.service 2>/dev/null || true; getent passwd sealedge || true")
	if left != "" {
		t.Errorf("left on node3: %s", left)
	}
	if status := operator.sh("sealctl --context mycluster/sealctl.yaml cluster members"); strings.Contains(status, "node3") {
		t.Errorf("node3 is a member still:\n%s", status)
	}
}

// oneHolder waits until one machine, and no other, has the gateway address.
func oneHolder(t *testing.T, machines map[string]*machine) {
	t.Helper()
	await(t, "one machine has the gateway address", func() string { return "" }, func() bool {
		holders := 0
		for _, m := range machines {
			if strings.Contains(m.sh("ip -o addr show"), " 192.0.2.10/32 ") {
				holders++
			}
		}
		return holders == 1
	})
}
