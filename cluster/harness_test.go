package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// patience is how long a test waits for what must happen. Reaching it fails the
// test; nothing waits that long otherwise. The machine may be busy: heartbeats of the
// tests' nodes are as short as in service, so that elections come at any time.
const patience = 90 * time.Second

// testCA signs the certificates of one cluster.
type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newTestCA(t testing.TB) *testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	ca := &testCA{cert: cert, key: key, pool: x509.NewCertPool()}
	ca.pool.AddCert(cert)
	return ca
}

// config makes the TLS configuration of a bearer of the given URI SANs.
func (ca *testCA) config(t testing.TB, uris ...*url.URL) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "bearer"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), URIs: uris,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, RootCAs: ca.pool}
}

// testNet lets a test cut nodes off from each other.
type testNet struct {
	mu    sync.Mutex
	cut   map[[2]string]bool
	conns map[net.Conn][2]string
}

// dialer is the dial function of the node called from; mu guards names, too.
func (n *testNet) dialer(from string, names map[string]string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		n.mu.Lock()
		pair := [2]string{from, names[address]}
		cut := n.cut[pair]
		n.mu.Unlock()
		if cut {
			return nil, errors.New("no route to host")
		}
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.cut[pair] {
			c.Close()
			return nil, errors.New("no route to host")
		}
		n.conns[c] = pair
		return c, nil
	}
}

// isolate cuts a node off from the others.
func (n *testNet) isolate(name string, others ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, o := range others {
		n.cut[[2]string{name, o}], n.cut[[2]string{o, name}] = true, true
	}
	for c, pair := range n.conns {
		if n.cut[pair] {
			c.Close()
			delete(n.conns, c)
		}
	}
}

func (n *testNet) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
}

// testCluster runs nodes n1, n2, ... in this process over loopback TLS.
type testCluster struct {
	t         testing.TB
	ca        *testCA
	net       *testNet
	names     []string
	byAddress map[string]string
	config    map[string]Config // as each node was last started
	nodes     map[string]*Node  // those that run
}

// ownLoopback is an address that no other test listens at or dials from: a node that
// was stopped finds its port free when it starts again.
func ownLoopback() string {
	n, pid := requests.Add(1), os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d:0", 16+n>>8%64, byte(n), 1+pid%254)
}

// patientNodes is for tests in which nobody but the test may bring about an election:
// a machine that is busy for a while doesn't.
func patientNodes(cfg *Config) {
	cfg.HeartbeatTimeout, cfg.ElectionTimeout, cfg.LeaderLease = 4*time.Second, 4*time.Second, 3*time.Second
}

func newTestCluster(t testing.TB, size int, change ...func(*Config)) *testCluster {
	t.Helper()
	c := prepareTestCluster(t, size, change...)
	for _, name := range c.names {
		c.start(name)
	}
	return c
}

// prepareTestCluster makes a cluster of which no node runs yet.
func prepareTestCluster(t testing.TB, size int, change ...func(*Config)) *testCluster {
	t.Helper()
	c := &testCluster{
		t: t, ca: newTestCA(t), config: map[string]Config{}, nodes: map[string]*Node{}, byAddress: map[string]string{},
		net: &testNet{cut: map[[2]string]bool{}, conns: map[net.Conn][2]string{}},
	}
	base := t.TempDir()
	var peers []Peer
	listeners := map[string]net.Listener{}
	for i := range size {
		l, err := net.Listen("tcp", ownLoopback())
		if err != nil {
			t.Fatal(err)
		}
		p := Peer{Name: fmt.Sprintf("n%d", i+1), Address: l.Addr().String()}
		peers = append(peers, p)
		listeners[p.Name] = l
		c.names = append(c.names, p.Name)
		c.byAddress[p.Address] = p.Name
	}
	for _, p := range peers {
		cfg := Config{
			NodeName: p.Name, DataDir: filepath.Join(base, p.Name), Listen: p.Address, Peers: peers,
			TLS: c.ca.config(t, NodeURI(p.Name)), Bootstrap: true,
			// The machine of the test may be busy: leaders may change for no reason
			// that the test gave.
			DiskStall: patience, ApplyTimeout: 10 * time.Second, AdmissionStop: 100,
			Fatal:    func(err error) { t.Errorf("%s: fatal: %v", p.Name, err) },
			Logger:   slog.New(slog.DiscardHandler),
			dial:     c.net.dialer(p.Name, c.byAddress),
			listener: listeners[p.Name],
		}
		if os.Getenv("CLUSTER_TEST_LOG") != "" {
			cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
		}
		for _, f := range change {
			f(&cfg)
		}
		c.config[p.Name] = cfg
	}
	t.Cleanup(func() {
		for name := range c.nodes {
			c.stop(name)
		}
		for _, l := range listeners { // of nodes that were never started
			l.Close()
		}
	})
	return c
}

// start runs a node, on the address that it always had.
func (c *testCluster) start(name string) *Node {
	c.t.Helper()
	n, err := Open(c.config[name])
	if err != nil {
		c.t.Fatalf("start %s: %v", name, err)
	}
	cfg := c.config[name]
	cfg.listener = nil
	c.config[name] = cfg
	c.nodes[name] = n
	return n
}

// stop ends a node without handing leadership over, as a crash would look to the
// others.
func (c *testCluster) stop(name string) {
	c.t.Helper()
	if err := c.nodes[name].Close(); err != nil {
		c.t.Errorf("stop %s: %v", name, err)
	}
	delete(c.nodes, name)
}

