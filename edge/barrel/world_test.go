package barrel

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/dtls/v2"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/barrel/rfc7905"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
)

// world is a server with its cluster and an inner network of datagrams.
type world struct {
	*usetest.World
	t       *testing.T
	server  *Server
	net     *network
	ca      authority
	away    atomic.Bool // this node doesn't lead
	stop    context.CancelFunc
	stopped chan struct{}
}

// play runs a scenario under a fake clock, and sees to it that nothing is left
// running.
func play(t *testing.T, scenario func(t *testing.T, w *world)) {
	t.Helper()
	ca := newAuthority(t) // outside of the fake clock, which begins in 2000
	synctest.Test(t, func(t *testing.T) {
		w := &world{World: usetest.New(t, time.Now), t: t, ca: ca, stopped: make(chan struct{})}
		w.open(Limits{})
		defer w.close()
		scenario(t, w)
	})
}

func (w *world) open(limits Limits) {
	w.t.Helper()
	w.server = newServer(w.t, w.World, w.ca, &w.away, limits)
	w.start()
}

// start serves a port, a new one each time.
func (w *world) start() {
	w.net = &network{in: make(chan packet, 1024), closed: make(chan struct{}), links: make(map[netip.AddrPort]*link)}
	ctx, stop := context.WithCancel(w.t.Context())
	w.stop, w.stopped = stop, make(chan struct{})
	var both sync.WaitGroup
	both.Go(func() {
		if err := w.server.Serve(ctx, w.net); err != nil {
			w.t.Errorf("Serve: %v", err)
		}
	})
	both.Go(func() {
		if err := w.server.Run(ctx); err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	go func() { both.Wait(); close(w.stopped) }()
}

func newServer(t testing.TB, cluster Cluster, ca authority, away *atomic.Bool, limits Limits) *Server {
	t.Helper()
	gateway := ca.issue(t, "gateway")
	s, err := New(Config{
		Cluster:     cluster,
		PSK:         func(b *command.Barrel) ([]byte, error) { return pskOf(b.Id), nil },
		Certificate: func() (*tls.Certificate, error) { return &gateway, nil },
		ClientCAs:   ca.pool,
		Leading:     func() bool { return !away.Load() },
		Limits:      limits,
		Logger:      slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) close() {
	w.stop()
	<-w.stopped
}

// pskOf is the key of a barrel, opened.
func pskOf(barrel string) []byte { return []byte("the pre-shared key of " + barrel) }

// network is the inner network: the gateway's port, and peers by address.
type network struct {
	in     chan packet
	once   sync.Once
	closed chan struct{}

	mu    sync.Mutex
	links map[netip.AddrPort]*link               // guarded by mu
	lose  func(to netip.AddrPort, b []byte) bool // guarded by mu: of what the gateway sends
}

type packet struct {
	b    []byte
	from netip.AddrPort
}

func (n *network) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case p := <-n.in:
		return copy(b, p.b), net.UDPAddrFromAddrPort(p.from), nil
	case <-n.closed:
		return 0, nil, net.ErrClosed
	}
}

func (n *network) WriteTo(b []byte, to net.Addr) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	addr := to.(*net.UDPAddr).AddrPort()
	if l := n.links[addr]; l != nil && (n.lose == nil || !n.lose(addr, b)) {
		l.deliver(bytes.Clone(b))
	}
	return len(b), nil
}

func (n *network) losing(lose func(to netip.AddrPort, b []byte) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lose = lose
}

func (n *network) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}

func (n *network) LocalAddr() net.Addr              { return &net.UDPAddr{IP: net.IPv4(10, 90, 0, 1), Port: 5684} }
func (n *network) SetDeadline(time.Time) error      { return nil }
func (n *network) SetReadDeadline(time.Time) error  { return nil }
func (n *network) SetWriteDeadline(time.Time) error { return nil }

