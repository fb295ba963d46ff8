package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/chain/chaintest"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/admin"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/keywrap"
	"github.com/sealedge/sealedge/policy/bundle"
	"github.com/sealedge/sealedge/policy/credential"
	"github.com/sealedge/sealedge/policy/ident"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"sealctl": main,
	})
}

// Each script in testdata gets a gateway node of its own: what a person types
// and what he sees.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			n := &node{machine: state.New()}
			srv, err := n.serve(env)
			if err != nil {
				return err
			}
			env.Defer(srv)
			env.Values["node"] = n
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			// quorum lost|found: whether the node has one.
			"quorum": func(ts *testscript.TestScript, _ bool, args []string) {
				n := ts.Value("node").(*node)
				n.mu.Lock()
				defer n.mu.Unlock()
				n.lost = slices.Equal(args, []string{"lost"})
			},
			// attach IMSI [both]: a session through the carrier, of IPv4 or both families.
			"attach": func(ts *testscript.TestScript, _ bool, args []string) {
				pdnType := uint32(1)
				if len(args) > 1 && args[1] == "both" {
					pdnType = 3
				}
				ts.Check(ts.Value("node").(*node).attach(args[0], pdnType))
			},
			// holds NODE ADDRESS: a gateway address is a node's.
			"holds": func(ts *testscript.TestScript, _ bool, args []string) {
				n := ts.Value("node").(*node)
				ts.Check(n.propose(&command.AcquireAddress{Name: args[1], Node: args[0]}))
				n.mu.Lock()
				defer n.mu.Unlock()
				n.addresses = append(n.addresses, args[1])
			},
			// use ORDER BARREL IMSI COUNT: a grant of five minutes.
			"use": func(ts *testscript.TestScript, _ bool, args []string) {
				count, err := strconv.ParseUint(args[3], 10, 32)
				ts.Check(err)
				ts.Check(ts.Value("node").(*node).use(args[0], args[1], args[2], uint32(count)))
			},
			// settles USE N: the barrel signed for N stampings.
			"settles": func(ts *testscript.TestScript, _ bool, args []string) {
				id, err := strconv.ParseUint(args[0], 10, 64)
				ts.Check(err)
				stamped, err := strconv.ParseUint(args[1], 10, 32)
				ts.Check(err)
				ts.Check(ts.Value("node").(*node).propose(&command.SettleUse{Use: id, Stamped: uint32(stamped)}))
			},
			// later DURATION: the cluster's clock goes on.
			"later": func(ts *testscript.TestScript, _ bool, args []string) {
				d, err := time.ParseDuration(args[0])
				ts.Check(err)
				n := ts.Value("node").(*node)
				n.mu.Lock()
				defer n.mu.Unlock()
				n.later += d
			},
			// moves: the gateway address moves away from under the next trace.
			"moves": func(ts *testscript.TestScript, _ bool, _ []string) {
				n := ts.Value("node").(*node)
				n.mu.Lock()
				defer n.mu.Unlock()
				n.moves = 1
			},
			// packets FILE N: a capture in which N packets can be read.
			"packets": func(ts *testscript.TestScript, _ bool, args []string) {
				r, err := pcapgo.NewNgReader(strings.NewReader(ts.ReadFile(args[0])), pcapgo.DefaultNgReaderOptions)
				ts.Check(err)
				n := 0
				for ; err == nil; n++ {
					_, _, err = r.ReadPacketData()
				}
				if n--; !errors.Is(err, io.EOF) || strconv.Itoa(n) != args[1] {
					ts.Fatalf("%d packets, then %v", n, err)
				}
			},
			"plants": plants, "awaits": awaits, "terminal": onTerminal, "identity": identity, "damage": damage, "loses": loses, "reports": reports, "jumps": jumps, "secret": secretFiles, "unsaid": unsaid, "publickey": publicKey, "scans": scans, "replace": replaceIn, "keys": serverKeys, "overwireguard": overWireGuard,
			// kept IMSI PASSWORD: the record verifies the password, and the log doesn't
			// have it.
			"kept": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(ts.Value("node").(*node).kept(args[0], args[1]))
			},
		},
	})
}

// node is a cluster of one without a log: it applies what is proposed.
type node struct {
	mu        sync.Mutex
	machine   *state.Machine        // guarded by mu
	entries   []*command.AuditEntry // guarded by mu
	chain     chaintest.Chain       // of entries
	lost      bool                  // guarded by mu
	later     time.Duration         // guarded by mu: of the clock
	off       time.Duration         // guarded by mu: of the node's own clock
	removed   bool                  // guarded by mu: the dead member is gone
	moves     int                   // guarded by mu: how often the gateway address moves away from under a trace
	addresses []string              // guarded by mu: that have a holder
	away      int                   // guarded by mu: how often it is asked for meanwhile, in vain
}

