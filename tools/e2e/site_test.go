package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/setup"
	"github.com/sealedge/sealedge/policy/ident"
)

// site is what one company has: a cluster of gateways, and perhaps a seal
// server, in a directory and at loopback addresses of its own.
type site struct {
	*testing.T
	dir     string
	layout  *setup.Layout
	block   [2]byte    // the first octets of all addresses
	gateway netip.Addr // the outer one
	inner   netip.Addr
	apn     ident.APN

	nodes  []*process // as started last
	server *process   // the seal server; nil before startServer
	admin  *http.Client
	cfgs   []*config.Config
	// change alters the commands that start nodes, by index.
	change func(node int, cmd *exec.Cmd)
	// happens brings about what runbooks say in a comment, beside what befalls nodes
	// and barrels, by its first word.
	happens map[string]func(words []string)
	// previous are the programs of nodes that are of the version before, by index,
	// and upgraded is called when one isn't any more; see TestUpgrade.
	previous     map[int]string
	previousTool string // sealctl of that version, used while there are such nodes
	upgraded     func(node int)
}

// claim takes a block of loopback addresses for the time of the test, from all
// scenarios that run on this machine.
func claim(t *testing.T) (block [2]byte) {
	t.Helper()
	if os.Getenv(worldBin) != "" {
		return [2]byte{10, 77} // nobody else is in this network
	}
	// 127.0 is the demo's and 127.1 the benchmark's.
	for n := byte(3); n < 250; n++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.%d.255.254:60000", n))
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
			return [2]byte{127, n}
		}
		if n == 249 {
			t.Fatalf("no block of loopback addresses is free: %v", err)
		}
	}
	panic("unreachable")
}

// newSite makes a cluster, starts it and puts the first policy in force. The
// options may be changed first.
func newSite(t *testing.T, nodes int, change ...func(*setup.Options)) *site {
	t.Helper()
	s := makeSite(t, nodes, change...)
	for n := range nodes {
		s.startNode(n)
	}
	s.until("a node holds the gateway address", func() bool { return s.holder() != nil })
	s.sealctl("policy", "apply", s.layout.Policy)
	return s
}

// makeSite is newSite before anything runs.
func makeSite(t *testing.T, nodes int, change ...func(*setup.Options)) *site {
	t.Helper()
	if err := built(); err != nil {
		t.Fatal(err)
	}
	s := &site{T: t, dir: filepath.Join(t.TempDir(), "site"), block: claim(t), nodes: make([]*process, nodes)}
	o := setup.Options{
		Gateway: s.ip(10, 1), Carriers: []netip.Prefix{netip.PrefixFrom(s.ip(20, 0), 24)},
		SealServer: netip.AddrPortFrom(s.ip(2, 1), 8443), Inner: netip.MustParseAddr("10.90.0.1"),
		APN: must(ident.ParseAPN("seal.corp")), Now: time.Now(),
	}
	for n := range nodes {
		o.Hosts = append(o.Hosts, s.ip(1, byte(n+1)))
	}
	for _, c := range change {
		c(&o)
	}
	s.gateway, s.inner, s.apn = o.Gateway, o.Inner, o.APN
	var err error
	if s.layout, err = setup.Init(s.dir, o); err != nil {
		t.Fatal(err)
	}
	for _, file := range s.layout.Nodes {
		cfg, err := config.Load(file, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.cfgs = append(s.cfgs, cfg)
	}
	s.admin = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: s.roots(), Certificates: []tls.Certificate{s.identity("operator")}},
	}}
	t.Cleanup(s.admin.CloseIdleConnections)
	return s
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // a constant of the tests is wrong
	}
	return v
}

// ip is an address in the site's block.
func (s *site) ip(third, fourth byte) netip.Addr {
	return netip.AddrFrom4([4]byte{s.block[0], s.block[1], third, fourth})
}

// file is a file of the site.
func (s *site) file(name ...string) string {
	return filepath.Join(append([]string{s.dir}, name...)...)
}

// identity is one of the certificates that belong to the site.
func (s *site) identity(name string) tls.Certificate {
	s.Helper()
	pair, err := tls.LoadX509KeyPair(s.file("pki", name+".pem"), s.file("pki", name+"-key.pem"))
	if err != nil {
		s.Fatal(err)
	}
	return pair
}

func (s *site) roots() *x509.CertPool {
	s.Helper()
	pool, err := config.Path(s.file("pki", "ca.pem")).Pool()
	if err != nil {
		s.Fatal(err)
	}
	return pool
}

func (s *site) until(what string, ok func() bool) {
	s.Helper()
	until(s.T, what, ok)
}

// soon is the context of a call that must come to an end.
func (s *site) soon() context.Context {
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	s.Cleanup(cancel)
	return ctx
}

// startNode starts a gateway node, for the first time or again. All the tests
// run at once, on few cores: a disk that is slow for that doesn't end a node,
// and a heartbeat that is late doesn't cost it the leadership.
func (s *site) startNode(n int) {
	s.Helper()
	cmd := exec.Command(filepath.Join(bin, "sealedge"), "run", "--set", "cluster.disk_stall=20s", "--set", "admin.requests_per_second=0",
		"--set", "cluster.heartbeat_timeout=1s", "--set", "cluster.election_timeout=1s", "--set", "cluster.leader_lease=500ms", s.layout.Nodes[n])
	if s.change != nil {
		s.change(n, cmd)
	}
	s.nodes[n] = start(s.T, s.dir, fmt.Sprintf("node%d", n+1), cmd)
	s.nodes[n].ours = true
}

