package phone

import (
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/wmnsk/go-gtp/gtpv1/message"
	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/conn/bindtest"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/sealedge/sealedge/edge/pathwatch"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
	"github.com/sealedge/sealedge/tools/sealsim/ipstack"
)

var (
	sgw     = netip.MustParseAddr("127.0.20.1")
	pgw     = netip.MustParseAddr("127.0.10.1")
	gateway = netip.MustParseAddr("10.90.0.1")
	given   = netip.MustParseAddr("10.90.0.7")

	gateway6     = netip.MustParseAddr("fd00:90::1")
	givenPrefix6 = netip.MustParseAddr("fd00:90:0:7::")
	given6       = netip.MustParseAddr("fd00:90:0:7::700")
)

// world is everything around the phone: a carrier's network, a gateway with
// both access paths, and an HTTPS server in it.
type world struct {
	t       *testing.T
	phone   *Phone
	carrier *carrier.Carrier
	inner   *ipstack.Stack // the gateway's
	mux     *http.ServeMux
	creates atomic.Int32 // Create Session Requests, without those that were sent again
	overGTP atomic.Int32 // uplink packets
	overWG  atomic.Int32

	solicited func() bool   // a router is asked for; false: none answers. Set before anything is attached
	detached  chan struct{} // holds a token when a session was deleted

	wireguard     *device.Device // the gateway's
	phoneKey, key *ecdh.PrivateKey
	certificate   tls.Certificate
	dead          [3]atomic.Bool // by pathwatch.Path: packets over the path are lost
	refuses       atomic.Bool    // the gateway admits nobody on the fallback
	pongs         [3]atomic.Int32

	mu      sync.Mutex
	cause   uint8  // of Modify Bearer Responses
	lastWG  bool   // which path the last uplink packet came by
	sgwTEID uint32 // user plane
	user    *pipeEnd
	tun     *inside
}

// newWorld switches everything on. The HTTP handlers are set by the test.
func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	w := &world{t: t, cause: 16, mux: http.NewServeMux(), solicited: func() bool { return true }, detached: make(chan struct{}, 1)}
	var err error
	if w.inner, err = ipstack.New(netip.PrefixFrom(gateway, 32), 0); err != nil {
		t.Fatal(err)
	}
	if err := w.inner.SetAddress6(netip.PrefixFrom(gateway6, 128)); err != nil {
		t.Fatal(err)
	}
	w.inner.SetLink(w.downlink)

	control, user := newPipe(netip.AddrPortFrom(sgw, carrier.ControlPort), netip.AddrPortFrom(pgw, carrier.ControlPort)),
		newPipe(netip.AddrPortFrom(sgw, carrier.UserPort), netip.AddrPortFrom(pgw, carrier.UserPort))
	w.user = user[1]
	var serving sync.WaitGroup
	serving.Go(func() { w.serveControl(control[1]) })
	serving.Go(w.serveUser)
	w.carrier, err = carrier.New(carrier.Config{
		// As patient as a busy machine needs it; that nobody answers comes out after three seconds.
		Address: sgw, Gateway: pgw, T3: 50 * time.Millisecond, N3: 60,
		Listen: func(at netip.AddrPort) (carrier.Conn, error) {
			if at.Port() == carrier.ControlPort {
				return control[0], nil
			}
			return user[0], nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}

	phoneKey, gatewayKey := x25519(t), x25519(t)
	w.phoneKey, w.key = phoneKey, gatewayKey
	binds := bindtest.NewChannelBinds()
	w.tun = &inside{deliver: w.uplinkWG, out: make(chan []byte, 512), events: make(chan tun.Event, 1), closed: make(chan struct{})}
	w.wireguard = device.NewDevice(w.tun, binds[1], device.NewLogger(device.LogLevelSilent, ""))
	if err := w.wireguard.IpcSet(fmt.Sprintf("private_key=%s\npublic_key=%s\nallowed_ip=%s/32\n",
		hex.EncodeToString(gatewayKey.Bytes()), hex.EncodeToString(phoneKey.PublicKey().Bytes()), given)); err != nil {
		t.Fatal(err)
	}
	if err := w.wireguard.Up(); err != nil {
		t.Fatal(err)
	}

	certificate, roots := selfSigned(t)
	w.certificate = certificate
	listener, err := w.inner.ListenTCP(wire.PhonePort)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: w.mux, ReadHeaderTimeout: time.Minute}
	serving.Go(func() {
		_ = server.Serve(tls.NewListener(listener, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}}))
	})

	cfg := Config{
		SIM: subscriber(), Operator: w.carrier, Gateway: gateway, Gateway6: gateway6,
		Fallback: &Fallback{
			PrivateKey: [32]byte(phoneKey.Bytes()), GatewayKey: [32]byte(gatewayKey.PublicKey().Bytes()),
			Gateway: netip.MustParseAddrPort("127.0.0.1:1"), Address: given,
			Bind: func() conn.Bind { return binds[0] },
		},
		App: AppConfig{RootCAs: roots, SealServer: "127.0.2.1:8443"},
	}
	if change != nil {
		change(&cfg)
	}
	if w.phone, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.phone.Close()
		_ = server.Close()
		_ = w.carrier.Close()
		_ = control[1].Close()
		_ = user[1].Close()
		w.wireguard.Close()
		w.inner.SetLink(nil)
		w.inner.Close()
		serving.Wait()
	})
	return w
}

