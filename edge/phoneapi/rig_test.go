package phoneapi

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
	"errors"
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

	"github.com/sealedge/sealedge/edge/grant"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
)

// rig is a gateway node's phone API inside a synctest bubble: the real server
// and TLS over a network in memory, the real state machine, a seal server by
// hand.
type rig struct {
	t       *testing.T
	w       *usetest.World
	srv     *Server
	ln      *inner
	seal    *sealServer
	hotspot hotspotFunc
	cert    *tls.Certificate // that terminals present
	dead    atomic.Bool      // barrels don't heartbeat
	leading atomic.Bool
	rules   atomic.Pointer[policy.Rules]
	log     *syncBuffer
	usedMu  sync.Mutex
	used    []string // guarded by usedMu; see heard
	traces  Traces
	phones  map[phoneKey]*http.Client
	stop    func()
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, w: usetest.New(t, time.Now), seal: newSealServer(), log: &syncBuffer{}}
	r.hotspot = func(string, wire.Association) (wire.AssociationAnswer, error) {
		return wire.AssociationAnswer{Allowed: true, Barrel: usetest.Barrel}, nil
	}
	r.leading.Store(true)
	r.rules.Store(usetest.Rules())
	r.start()
	return r
}

// start brings a node up; with the world of another, it is the next one after a
// failover.
func (r *rig) start() {
	gateway := certificate(r.t, "gateway")
	r.srv = New(Config{
		Cluster: r.w, Rules: r.rules.Load, Server: r.seal, Evidence: r.seal, Barrels: alive{r}, GrantKey: usetest.Key(""), Unwrap: unwrapShared,
		Hotspot:     hotspotFunc(func(imsi string, a wire.Association) (wire.AssociationAnswer, error) { return r.hotspot(imsi, a) }),
		Certificate: func() (*tls.Certificate, error) { return gateway, nil },
		Leading:     r.leading.Load, Used: r.heard, Traces: r.traces,
		Logger: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	r.ln = &inner{conns: make(chan net.Conn), closed: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	r.phones = make(map[phoneKey]*http.Client)
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
		cancel()
		for _, c := range r.phones {
			c.CloseIdleConnections()
		}
		running.Wait()
	}
}

// bubble runs a test with a rig.
func bubble(t *testing.T, test func(t *testing.T, r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer func() {
			r.stop()
			time.Sleep(time.Minute) // the bubble's: connections have time to close
		}()
		test(t, r)
	})
}

// phone is the HTTP client of a terminal. It keeps its connection, while the
// node lives and the certificate is the same.
func (r *rig) phone(from netip.Addr) *http.Client {
	key := phoneKey{from, r.cert}
	if c := r.phones[key]; c != nil {
		return c
	}
	tr := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return r.ln.dial(ctx, from)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the server's name is not what is tested
	}
	if r.cert != nil {
		tr.TLSClientConfig.Certificates = []tls.Certificate{*r.cert}
	}
	c := &http.Client{Transport: tr}
	r.phones[key] = c
	return c
}

type phoneKey struct {
	from netip.Addr
	cert *tls.Certificate
}

// answer is what came back.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	problem wire.Problem
}

// send makes a request of Terminal. A body that is no reader is sent as JSON;
// header has pairs.
func (r *rig) send(method, path string, body any, header ...string) answer {
	r.t.Helper()
	return r.sendFrom(usetest.Address(usetest.Terminal), method, path, body, header...)
}

func (r *rig) sendFrom(from netip.Addr, method, path string, body any, header ...string) answer {
	r.t.Helper()
	in, ok := body.(io.Reader)
	if !ok && body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			r.t.Fatal(err)
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, "https://gateway"+path, in)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := r.phone(from).Do(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	a := answer{status: res.StatusCode, header: res.Header}
	if a.body, err = io.ReadAll(res.Body); err != nil {
		r.t.Fatal(err)
	}
	if res.Header.Get("Content-Type") == wire.ContentTypeProblem && method != http.MethodHead {
		if err := json.Unmarshal(a.body, &a.problem); err != nil || a.problem.Status != a.status {
			r.t.Fatalf("%s %s: problem %s with status %d: %v", method, path, a.body, a.status, err)
		}
	}
	return a
}

// want checks the status and reads the answer.
func (a answer) want(t *testing.T, status int, into any) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d: %s; want %d", a.status, a.body, status)
	}
	if into != nil {
		if err := json.Unmarshal(a.body, into); err != nil {
			t.Fatalf("%s: %v", a.body, err)
		}
	}
	return a
}

// refused checks the code.
func (a answer) refused(t *testing.T, code wire.Code) answer {
	t.Helper()
	kind, _ := code.Kind()
	if a.problem.Code != code || a.status != kind.Status {
		t.Fatalf("status %d: %s; want %d %s", a.status, a.body, kind.Status, code)
	}
	return a
}

const bearer = "Bearer token-of-li"

// use asks for a use that is granted.
func (r *rig) use(id string) wire.UseAnswer {
	r.t.Helper()
	var u wire.UseAnswer
	r.send("POST", wire.PathUses, usetest.Request(id, time.Now()), "Authorization", bearer).want(r.t, 201, &u)
	return u
}

type alive struct{ r *rig }

func (a alive) Alive(string) bool { return !a.r.dead.Load() }

func (a alive) Shown(string) policy.Credentials { return policy.CredentialBarrelPSK }

