package e2e

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
	"github.com/sealedge/sealedge/tools/sealsim/phone"
)

// previousFile names the version before this one: its tag, and its commit for a
// clone without tags.
const previousFile = "testdata/previous"

// previous builds gateway and sealctl of the version before this one out of the
// repository's history, or finds them built.
func previous(t *testing.T) (gateway, tool string) {
	t.Helper()
	text, err := os.ReadFile(previousFile)
	if err != nil {
		t.Fatal(err)
	}
	tag, commit, ok := strings.Cut(strings.TrimSpace(string(text)), " ")
	if !ok {
		t.Fatalf("%s: want a tag and a commit", previousFile)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "sealedge-previous")
	gateway, tool = filepath.Join(dir, "sealedge-"+commit), filepath.Join(dir, "sealctl-"+commit)
	_, err = os.Stat(gateway)
	if _, toolErr := os.Stat(tool); err == nil && toolErr == nil {
		return gateway, tool
	}
	if err := exec.Command("git", "-C", module, "cat-file", "-e", commit+"^{commit}").Run(); err != nil {
		t.Skipf("the history that %s (%s) is in is missing here: fetch it with git fetch --unshallow", tag, commit)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	source := t.TempDir()
	script := fmt.Sprintf("git -C %s archive %s | tar -x -C %s && cd %s", module, commit, source, source)
	for program, room := range map[string]string{gateway: "./edge/sealedge", tool: "./tools/sealctl"} {
		script += fmt.Sprintf(" && go build -ldflags '-X main.version=%s' -o %s.new %s && mv %s.new %s", tag, program, room, program, program)
	}
	if out, err := exec.Command("/bin/sh", "-eu", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", tag, err, out)
	}
	return gateway, tool
}

// The version before this one runs; it is replaced node by node, by the book, while
// sessions live and seals are used. Nothing is lost, neither version meets what it
// doesn't know, and newer commands are used when the last node is upgraded.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	old, tool := previous(t)
	s := makeSite(t, 3)
	s.previousTool = tool
	s.previous = map[int]string{0: old, 1: old, 2: old}
	s.change = func(node int, cmd *exec.Cmd) {
		if program := s.previous[node]; program != "" {
			cmd.Path, cmd.Args[0] = program, program
			// It holds callers to no rate, and has no key for it.
			if i := slices.Index(cmd.Args, "admin.requests_per_second=0"); i > 0 {
				cmd.Args = slices.Delete(cmd.Args, i-1, i+1)
			}
		}
	}
	gatewayKey := s.older()
	for n := range 3 {
		s.startNode(n)
	}
	s.until("a node holds the gateway address", func() bool { return s.holder() != nil })
	s.putPolicy()
	s.startServer()
	office := s.office()
	c, tap := s.carrier(1)
	w := s.worker(1, c)
	use := w.stampOnce
	order := office.Order("WO-1", 5)
	use(order)
	enlist, install := s.wireguard()
	issued := s.attach(c, s.enlist(2, enlist), install, func(cfg *phone.Config) {
		cfg.Fallback.GatewayKey, cfg.Fallback.Gateway = gatewayKey, netip.AddrPortFrom(s.gateway, wireguardPort)
	})
	phones := []*phone.Phone{issued, s.attach(c, s.enlist(3))}
	var later []carrier.Subscriber // while nodes are upgraded nobody changes the allow-list: sealctl is of one version
	for n := range 3 {
		later = append(later, s.enlist(4+n))
	}
	before, err := c.Echo(s.soon())
	if err != nil {
		t.Fatal(err)
	}
	steps := 0
	s.upgraded = func(n int) {
		steps++
		for _, p := range phones {
			s.ping(p)
		}
		use(order)
		phones = append(phones, s.attach(c, later[steps-1]))
		var all []*adminapi.Status
		s.until("all nodes answer", func() bool {
			all = s.status()
			return !slices.Contains(all, nil)
		})
		for i, v := range all {
			if s.previous[i] == "" && len(s.previous) > 0 && v.Level != 1 {
				t.Errorf("%d nodes are of the older version, and node %d says %+v", len(s.previous), i+1, v)
			}
		}
	}
	s.follow("upgrade.md")
	if steps != 3 || len(s.previous) != 0 {
		t.Fatalf("%d steps, %v left", steps, s.previous)
	}
	s.until("newer commands are used", func() bool {
		for _, v := range s.status() {
			if v == nil || v.Level != command.Level {
				return false
			}
		}
		return true
	})
	use(order)
	for _, p := range phones {
		s.ping(p)
	}
	// The cluster keeps the key that was in files before: a phone that knows it notices
	// nothing.
	if key := s.gatewayKey(); key != gatewayKey {
		t.Errorf("the gateway has the key %x, before %x", key, gatewayKey)
	}
	if err := issued.SwitchToFallback(s.soon()); err != nil {
		t.Error(err)
	}
	if err := issued.SwitchToCarrier(s.soon()); err != nil {
		t.Error(err)
	}
	if o := ledger(s, order); o.Confirmed != 5 || o.Reserved != 0 {
		t.Errorf("the order: %+v", o)
	}
	if after, err := c.Echo(s.soon()); err != nil || after != before {
		t.Errorf("restart counter was %d and is %d, %v", before, after, err)
	}
	tap.noEnding()
	s.until("all nodes agree", s.caughtUp)

	// There is no way back: the old version would meet what it doesn't know.
	s.nodes[0].stop()
	s.previous[0] = old
	s.startNode(0)
	s.nodes[0].ours = false
	s.until("the old version stops", s.nodes[0].ended)
	if words := s.nodes[0].words(); !strings.Contains(words, command.ErrUnknownCommand.Error()) {
		t.Errorf("it doesn't say why: %s", s.nodes[0].lastWords(10))
	}
	delete(s.previous, 0)
	s.startNode(0)
	s.until("all nodes agree", s.caughtUp)
	s.auditVerifies()
}