func subscriber() carrier.Subscriber {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	imsi, err := ident.ParseIMSI("460010000000001")
	must(err)
	apn, err := ident.ParseAPN("seal.corp")
	must(err)
	plmn, err := ident.ParsePLMN("46001")
	must(err)
	return carrier.Subscriber{IMSI: imsi, APN: apn, PLMN: plmn}
}

// serveControl is a packet gateway of three messages.
func (w *world) serveControl(conn *pipeEnd) {
	buf := make([]byte, 65535)
	created := make(map[uint32]bool) // by sequence number
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		msg, err := message.Parse(append([]byte(nil), buf[:n]...))
		if err != nil {
			w.t.Error(err)
			continue
		}
		accepted := ie.NewCause(16, 0, 0, 0, nil)
		var answer message.Message
		switch m := msg.(type) {
		case *message.CreateSessionRequest:
			if !created[m.Sequence()] {
				created[m.Sequence()] = true
				w.creates.Add(1)
			}
			w.mu.Lock()
			for _, i := range m.BearerContextsToBeCreated[0].ChildIEs {
				if i.Type == ie.FullyQualifiedTEID {
					w.sgwTEID = i.MustTEID()
				}
			}
			w.mu.Unlock()
			answer = message.NewCreateSessionResponse(m.SenderFTEIDC.MustTEID(), m.Sequence(), accepted,
				ie.NewFullyQualifiedTEID(7, 1, pgw.String(), "").WithInstance(1),
				ie.New(ie.PDNAddressAllocation, 0, addresses(m.PDNType.MustPDNType())),
				ie.NewBearerContext(ie.NewEPSBearerID(5), accepted, ie.NewFullyQualifiedTEID(5, 1, pgw.String(), "").WithInstance(2)))
		case *message.ModifyBearerRequest:
			w.mu.Lock()
			answer = message.NewModifyBearerResponse(0, m.Sequence(), ie.NewCause(w.cause, 0, 0, 0, nil))
			w.mu.Unlock()
		case *message.DeleteSessionRequest:
			answer = message.NewDeleteSessionResponse(0, m.Sequence(), accepted)
			select {
			case w.detached <- struct{}{}:
			default:
			}
		default:
			continue
		}
		b := make([]byte, answer.MarshalLen())
		if err := answer.MarshalTo(b); err != nil {
			w.t.Error(err)
		}
		_, _ = conn.WriteToUDPAddrPort(b, from)
	}
}

// addresses is a PDN Address Allocation (TS 29.274 8.14).
func addresses(pdnType uint8) []byte {
	b := []byte{pdnType}
	if pdnType != 1 {
		b = append(append(b, 64), givenPrefix6.AsSlice()[:8]...)
		b = append(b, given6.AsSlice()[8:]...)
	}
	if pdnType != 2 {
		b = append(b, given.AsSlice()...)
	}
	return b
}

// advertise answers a router solicitation (RFC 4861 4.2).
func (w *world) advertise(solicitation []byte) {
	router := netip.MustParseAddr("fe80::1")
	body := make([]byte, 16+32)
	body[0], body[6], body[7] = 134, 0x23, 0x28
	o := body[16:]
	o[0], o[1], o[2], o[3] = 3, 4, 64, 0x40
	copy(o[4:12], "\xff\xff\xff\xff\xff\xff\xff\xff")
	copy(o[16:], givenPrefix6.AsSlice())
	packet := append([]byte{0x60, 0, 0, 0, 0, byte(len(body)), 58, 255}, router.AsSlice()...)
	packet = append(packet, solicitation[8:24]...)
	packet = append(packet, body...)
	sum := header.ICMPv6Checksum(header.ICMPv6ChecksumParams{
		Header: packet[40:], Src: tcpip.AddrFromSlice(packet[8:24]), Dst: tcpip.AddrFromSlice(packet[24:40]),
	})
	header.ICMPv6(packet[40:]).SetChecksum(sum)
	w.downlink(packet)
}

