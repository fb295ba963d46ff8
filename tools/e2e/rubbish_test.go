package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
)

// Rubbish arrives at every port of the gateway, outside and inside: noise, cut
// and bent messages, connections that lead nowhere, a scan of all inner ports.
// The node lives, in the memory that it had; it has counted what it dropped;
// and somebody else's session doesn't notice.
func TestRubbish(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	// The three subscribers' numbers are far from each other, bit by bit.
	c1, tap1 := s.carrier(1)
	bystander := s.attach(c1, s.enlist(765432))

	// One terminal sends rubbish through its tunnel, bent out of what itself
	// and its barrel have sent.
	c2, tap2 := s.carrier(2)
	sim := s.enlist(1)
	noisy := s.attach(c2, sim)
	barrel := s.barrel(1, sim)
	if err := barrel.Join(s.soon(), noisy.Hotspot()); err != nil {
		t.Fatal(err)
	}
	if _, err := barrel.Await(s.soon(), isHeard); err != nil {
		t.Fatal(err)
	}

	// What the carrier said about a third is bent and sent from elsewhere.
	c3, tap3 := s.carrier(3)
	gone := s.attach(c3, s.enlist(55555))
	if err := gone.Bearer().ModifyBearer(s.soon(), carrier.Move{TAC: 5, NewTunnel: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := c3.Echo(s.soon()); err != nil {
		t.Fatal(err)
	}
	if err := gone.Detach(s.soon()); err != nil {
		t.Fatal(err)
	}

	before, was := s.counters(), s.sessions(imsi(765432))
	node := s.nodes[0]
	memory, files := resident(t, node), descriptors(t, node)

	d := &deluge{site: s, seed: seed(t)}
	d.ctx, d.dry = context.WithCancel(t.Context())
	t.Cleanup(d.stop)
	d.outside(tap3)
	d.streams()
	d.inside(tap2, noisy.Bearer().Send, noisy.Stack().DialContext)
	for end := time.Now().Add(howLong(t)); time.Now().Before(end); {
		s.ping(bystander)
	}
	for _, name := range []string{
		"gtpc.peer-not-allowed", "gtpc.short", "gtpc.unknown-type", "gtpu.peer-not-allowed", "gtpu.version", "gtpu.unknown-teid",
		"gtpu.inner-malformed", "inner.header-checksum", "inner.tcp-port", "inner.udp-port",
	} {
		s.until("rubbish is counted as "+name, func() bool { return s.counters()[name] > before[name] })
	}
	d.stop()
	t.Logf("%d pieces of rubbish", d.sent.Load())

	if node.ended() {
		t.Fatalf("the node is gone:\n%s", node.lastWords(50))
	}
	if node.said("(?i)panic|goroutine ") {
		t.Errorf("something panicked:\n%s", node.words())
	}
	s.ping(bystander)
	tap1.noEnding()
	if is := s.sessions(imsi(765432)); len(is) != 1 || len(was) != 1 || is[0].ID != was[0].ID || is[0].Address != was[0].Address || is[0].Peer != was[0].Peer {
		t.Errorf("the bystander's session was %+v and is %+v", was, is)
	}
	for name, n := range s.counters() {
		if strings.HasSuffix(name, "panic") && n > 0 {
			t.Errorf("%s is %d", name, n)
		}
	}
	s.until("the connections that led nowhere are closed", func() bool { return descriptors(t, node) <= files+8 })
	if now := resident(t, node); now > memory+96<<20 {
		t.Errorf("the node had %d MiB and has %d MiB", memory>>20, now>>20)
	}

	// And it is of use as before.
	s.attach(c1, s.enlist(2))
	if _, err := bystander.App().Status(s.soon()); err != nil {
		t.Error(err)
	}
	s.auditVerifies()
}

// howLong is E2E_RUBBISH, or a few seconds.
func howLong(t *testing.T) time.Duration {
	t.Helper()
	v := os.Getenv("E2E_RUBBISH")
	if v == "" {
		return 3 * time.Second
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		t.Fatalf("E2E_RUBBISH: %v", err)
	}
	return d
}

// resident is the memory that a process has in use, in bytes.
func resident(t *testing.T, p *process) uint64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, v, _ := strings.Cut(string(raw), "VmRSS:")
	n, err := strconv.ParseUint(strings.Fields(v)[0], 10, 50)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// descriptors is how many files and sockets a process has open.
func descriptors(t *testing.T, p *process) int {
	t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

// deluge sends rubbish until it is stopped.
type deluge struct {
	*site
	ctx  context.Context
	dry  context.CancelFunc
	seed uint64
	all  sync.WaitGroup
	sent atomic.Uint64
}

func (d *deluge) on() bool { return d.ctx.Err() == nil }

// stop ends it.
func (d *deluge) stop() {
	d.dry()
	d.all.Wait()
}

// pour sends pieces of rubbish, some every few milliseconds: the point is what
// is in them, not to drown the machine.
func (d *deluge) pour(real [][]byte, send func(r *rubbish) error) {
	d.seed++
	r := &rubbish{rand.New(rand.NewPCG(d.seed, 0)), real}
	d.all.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for d.on() {
			<-tick.C
			for range 10 {
				if err := send(r); err != nil {
					d.Errorf("rubbish can't be sent: %v", err)
					return
				}
				d.sent.Add(1)
			}
		}
	})
}

// outside sends datagrams to the gateway's outer ports: of GTP as another
// gateway of the carrier, and as somebody whom the gateway doesn't listen to.
func (d *deluge) outside(real *tap) {
	spoken := func(port uint16) (all [][]byte) {
		for _, f := range real.all(func(f frame) bool { return f.to.Port() == port }) {
			all = append(all, f.payload)
		}
		return all
	}
	key := d.gatewayKey()
	for _, from := range []netip.Addr{d.ip(20, 99), d.ip(99, 99)} {
		for _, port := range []uint16{carrier.ControlPort, carrier.UserPort, wireguardPort} {
			conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, port)))
			if err != nil {
				d.Fatal(err)
			}
			d.Cleanup(func() { _ = conn.Close() })
			to := netip.AddrPortFrom(d.gateway, port)
			d.pour(spoken(port), func(r *rubbish) error {
				b := r.next()
				if port == wireguardPort && r.IntN(2) == 0 {
					b = r.initiation(key[:])
				}
				_, err := conn.WriteToUDPAddrPort(b, to)
				return err
			})
		}
	}
}