// putPolicy puts the first policy in force, without the sections and fields that the
// older version doesn't know.
func (s *site) putPolicy() {
	s.Helper()
	document, err := os.ReadFile(s.layout.Policy)
	if err != nil {
		s.Fatal(err)
	}
	known, _, _ := strings.Cut(string(document), "\n  changeControl:")
	known = regexp.MustCompile(`(?m)^    (lifetime|issuedLifetime|grace|placeAge):.*\n`).ReplaceAllString(known, "")
	file := s.file("policy.yaml")
	s.write(file, known+"\n")
	s.sealctl("policy", "apply", file)
}

// older makes the nodes' configurations such as the older version takes: the fallback path's
// key is in a file, and nobody asks for a connection. It returns the key's public half.
func (s *site) older() (public [32]byte) {
	s.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		s.Fatal(err)
	}
	s.write(s.file("pki", "wireguard.key"), base64.StdEncoding.EncodeToString(key.Bytes())+"\n")
	section := regexp.MustCompile(`(?m)^fallback:\n(  .*\n)+`)
	enabled := regexp.MustCompile(`(?m)^  wireguard:\n    .*\n`)
	for n, file := range s.layout.Nodes {
		raw, err := os.ReadFile(file)
		if err != nil {
			s.Fatal(err)
		}
		text := section.ReplaceAllString(string(raw), "")
		s.write(file, enabled.ReplaceAllString(text, "  wireguard:\n    private_key_file: pki/wireguard.key\n"))
		if s.cfgs[n], err = config.Load(file, nil); err != nil {
			s.Fatal(err)
		}
	}
	return [32]byte(key.PublicKey().Bytes())
}

// upgrade replaces a node's program.
func (s *site) upgrade(n int) {
	s.Helper()
	s.until("another node holds the address", func() bool {
		h := s.holding()
		if h == n { // the leadership may not be taken at once on a busy machine
			_, _ = s.trySealctl("cluster", "step-down")
		}
		return h >= 0 && h != n
	})
	s.nodes[n].stop()
	delete(s.previous, n)
	s.startNode(n)
	s.until("the upgraded node has caught up", func() bool { return s.holder() != nil && s.caughtUp() })
	s.upgraded(n)
}