func (n *node) Propose(_ context.Context, c *command.Command) (*command.Result, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lost {
		return nil, command.ErrNoQuorum
	}
	c.LeaderTime, c.Level = n.now().UnixNano(), command.Level
	r, e, err := n.machine.Apply(n.machine.Index()+1, 1, command.Marshal(c))
	if e != nil {
		n.entries = append(n.entries, e)
		n.chain.Add(n.machine, e)
	}
	return r, err
}

// now is the cluster's clock; the caller holds mu.
func (n *node) now() time.Time { return time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC).Add(n.later) }

func (n *node) clock() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.now()
}

// propose has a command carried out that must succeed.
func (n *node) propose(payload proto.Message) error {
	r, err := n.Propose(context.Background(), command.New("test", "", "test", payload))
	if err == nil && r.Code != command.Code_OK {
		err = fmt.Errorf("%v %s", r.Code, r.Message)
	}
	return err
}

// use grants uses to a terminal that is attached.
func (n *node) use(order, barrel, imsi string, count uint32) error {
	p := &command.ReserveUses{Order: order, Barrel: barrel, Imsi: imsi, User: "li", Count: count, Permitted: count}
	n.mu.Lock()
	p.PolicyRevision, p.SubscriberVersion, p.BarrelVersion = n.machine.PolicyRevision(), n.machine.Subscriber(imsi).GetVersion(), n.machine.Barrel(barrel).GetVersion()
	for s := range n.machine.SessionsByIMSI(imsi) {
		p.Session = s.Id
	}
	p.GrantNotAfter = n.now().Add(5 * time.Minute).UnixNano()
	n.mu.Unlock()
	return n.propose(p)
}

// attach opens a session of a terminal on its first APN.
func (n *node) attach(imsi string, pdnType uint32) error {
	var s *command.Subscriber
	var revision uint64
	n.View(func(m *state.Machine) { s, revision = m.Subscriber(imsi), m.Policy().GetRevision() })
	r, err := n.Propose(context.Background(), command.New("test", "", "test", &command.OpenSession{
		Imsi: imsi, Apn: s.GetApns()[0], PolicyRevision: revision, SubscriberVersion: s.GetVersion(), Entropy: make([]byte, 16), GatewayAddress: "gw1",
		Gtp: &command.GTPPath{
			Version: 2, Ebi: 5, RatType: 6, PdnType: pdnType, ServingPlmn: "46001", PeerC: &command.FTEID{Teid: 1, Address: []byte{127, 0, 20, 1}},
			PeerRestartKnown: true, PeerRestartCounter: 9,
		},
	}))
	if err == nil && r.Code != command.Code_OK {
		err = fmt.Errorf("%v %s", r.Code, r.Message)
	}
	return err
}

// kept fails when a password can be read in the record or in the log.
func (n *node) kept(imsi, password string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.machine.Subscriber(imsi).GetCredentials()
	if !credential.VerifyPAP([]byte(password), c.GetPapSalt(), c.GetPapHash(), c.GetPapIterations()) {
		return errors.New("the record has another password")
	}
	for _, e := range n.entries {
		if bytes.Contains(e.Command, []byte(password)) || bytes.Contains(e.Result, []byte(password)) {
			return fmt.Errorf("entry %d of the audit chain has the password", e.Sequence)
		}
	}
	return nil
}

func (n *node) View(fn func(*state.Machine)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fn(n.machine)
}

func (n *node) Clone() *state.Machine {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.machine.Clone()
}

func (n *node) ReadIndex(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lost {
		return command.ErrNoQuorum
	}
	return nil
}

func (n *node) Status() adminapi.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := adminapi.Status{Node: "node1", Leader: "node1", Holder: "node1", IsLeader: true, Term: 1, Version: "test", Peers: []string{"node1"}, Clock: n.off.Milliseconds(), Admits: true}
	for i, name := range n.addresses {
		a := n.machine.Address(name)
		s.Addresses = append(s.Addresses, adminapi.GatewayAddress{
			Name: name, Address: fmt.Sprint("198.51.100.", i+1), Holder: a.Holder, Epoch: a.Epoch, MovingTo: a.MovingTo, Home: a.Home,
		})
	}
	if n.away > 0 {
		n.away--
		s.Holder = "node2"
	}
	return s
}

// trace writes one message, and breaks off in the middle of the next while the
// address has still to move.
func (n *node) trace(ctx context.Context, imsi ident.IMSI, w io.Writer, d time.Duration, _ int64, begun func()) error {
	begun()
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	ng, err := pcapgo.NewNgWriter(w, layers.LinkTypeRaw)
	if err != nil {
		return err
	}
	packet := []byte("a message of " + imsi.String())
	if err := ng.WritePacket(gopacket.CaptureInfo{Timestamp: time.Now(), CaptureLength: len(packet), Length: len(packet)}, packet); err != nil {
		return err
	}
	if err := ng.Flush(); err != nil {
		return err
	}
	n.mu.Lock()
	last := n.moves == 0
	if !last {
		n.moves--
		n.away++
	}
	n.mu.Unlock()
	if last {
		<-ctx.Done()
		return nil
	}
	_, err = w.Write([]byte{6, 0, 0, 0, 200, 0, 0, 0, 1, 2, 3})
	return errors.Join(err, errors.New("the address moved"))
}