// streams sends rubbish over TCP to the node's own ports: instead of TLS, as a
// bent greeting, and after a handshake with a certificate of the right CA that
// is for something else.
func (d *deluge) streams() {
	wrong := &tls.Config{RootCAs: d.roots(), Certificates: []tls.Certificate{d.identity("seal-server-client")}, MinVersion: tls.VersionTLS13}
	for _, port := range []uint16{7000, 7443, 7444} {
		at := netip.AddrPortFrom(d.ip(1, 1), port).String()
		d.connect(func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", at) }, wrong)
	}
}

// connect makes one connection after the other and sends rubbish on it.
func (d *deluge) connect(dial func(ctx context.Context) (net.Conn, error), cfg *tls.Config) {
	hello := [][]byte{clientHello("node1"), []byte("GET /v1/status HTTP/1.1\r\nHost: node1\r\n\r\n")}
	d.seed++
	r := &rubbish{rand.New(rand.NewPCG(d.seed, 0)), hello}
	d.all.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for d.on() {
			<-tick.C
			conn, err := dial(d.ctx)
			if err != nil {
				continue // it may be slow to accept, and it may refuse
			}
			d.sent.Add(1)
			_ = conn.SetDeadline(time.Now().Add(200 * time.Millisecond))
			if r.IntN(3) == 0 && cfg != nil {
				c := tls.Client(conn, cfg.Clone())
				if c.Handshake() == nil {
					_, _ = c.Write(r.next())
					_, _ = c.Read(make([]byte, 1))
				}
			} else {
				_, _ = conn.Write(r.next())
				if r.IntN(2) == 0 {
					_, _ = conn.Read(make([]byte, 1)) // it hangs up, or lets us wait
				}
			}
			_ = conn.Close()
		}
	})
}

// inside sends what a terminal could send through its tunnel: bent packets of
// its own, connections to the two services, and a knock at every port.
func (d *deluge) inside(real *tap, send func([]byte) error, dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	const userHeader = 8
	var packets [][]byte
	var own netip.Addr
	for _, f := range real.all(func(f frame) bool { return !f.heard && f.is(carrier.UserPort, 255) && len(f.payload) > userHeader+28 }) {
		packets = append(packets, f.payload[userHeader:])
		own = netip.AddrFrom4([4]byte(f.payload[userHeader+12:]))
	}
	d.pour(packets, func(r *rubbish) error {
		p := r.next()
		if r.IntN(3) > 0 && len(p) >= 20 { // so that it gets past the tunnel
			p[0] = 0x45
			copy(p[12:], own.AsSlice())
		}
		if r.IntN(3) > 0 {
			p = mended(p)
		}
		return send(p)
	})
	port := uint16(0)
	d.pour(nil, func(*rubbish) error {
		port++
		from, to := netip.AddrPortFrom(own, 40000), netip.AddrPortFrom(d.inner, port)
		if err := send(syn(from, to)); err != nil {
			return err
		}
		return send(packet(from, to, []byte("knock")))
	})
	phone := func(ctx context.Context) (net.Conn, error) {
		return dial(ctx, "tcp", netip.AddrPortFrom(d.inner, wire.PhonePort).String())
	}
	d.connect(phone, &tls.Config{RootCAs: d.roots(), ServerName: d.inner.String(), MinVersion: tls.VersionTLS13})
}