// await waits until ok, which is asked again whenever anything happens on a node, and
// now and then: not all that a node knows of others is an event.
func (c *testCluster) await(what string, ok func() bool) {
	c.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		cases := []reflect.SelectCase{
			{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(deadline.C)},
			{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(again.C)},
		}
		for _, n := range c.nodes {
			cases = append(cases,
				reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(n.Changed())},
				reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(n.roleChange.next())})
		}
		if ok() {
			return
		}
		if i, _, _ := reflect.Select(cases); i == 0 {
			c.t.Fatalf("it didn't happen: %s", what)
		}
	}
}

// leader waits for a running node that leads and holds its lease.
func (c *testCluster) leader() *Node {
	c.t.Helper()
	var leader *Node
	c.await("a leader", func() bool {
		for _, n := range c.nodes {
			if n.Holds() {
				leader = n
				return true
			}
		}
		return false
	})
	return leader
}

// follower picks a running node that isn't the leader.
func (c *testCluster) follower() *Node {
	c.t.Helper()
	leader := c.leader()
	for _, n := range c.nodes {
		if n != leader {
			return n
		}
	}
	c.t.Fatal("no follower runs")
	return nil
}

// caughtUp waits until every running node applied what the leader has.
func (c *testCluster) caughtUp() {
	c.t.Helper()
	n := c.follower()
	insist(c.t, func() error { return n.Barrier(context.Background()) })
	want := n.position.index.Load()
	c.await(fmt.Sprintf("every node at %d", want), func() bool {
		for _, n := range c.nodes {
			if n.position.index.Load() < want {
				return false
			}
		}
		return true
	})
}

// sameState checks that every running node has the same state, and returns its
// digest. Nodes write by themselves, too: they are compared when they are at the
// same entry.
func (c *testCluster) sameState() [32]byte {
	c.t.Helper()
	var digest [32]byte
	insist(c.t, func() error {
		c.caughtUp()
		at, digests := map[uint64]string{}, map[[32]byte]string{}
		for name, n := range c.nodes {
			n.View(func(m *state.Machine) {
				digest = m.Digest()
				at[m.Index()], digests[digest] = name, name
			})
		}
		switch {
		case len(at) > 1:
			return fmt.Errorf("the nodes are at different entries: %v", at)
		case len(digests) > 1:
			c.t.Fatalf("the nodes' states differ: %x", digests)
		}
		return nil
	})
	return digest
}

// awaitLeadership reads a channel of Leadership until it tells lead.
func awaitLeadership(t testing.TB, leadership <-chan bool, lead bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		select {
		case got := <-leadership:
			if got == lead {
				return
			}
		case <-deadline.C:
			t.Fatalf("the channel never told that leading is %v", lead)
		}
	}
}

// put makes a subscriber; its version then counts how often that was carried out.
func put(imsi, requestID string) *command.Command {
	return command.New("test", requestID, "tester", &command.PutSubscriber{
		Subscriber: &command.Subscriber{Imsi: imsi, State: command.DeviceState_ACTIVE}, AnyVersion: true,
	})
}

func times(n *Node, imsi string) (version uint64) {
	n.View(func(m *state.Machine) { version = m.Subscriber(imsi).GetVersion() })
	return version
}

var requests atomic.Int64

// mustPropose has a command carried out, once, however often it takes.
func mustPropose(t testing.TB, n *Node, cmd *command.Command) *command.Result {
	t.Helper()
	if cmd.RequestId == "" {
		cmd.RequestId = fmt.Sprint("request ", requests.Add(1))
	}
	var r *command.Result
	insist(t, func() (err error) {
		r, err = n.Propose(context.Background(), cmd)
		return err
	})
	if r.Code != command.Code_OK {
		t.Fatalf("%s: %v %s", n.cfg.NodeName, r.Code, r.Message)
	}
	return r
}

// insist repeats what takes its time until it succeeds.
func insist(t testing.TB, do func() error) {
	t.Helper()
	for began := time.Now(); ; {
		err := do()
		if err == nil {
			return
		}
		if time.Since(began) > patience {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // the nodes need the processor, too
	}
}

// expectAudit checks a node's whole audit chain: as many entries as there were
// commands, or more, when one had to be sent again.
func expectAudit(t testing.TB, n *Node, commands int) {
	t.Helper()
	if got := len(wholeAudit(t, n)); got < commands {
		t.Errorf("%s has %d audit entries of %d", n.cfg.NodeName, got, commands)
	}
}

// wholeAudit reads a node's audit chain from its start and verifies it.
func wholeAudit(t testing.TB, n *Node) []*command.AuditEntry {
	t.Helper()
	var want uint64
	n.View(func(m *state.Machine) { want, _ = m.AuditHead() })
	var entries []*command.AuditEntry
	if err := n.AuditRange(context.Background(), 1, func(e *command.AuditEntry) error {
		entries = append(entries, e)
		return nil
	}); err != nil {
		t.Fatalf("audit of %s: %v", n.cfg.NodeName, err)
	}
	_, last, err := state.VerifyAudit([32]byte{}, 0, func(yield func(*command.AuditEntry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatalf("audit of %s: %v", n.cfg.NodeName, err)
	}
	if last < want {
		t.Fatalf("audit of %s ends at %d, its state is at %d", n.cfg.NodeName, last, want)
	}
	return entries
}