func (n *node) StepDown(context.Context) error { return nil }

func (n *node) Drain(context.Context, bool) {}

func (n *node) Members() []adminapi.Member {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := []adminapi.Member{
		{ID: "node1_0a", Name: "node1", Address: "h1:7000", State: adminapi.MemberVotes, Leader: true, Answers: true},
		{ID: "node2_0c", Name: "node2", Address: "h2:7000", State: adminapi.MemberWaiting, Answers: true},
	}
	if !n.removed {
		all = append(all, adminapi.Member{ID: "node2_0b", Name: "node2", Address: "h2:7000", State: adminapi.MemberVotes})
	} else {
		all[1].State = adminapi.MemberVotes
	}
	return all
}

func (n *node) Remove(_ context.Context, member string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case member == "node1":
		return "", errors.New("node1 leads; have it hand the leadership over first")
	case member != "node2" || n.removed:
		return "", fmt.Errorf("%w: %s", admin.ErrNoMember, member)
	}
	n.removed = true
	return "node2_0b", nil
}

func (n *node) AuditRange(_ context.Context, from uint64, fn func(*command.AuditEntry) error) error {
	n.mu.Lock()
	entries := slices.Clone(n.entries)
	n.mu.Unlock()
	for _, e := range entries {
		if e.Sequence < from {
			continue
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// serve starts the admin API and writes a context for each kind of operator
// into the script's directory.
func (n *node) serve(env *testscript.Env) (stop func(), err error) {
	ca, err := newCA()
	if err != nil {
		return nil, err
	}
	server, err := ca.issue("admin", nil)
	if err != nil {
		return nil, err
	}
	wrap, err := keywrap.New(make([]byte, keywrap.KeySize))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	srv := admin.New(admin.Config{
		TLS:     &tls.Config{Certificates: []tls.Certificate{server.tls}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13},
		Cluster: n, Node: n, Chain: &n.chain, Membership: n, Secrets: wrap, Backup: n.backup,
		Alive: func(string) bool { return false }, Push: func(*command.Lock) {},
		Fallback: &admin.Fallback{Endpoints: []string{"192.0.2.1:51820", "192.0.2.2:51820"}, MTU: 1400, Keepalive: 25},
		Trace:    n.trace, Router: n.router(env.WorkDir), Procedures: func() []adminapi.Procedure {
			return []adminapi.Procedure{{Protocol: "GTPv1", Procedure: "create-pdp-context", Cause: "request accepted (16)", Peer: "operator-a", Count: 3}}
		},
		Counters: func() map[string]uint64 { return nil }, Ready: func() error { return nil },
		Logger: slog.New(slog.DiscardHandler), Now: n.clock, Name: "node1",
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ctx, l) }()

	write := func(name string, data []byte) {
		if err == nil {
			err = os.WriteFile(filepath.Join(env.WorkDir, name), data, 0o600)
		}
	}
	write("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}))
	for name, roles := range map[string][]string{"li": {"viewer", "operator", "seal-administrator", "auditor"}, "wu": {"viewer"}, "zhao": {"seal-administrator"}, "chen": {"seal-administrator"}, "sun": {"backup"}} {
		p, ierr := ca.issue(name, roles)
		if ierr != nil {
			cancel()
			return nil, ierr
		}
		write(name+".pem", p.certPEM)
		write(name+"-key.pem", p.keyPEM)
		write(name+".yaml", fmt.Appendf(nil, "addresses: [%q]\nca: ca.pem\ncert: %s.pem\nkey: %s-key.pem\n", l.Addr(), name, name))
	}
	if strange, serr := newCA(); serr == nil {
		p, ierr := strange.issue("strange", []string{"viewer"})
		err = errors.Join(err, ierr)
		write("strange.pem", p.certPEM)
		write("strange-key.pem", p.keyPEM)
	}
	write("policy.yaml", bundle.Default(bundle.Params{}))
	write("down.yaml", []byte("addresses: [\"127.0.0.1:1\"]\nca: ca.pem\ncert: li.pem\nkey: li-key.pem\n"))
	env.Setenv("SEALCTL_CONTEXT", "li.yaml")
	env.Setenv("SEALCTL_RETRY", "0s")
	return func() { cancel(); <-ended }, err
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

type pair struct {
	tls             tls.Certificate
	certPEM, keyPEM []byte
}

func newCA() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &authority{cert, key}, err
}

func (a *authority) issue(name string, roles []string) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name, OrganizationalUnit: roles},
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if roles != nil {
		tmpl.URIs = []*url.URL{{Scheme: "sealedge", Host: "operator", Path: "/" + name}}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	p := &pair{
		certPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}
	p.tls, err = tls.X509KeyPair(p.certPEM, p.keyPEM)
	return p, err
}