// uplink is a peer's way to the gateway.
type uplink struct {
	*network
	from netip.AddrPort
}

func (u uplink) WriteTo(b []byte, _ net.Addr) (int, error) {
	select {
	case u.in <- packet{bytes.Clone(b), u.from}:
	default:
	}
	return len(b), nil
}

// dial gives a peer its place in the network; an earlier one of that address is
// gone without a word, as after a loss of power.
func (n *network) dial(from netip.AddrPort) *link {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := newLink(uplink{n, from}, n.LocalAddr())
	n.links[from] = l
	return l
}

// device is a barrel's radio: DTLS, and CoAP by hand.
type device struct {
	t        *testing.T
	conn     *dtls.Conn
	id       uint16
	answers  chan message.Message
	requests chan message.Message // of the gateway
	done     chan struct{}
}

func pskConfig(barrel string) *dtls.Config {
	return rfc7905.Client(&dtls.Config{
		PSK:             func([]byte) ([]byte, error) { return pskOf(barrel), nil },
		PSKIdentityHint: []byte(barrel),
	})
}

// connect brings a barrel up at a terminal's address.
func (w *world) connect(barrel, imsi string, port uint16) *device {
	w.t.Helper()
	d, err := w.try(pskConfig(barrel), netip.AddrPortFrom(usetest.Address(imsi), port))
	if err != nil {
		w.t.Fatalf("barrel %s: %v", barrel, err)
	}
	synctest.Wait() // the client may be done with the handshake before the server
	return d
}

func (w *world) try(config *dtls.Config, from netip.AddrPort) (*device, error) {
	w.t.Helper()
	l := w.net.dial(from)
	d, err := connectOver(w.t, rfc7905.Guard(l), config)
	if err != nil {
		_ = l.Close()
	}
	return d, err
}