// status is what each node says of itself; nil: it doesn't answer.
func (s *site) status() []*adminapi.Status {
	all := make([]*adminapi.Status, len(s.nodes))
	for n := range s.nodes {
		v := new(adminapi.Status)
		if s.ask(n, "/v1/status?stale=true", v) == nil {
			all[n] = v
		}
	}
	return all
}

// holder is the node that leads and has the gateway address; nil: none does.
func (s *site) holder() *process {
	if n := s.holding(); n >= 0 {
		return s.nodes[n]
	}
	return nil
}

// held is the index of the holder, as soon as there is one: on a busy machine
// a leader may lose its lease for a moment.
func (s *site) held() (n int) {
	s.Helper()
	s.until("a node holds the gateway address", func() bool { n = s.holding(); return n >= 0 })
	return n
}

// holding is the index of the holder, -1 if there is none.
func (s *site) holding() int {
	for n, v := range s.status() {
		if v != nil && v.IsLeader && v.Holder == v.Node && !s.nodes[n].ended() {
			return n
		}
	}
	return -1
}

// epoch is that of the gateway address.
func (s *site) epoch() (most uint64) {
	for _, v := range s.status() {
		if v != nil {
			most = max(most, v.Epoch)
		}
	}
	return most
}

// caughtUp tells whether all nodes have applied the same.
func (s *site) caughtUp() bool {
	all := s.status()
	return !slices.ContainsFunc(all, func(v *adminapi.Status) bool {
		return v == nil || v.Applied != all[0].Applied || v.AuditHead != all[0].AuditHead || v.AuditRoot != all[0].AuditRoot
	})
}

// ask gets a document of a node's admin API.
func (s *site) ask(node int, path string, out any) error {
	r, err := http.NewRequestWithContext(s.Context(), http.MethodGet, "https://"+string(s.cfgs[node].Admin.Listen)+path, nil)
	if err != nil {
		return err
	}
	answer, err := s.admin.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, answer.Status)
	}
	return json.NewDecoder(answer.Body).Decode(out)
}

// askAll has a node tell a whole list.
func askAll[T any](s *site, node int, path string, all *[]T) (err error) {
	*all, err = adminapi.All[T](path, func(path string, into any) error { return s.ask(node, path, into) })
	return err
}

// counters is what the holder has counted, by part and reason.
func (s *site) counters() map[string]uint64 {
	s.Helper()
	var all map[string]uint64
	s.until("the holder tells its counters", func() bool {
		n := s.holding()
		all = nil
		return n >= 0 && s.ask(n, "/v1/counters?stale=true", &all) == nil
	})
	return all
}

// counted is what all nodes together have counted: another may be the holder by now.
func (s *site) counted(name string) (n uint64) {
	for node := range s.nodes {
		var all map[string]uint64
		if s.ask(node, "/v1/counters?stale=true", &all) == nil {
			n += all[name]
		}
	}
	return n
}

// sealctl runs the operator's tool and returns what it printed.
func (s *site) sealctl(args ...string) string {
	s.Helper()
	out, err := s.trySealctl(args...)
	if err != nil {
		s.Fatal(err)
	}
	return out
}

func (s *site) trySealctl(args ...string) (string, error) {
	tool := filepath.Join(bin, "sealctl")
	if len(s.previous) > 0 {
		tool = s.previousTool
	}
	cmd := exec.CommandContext(s.soon(), tool, append([]string{"--context", s.layout.Context}, args...)...)
	var words strings.Builder
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("sealctl %s: %w: %s", strings.Join(args, " "), err, words.String())
	}
	return string(out), nil
}

// list reads one of sealctl's lists: sessions, uses, orders.
func list[T any](s *site, kind string) []T {
	s.Helper()
	var all []T
	if err := json.Unmarshal([]byte(s.sealctl(kind, "list", "-o", "json")), &all); err != nil {
		s.Fatal(err)
	}
	return all
}

// sessions lists the sessions of a subscriber.
func (s *site) sessions(imsi string) []adminapi.Session {
	s.Helper()
	return slices.DeleteFunc(list[adminapi.Session](s, "session"), func(v adminapi.Session) bool { return v.IMSI != imsi })
}

// auditVerifies pins the head of the audit chain, and has an export of it and the
// proof of an entry verified against that.
func (s *site) auditVerifies() {
	s.Helper()
	file, pinned, proof := s.file("audit.jsonl"), s.file("head.json"), s.file("proof.json")
	var head adminapi.AuditHead
	text := s.sealctl("audit", "head", "-o", "json")
	if err := json.Unmarshal([]byte(text), &head); err != nil {
		s.Fatal(err)
	}
	s.write(pinned, text)
	s.sealctl("audit", "export", file)
	s.sealctl("audit", "verify", file, "--head", pinned)
	if head.TreeFirst != 0 {
		s.write(proof, s.sealctl("audit", "prove", fmt.Sprint((head.TreeFirst+head.Sequence)/2), "--head", pinned))
		s.sealctl("audit", "check-proof", proof, "--head", pinned)
		s.sealctl("audit", "head", "--since", pinned)
	}
	_ = os.Remove(file) // an export never overwrites half a file
}

func (s *site) write(file, text string) {
	s.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
}
