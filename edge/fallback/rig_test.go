package fallback

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/keywrap"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/credential"
	"github.com/sealedge/sealedge/policy/ident"
)

// What the terminal of the tests has.
const (
	account   = "phone-1"
	password  = "correct horse"
	sharedKey = "battery staple"
)

var (
	terminalKey = bytes.Repeat([]byte{0xa1}, 32)
	otherKey    = bytes.Repeat([]byte{0xa2}, 32)
	serverKey   = bytes.Repeat([]byte{0xb1}, 32)
	home        = netip.MustParseAddr("203.0.113.7")
)

// rig is a node's listener inside a synctest bubble: the real server and TLS over a
// network in memory, and the real state machine.
type rig struct {
	t       *testing.T
	w       *usetest.World
	cluster Cluster
	secrets counted
	srv     *Server
	ln      *pipes
	rules   atomic.Pointer[policy.Rules]
	log     *buffer
	hashes  atomic.Int64
	device  *tls.Certificate // on record for the terminal
	stop    func()
}

// counted counts what is unwrapped.
type counted struct {
	*keywrap.Wrapper
	n *atomic.Int64
}

func (c counted) Unwrap(owner string, wrapped []byte) ([]byte, error) {
	c.n.Add(1)
	return c.Wrapper.Unwrap(owner, wrapped)
}

func newRig(t *testing.T) *rig {
	w, err := keywrap.New(bytes.Repeat([]byte{7}, keywrap.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, w: usetest.New(t, time.Now), secrets: counted{w, new(atomic.Int64)}, log: new(buffer), device: selfSigned(t, "terminal")}
	r.cluster = r.w
	pinned := sha256.Sum256(r.device.Certificate[0])
	salt := []byte("0123456789abcdef")
	r.change(usetest.Terminal, func(s *command.Subscriber) {
		s.WireguardPublicKey, s.DeviceCertSha256 = terminalKey, pinned[:]
		s.Credentials = &command.Credentials{
			User: account, PapSalt: salt, PapHash: credential.Hash([]byte(password), salt, 10), PapIterations: 10,
			ChapSecret: r.wrap("chap:"+usetest.Terminal, sharedKey),
		}
	})
	r.change(usetest.Other, func(s *command.Subscriber) { s.WireguardPublicKey = otherKey })
	r.w.Do(&command.PutServerKey{PublicKey: serverKey, PrivateKey: []byte("wrapped")})
	r.rules.Store(rules(0))
	r.start()
	return r
}

// rules admit who shows at least these beside the WireGuard key.
func rules(demanded policy.Credentials) *policy.Rules {
	v := usetest.Rules()
	apn, _ := ident.ParseAPN(usetest.APN)
	v.APNs[apn] = policy.APN{Name: apn, GatewayAddress: netip.MustParseAddr("10.90.0.1")}
	v.Fallback = policy.Fallback{Allowed: true, Lifetime: 12 * time.Hour}
	v.Admission.Credentials = map[policy.PathKind]policy.Credentials{policy.PathWireGuard: policy.CredentialWireGuard | demanded}
	return v
}

func (r *rig) wrap(owner, secret string) []byte {
	b, err := r.secrets.Wrap(owner, []byte(secret), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// change changes a subscriber's record.
func (r *rig) change(imsi string, change func(*command.Subscriber)) {
	var sub *command.Subscriber
	r.w.View(func(m *state.Machine) { sub = proto.CloneOf(m.Subscriber(imsi)) })
	change(sub)
	r.w.Do(&command.PutSubscriber{Subscriber: sub, AnyVersion: true})
}

// start brings a node up; with the world of another it is the next one.
func (r *rig) start() {
	node := selfSigned(r.t, "node1")
	var err error
	r.srv, err = New(Config{
		Cluster: r.cluster, Rules: r.rules.Load, Secrets: r.secrets, Certificate: func() (*tls.Certificate, error) { return node, nil },
		APN: func(s *command.Subscriber) string {
			if len(s.GetApns()) == 0 {
				return ""
			}
			return s.Apns[0]
		},
		Endpoints: []string{"gw1.example.com:51820", "192.0.2.2:51820"}, MTU: 1400, Requests: 60, Connections: 64,
		Logger: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.srv.hash = func(password, salt []byte, iterations uint32) []byte {
		r.hashes.Add(1)
		return credential.Hash(password, salt, iterations)
	}
	r.ln = &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := r.srv.Serve(ctx, r.ln); err != nil {
			r.t.Errorf("Serve: %v", err)
		}
	})
	running.Go(func() {
		if err := r.srv.Run(ctx); err != nil {
			r.t.Errorf("Run: %v", err)
		}
	})
	r.stop = func() {
		// Terminals go first: nobody waits to say goodbye to one that doesn't listen.
		r.ln.hangUp()
		synctest.Wait()
		cancel()
		running.Wait()
	}
}

// bubble runs a test with a rig.
func bubble(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer func() {
			r.stop()
			time.Sleep(time.Minute) // the bubble's: connections have time to close
		}()
		test(t, r)
	})
}

// unlimited is for tests of something else.
func (r *rig) unlimited() {
	r.srv.limits = &limits{
		sources: newLimiter[netip.Prefix](time.Nanosecond, 1<<30), claims: newLimiter[claim](time.Nanosecond, 1<<30), claimed: newLimiter[ident.IMSI](time.Nanosecond, 1<<30),
	}
}

// ask is a request of the terminal that shows account and password.
func ask(id string) wire.ConnectionRequest {
	req := bare(id)
	req.Account, req.Password = account, password
	return req
}

// bare is a request that shows nothing but the WireGuard key.
func bare(id string) wire.ConnectionRequest {
	return wire.ConnectionRequest{RequestID: id, IMSI: usetest.Terminal, PublicKey: terminalKey, Time: time.Now()}
}

// line is one TLS connection of a terminal.
type line struct {
	r    *rig
	conn *tls.Conn
	http *http.Client
}

// dial opens a connection to the listener. cert may be nil.
func (r *rig) dial(from netip.Addr, cert *tls.Certificate) *line {
	r.t.Helper()
	raw, err := r.ln.dial(r.t.Context(), from)
	if err != nil {
		r.t.Fatal(err)
	}
	cfg := &tls.Config{InsecureSkipVerify: true} // the server's name is not what is tested
	if cert != nil {
		cfg.Certificates = []tls.Certificate{*cert}
	}
	l := &line{r: r, conn: tls.Client(raw, cfg)}
	if err := l.conn.HandshakeContext(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	l.http = &http.Client{Transport: &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return l.conn, nil }}}
	return l
}