// over is a device on any connection.
func (w *world) over(t *testing.T, conn net.Conn, config *dtls.Config) *device {
	t.Helper()
	d, err := connectOver(t, conn, config)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func connectOver(t *testing.T, over net.Conn, config *dtls.Config) (*device, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	conn, err := dtls.ClientWithContext(ctx, over, config)
	if err != nil {
		return nil, err
	}
	d := &device{
		t: t, conn: conn, answers: make(chan message.Message, 16), requests: make(chan message.Message, 64),
		done: make(chan struct{}),
	}
	go d.read()
	t.Cleanup(func() { _ = conn.Close() })
	return d, nil
}

func (d *device) read() {
	defer close(d.done)
	buf := make([]byte, 8<<10)
	for {
		n, err := d.conn.Read(buf)
		if err != nil {
			return
		}
		m, err := decode(bytes.Clone(buf[:n]))
		if err != nil {
			d.t.Errorf("the gateway sent %x: %v", buf[:n], err)
			continue
		}
		to := d.answers
		if kindOf(m.Code) == isRequest {
			to = d.requests
		}
		select {
		case to <- m:
		default:
			d.t.Error("the device has too many messages waiting")
		}
	}
}

func (d *device) close() { _ = d.conn.Close(); <-d.done }

// endsWithin tells whether the gateway ends its newest association with a
// barrel in time. (The barrel may not be told: the library's Close races with
// the close_notify that it sends.)
func (w *world) endsWithin(barrel string, limit time.Duration) bool {
	w.t.Helper()
	w.server.mu.Lock()
	a := w.server.byBarrel[barrel]
	w.server.mu.Unlock()
	if a == nil {
		return true
	}
	return a.endsWithin(limit)
}

func (a *association) endsWithin(limit time.Duration) bool {
	select {
	case <-a.done:
		return true
	case <-time.After(limit):
		return false
	}
}

// send sends any message, or bytes that are none.
func (d *device) send(b []byte) {
	d.t.Helper()
	if _, err := d.conn.Write(b); err != nil {
		d.t.Errorf("send: %v", err)
	}
}

// post is a confirmable POST, ready to be sent once or more.
func (d *device) post(path string, format message.MediaType, payload []byte) message.Message {
	d.id++
	o := message.Options{{ID: message.URIPath, Value: []byte(path[1:])}}
	if payload != nil {
		o = append(o, options(message.ContentFormat, format)...)
	}
	return message.Message{
		Type: message.Confirmable, MessageID: int32(d.id), Token: message.Token{byte(d.id >> 8), byte(d.id), 7}, Code: codes.POST,
		Options: o, Payload: payload,
	}
}

func (d *device) do(m message.Message) message.Message {
	d.t.Helper()
	b, err := encode(m)
	if err != nil {
		d.t.Fatal(err)
	}
	d.send(b)
	return d.answer(m)
}

func (d *device) answer(to message.Message) message.Message {
	d.t.Helper()
	select {
	case got := <-d.answers:
		if got.Type != message.Acknowledgement || got.MessageID != to.MessageID || !bytes.Equal(got.Token, to.Token) {
			d.t.Fatalf("got %v, which is no piggybacked answer to %v", &got, &to)
		}
		return got
	case <-time.After(5 * time.Second):
		d.t.Fatalf("no answer to %v", &to)
	case <-d.done:
		d.t.Fatal("the association ended")
	}
	panic("unreachable")
}

// beat sends a heartbeat.
func (d *device) beat(hb wire.Heartbeat) message.Message {
	d.t.Helper()
	return d.do(d.post(wire.PathHeartbeat, wire.ContentCBOR, wire.MarshalCBOR(hb)))
}

func (d *device) request(within time.Duration) (message.Message, bool) {
	select {
	case m := <-d.requests:
		return m, true
	case <-time.After(within):
		return message.Message{}, false
	case <-d.done:
		return message.Message{}, false
	}
}

// obey takes the next PUT /lock and acknowledges it.
func (d *device) obey() wire.LockOrder {
	d.t.Helper()
	m, ok := d.request(5 * time.Second)
	if !ok {
		d.t.Fatal("no lock came")
	}
	b, err := answer(m, message.Acknowledgement, uint16(m.MessageID), changed(nil))
	if err != nil {
		d.t.Fatal(err)
	}
	d.send(b)
	return lockIn(d.t, m)
}

func lockIn(t *testing.T, m message.Message) (l wire.LockOrder) {
	t.Helper()
	r, wrong := parse(m)
	if wrong != nil || m.Code != codes.PUT || r.path != wire.PathBarrelLock || r.format != wire.ContentCBOR || m.Type != message.Confirmable {
		t.Fatalf("got %v, want a confirmable PUT /lock", &m)
	}
	into(t, m, &l)
	return l
}

func into(t *testing.T, m message.Message, v any) {
	t.Helper()
	if err := wire.UnmarshalCBOR(m.Payload, v); err != nil {
		t.Fatal(err)
	}
}

// wantCode checks an answer, and the problem's code of a refusal.
func wantCode(t *testing.T, m message.Message, code codes.Code, problem wire.Code) {
	t.Helper()
	var p wire.ConciseProblem
	if problem != "" {
		if f, err := m.Options.ContentFormat(); err != nil || f != wire.ContentProblem {
			t.Errorf("%v has no problem", &m)
		} else {
			into(t, m, &p)
		}
	}
	if m.Code != code || p.Title != problem {
		t.Errorf("got %v %s, want %v %s", m.Code, p.Title, code, problem)
	}
}

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	key, template := newKey(t), template("authority")
	template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
	cert := sign(t, template, template, key, key)
	a := authority{cert: cert, key: key, pool: x509.NewCertPool()}
	a.pool.AddCert(cert)
	return a
}

func (a authority) issue(t testing.TB, name string) tls.Certificate {
	t.Helper()
	key := newKey(t)
	cert := sign(t, template(name), a.cert, key, a.key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func sign(t testing.TB, template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