type hotspotFunc func(string, wire.Association) (wire.AssociationAnswer, error)

func (f hotspotFunc) List(imsi string, now time.Time) (grant.AllowList, error) {
	return grant.AllowList{
		IMSI: imsi, Version: 9, Revision: 1, Issued: now.Truncate(time.Second), Expires: now.Truncate(time.Minute).Add(2 * time.Minute),
		Devices: []grant.Device{{MAC: [6]byte{2, 0, 0x5e, 0x10, 0, 1}, Role: "barrel", Barrel: usetest.Barrel}},
	}, nil
}

func (f hotspotFunc) Associate(imsi string, a wire.Association) (wire.AssociationAnswer, error) {
	return f(imsi, a)
}

// inner is a listener whose connections come from inner addresses.
type inner struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

type addressed struct {
	net.Conn
	remote net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.remote }

func (l *inner) dial(ctx context.Context, from netip.Addr) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- addressed{there, net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 40000))}:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *inner) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *inner) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *inner) Addr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(10, 90, 0, 1), Port: wire.PhonePort}
}

// certificate is self-signed, and good in any year that a bubble may think it
// is.
func certificate(t testing.TB, name string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// sealServer is the intranet's, by hand.
type sealServer struct {
	mu      sync.Mutex
	verify  func(token string, req wire.VerifyRequest) (wire.VerifyAnswer, error) // guarded by mu
	uploads map[wire.EvidenceRef]*upload                                          // guarded by mu
	settled []wire.SettledReport                                                  // guarded by mu
	down    bool                                                                  // guarded by mu
	refuses uint64                                                                // guarded by mu: a use whose report it does not take
	reading chan int                                                              // told of every piece that is read, if not nil
}

type upload struct {
	wire.EvidenceState
	data []byte
	want [32]byte
}

func newSealServer() *sealServer {
	return &sealServer{
		uploads: make(map[wire.EvidenceRef]*upload),
		verify: func(string, wire.VerifyRequest) (wire.VerifyAnswer, error) {
			return usetest.Answer(time.Now()), nil
		},
	}
}

func (s *sealServer) available() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return wire.NewProblem(wire.CodeServerUnreachable, "Connection refused.")
	}
	return nil
}

func (s *sealServer) Login(_ context.Context, l wire.LoginRequest) (wire.LoginAnswer, error) {
	if err := s.available(); err != nil {
		return wire.LoginAnswer{}, err
	}
	if l.User != usetest.User || l.Password != "correct horse" {
		return wire.LoginAnswer{}, wire.NewProblem(wire.CodeLoginFailed, "")
	}
	return wire.LoginAnswer{Token: "token-of-li", Expires: time.Now().Add(time.Hour), Name: "Li Wei"}, nil
}

func (s *sealServer) Orders(_ context.Context, token string) (wire.OrderList, error) {
	if token != "token-of-li" {
		return wire.OrderList{}, wire.NewProblem(wire.CodeTokenInvalid, "")
	}
	return wire.OrderList{Orders: []wire.Order{{Number: usetest.Order, Count: 2}}}, nil
}

func (s *sealServer) Verify(_ context.Context, token string, req wire.VerifyRequest) (wire.VerifyAnswer, error) {
	if err := s.available(); err != nil {
		return wire.VerifyAnswer{}, err
	}
	s.mu.Lock()
	verify := s.verify
	s.mu.Unlock()
	return verify(token, req)
}

func (s *sealServer) Settled(_ context.Context, r wire.SettledReport) error {
	if err := s.available(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Use == s.refuses {
		return wire.NewProblem(wire.CodeServerRefused, "It says: there is no such order.")
	}
	s.settled = append(s.settled, r)
	return nil
}

func (s *sealServer) reports() []wire.SettledReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settled
}

func (s *sealServer) EvidenceState(_ context.Context, ref wire.EvidenceRef) (wire.EvidenceState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.uploads[ref]; u != nil {
		return u.EvidenceState, nil
	}
	return wire.EvidenceState{}, nil
}

func (s *sealServer) AppendEvidence(_ context.Context, ref wire.EvidenceRef, k wire.EvidenceChunk) (wire.EvidenceState, error) {
	if err := s.available(); err != nil {
		return wire.EvidenceState{}, err
	}
	s.mu.Lock()
	u := s.uploads[ref]
	if u == nil {
		u = &upload{EvidenceState: wire.EvidenceState{Length: k.Length}, want: k.Digest}
		s.uploads[ref] = u
	}
	s.mu.Unlock()
	if k.Offset != u.Offset {
		return u.EvidenceState, wire.NewProblem(wire.CodeUploadOffset, "")
	}
	b := make([]byte, 32<<10)
	for {
		n, err := k.Body.Read(b)
		s.mu.Lock()
		u.data = append(u.data, b[:n]...)
		u.Offset += int64(n)
		s.mu.Unlock()
		if s.reading != nil && n > 0 {
			s.reading <- n
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return u.EvidenceState, wire.NewProblem(wire.CodeServerUnreachable, err.Error())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.Offset == u.Length {
		if u.Digest = sha256.Sum256(u.data); u.Digest != u.want {
			delete(s.uploads, ref)
			return wire.EvidenceState{}, wire.NewProblem(wire.CodeDigestMismatch, "")
		}
		u.Complete = true
	}
	return u.EvidenceState, nil
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