func (w *world) serveUser() {
	buf := make([]byte, 65535)
	for {
		n, _, err := w.user.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if m, err := v1.Parse(buf[:n]); err == nil {
			if packet, ok := m.(*v1.TPDU); ok && !w.dead[pathwatch.Carrier].Load() {
				w.overGTP.Add(1)
				if a := w.pong(packet.Payload, pathwatch.Carrier); a != nil {
					w.overCarrier(a)
					continue
				}
				w.mu.Lock()
				w.lastWG = false
				w.mu.Unlock()
				if p := packet.Payload; len(p) > 40 && p[0]>>4 == 6 && p[6] == 58 && p[40] == 133 {
					if w.solicited() {
						w.advertise(p)
					}
					continue
				}
				w.inner.Deliver(packet.Payload)
			}
		}
	}
}

// pong answers a probe by the path that it came by.
func (w *world) pong(packet []byte, path pathwatch.Path) []byte {
	if len(packet) != header4+headerUDP+wire.ProbeSize || packet[9] != protocolUDP {
		return nil
	}
	nonce, ok := wire.ParseProbe(packet[header4+headerUDP:])
	if !ok {
		return nil
	}
	w.pongs[path].Add(1)
	w.mu.Lock()
	active := w.lastWG == (path == pathwatch.Fallback)
	w.mu.Unlock()
	a := wire.ProbeAnswer{
		Nonce: nonce, Path: uint8(path), Active: active, Admitted: path == pathwatch.Carrier || !w.refuses.Load(),
	}
	l4 := append([]byte{packet[22], packet[23], packet[20], packet[21], 0, headerUDP + wire.ProbeSize, 0, 0}, a.Append(nil)...)
	return ipPacket(gateway, given, protocolUDP, l4)
}

func (w *world) uplinkWG(packet []byte) {
	if w.dead[pathwatch.Fallback].Load() {
		return
	}
	w.overWG.Add(1)
	if a := w.pong(packet, pathwatch.Fallback); a != nil {
		w.tun.out <- a
		return
	}
	w.mu.Lock()
	w.lastWG = true
	w.mu.Unlock()
	w.inner.Deliver(packet)
}

// downlink answers by the path that the phone used last.
func (w *world) downlink(packet []byte) {
	w.mu.Lock()
	overWG := w.lastWG
	w.mu.Unlock()
	if overWG {
		select {
		case w.tun.out <- append([]byte(nil), packet...):
		default:
		}
		return
	}
	w.overCarrier(packet)
}

func (w *world) overCarrier(packet []byte) {
	w.mu.Lock()
	teid := w.sgwTEID
	w.mu.Unlock()
	if b, err := v1.NewTPDU(teid, packet).Marshal(); err == nil {
		_, _ = w.user.WriteToUDPAddrPort(b, netip.AddrPortFrom(sgw, carrier.UserPort))
	}
}

// attach brings the phone to the carrier.
func (w *world) attach() *App {
	w.t.Helper()
	if err := w.phone.Attach(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return w.phone.App()
}

func (w *world) path() Path {
	active, _ := w.phone.Path()
	return active
}

// pipeEnd is one end of a datagram pipe with addresses.
type pipeEnd struct {
	from   netip.AddrPort // the other end
	in     chan []byte
	other  *pipeEnd
	closed chan struct{}
	once   sync.Once
}

func newPipe(a, b netip.AddrPort) [2]*pipeEnd {
	x := &pipeEnd{from: b, in: make(chan []byte, 1024), closed: make(chan struct{})}
	y := &pipeEnd{from: a, in: make(chan []byte, 1024), closed: make(chan struct{}), other: x}
	x.other = y
	return [2]*pipeEnd{x, y}
}

func (p *pipeEnd) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case d := <-p.in:
		return copy(b, d), p.from, nil
	case <-p.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (p *pipeEnd) WriteToUDPAddrPort(b []byte, _ netip.AddrPort) (int, error) {
	select {
	case p.other.in <- append([]byte(nil), b...):
	default:
	}
	return len(b), nil
}

func (p *pipeEnd) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func x25519(t *testing.T) *ecdh.PrivateKey {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{gateway.AsSlice(), gateway6.AsSlice(), net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// answerJSON writes an answer of the phone API.
func answerJSON(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

// cancelled is a context that is over.
func cancelled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