// prove adds the proof of a key.
func (l *line) prove(req wire.ConnectionRequest, key string) wire.ConnectionRequest {
	l.r.t.Helper()
	state := l.conn.ConnectionState()
	binding, err := state.ExportKeyingMaterial(wire.ConnectionExporter, nil, 32)
	if err != nil {
		l.r.t.Fatal(err)
	}
	req.KeyProof = wire.ConnectionProof([]byte(key), binding, req)
	return req
}

// reply is what came back.
type reply struct {
	status  int
	header  http.Header
	body    []byte
	problem wire.Problem
	answer  wire.ConnectionAnswer
}

func (l *line) post(req wire.ConnectionRequest) reply {
	l.r.t.Helper()
	b, err := json.Marshal(req)
	if err != nil {
		l.r.t.Fatal(err)
	}
	if err := documented("ConnectionRequest", b); err != nil {
		l.r.t.Errorf("request: %v", err)
	}
	return l.send(http.MethodPost, wire.PathConnections, b)
}

func (l *line) send(method, path string, body []byte) (a reply) {
	t := l.r.t
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://gateway"+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := l.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	a.status, a.header = res.StatusCode, res.Header
	if a.body, err = io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	if err := a.asDocumented(path, method); err != nil {
		t.Errorf("%s %s: %s: %v", method, path, a.body, err)
	}
	if a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s %s: may be kept: %v", method, path, a.header)
	}
	into := any(&a.answer)
	if a.status >= 400 {
		into = &a.problem
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		t.Fatalf("%s: %v", a.body, err)
	}
	return a
}

func (a reply) granted(t *testing.T) wire.ConnectionAnswer {
	t.Helper()
	if a.status != http.StatusCreated {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	return a.answer
}

func (a reply) refused(t *testing.T, code wire.Code) reply {
	t.Helper()
	kind, _ := code.Kind()
	if a.problem.Code != code || a.status != kind.Status {
		t.Fatalf("status %d: %s; want %d %s", a.status, a.body, kind.Status, code)
	}
	return a
}

// lease is what the terminal has in the cluster's records.
func (r *rig) lease() (l *command.FallbackLease) {
	r.w.View(func(m *state.Machine) { l = m.FallbackLease(usetest.Terminal) })
	return l
}

// recorded are the codes of the refusals in the log so far.
func (r *rig) recorded() (codes []string) {
	synctest.Wait()
	for _, d := range r.w.Decisions() {
		codes = append(codes, d.Code)
	}
	return codes
}

// pipes is a listener in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex
	ends []net.Conn // the terminals'; guarded by mu
}

func (l *pipes) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.ends {
		c.Close()
	}
	l.ends = nil
}

type addressed struct {
	net.Conn
	remote net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.remote }

func (l *pipes) dial(ctx context.Context, from netip.Addr) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- addressed{there, net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 40000))}:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.ends = append(l.ends, here)
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 1, 1), Port: 7448} }

// buffer is a log that several write to.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// selfSigned is good in any year that a bubble may think it is.
func selfSigned(t testing.TB, name string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
