package inner_test

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/sealedge/sealedge/edge/inner"
)

// patience bounds waits for what must happen; it is never waited for in a
// passing test.
const patience = time.Minute

var (
	gateway  = netip.MustParseAddr("10.90.0.1")
	gateway2 = netip.MustParseAddr("10.91.0.1")
	phoneA   = netip.MustParseAddr("10.90.0.2")
	phoneB   = netip.MustParseAddr("10.90.0.3")

	gateway6  = netip.MustParseAddr("2001:db8:90::1")
	gateway62 = netip.MustParseAddr("2001:db8:91::1")
	phoneA6   = netip.MustParseAddr("2001:db8:90:2::a1")
	phoneA6b  = netip.MustParseAddr("2001:db8:90:2:ffff:ffff:ffff:ffff") // the same terminal
	phoneB6   = netip.MustParseAddr("2001:db8:90:3::b1")

	bothGateways = []netip.Addr{gateway, gateway6}
)

// driver is that of the networks under test.
var driver = inner.Netstack

func newNetwork(t testing.TB, cfg inner.Config) *inner.Network {
	t.Helper()
	cfg.Driver = driver
	if cfg.Addresses == nil {
		cfg.Addresses = []netip.Addr{gateway}
	}
	n, err := inner.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// phone is a terminal with an IP stack of its own. It is a Path too.
type phone struct {
	addr  netip.Addr
	stack *stack.Stack
	link  *channel.Endpoint
	down  chan []byte

	mu               sync.Mutex
	longUp, longDown int    // the longest packets; guarded by mu
	together         int    // the most packets that came down at once; guarded by mu
	mss              uint16 // that the gateway offered; guarded by mu
}

// newPhone attaches a phone to the network.
func newPhone(t testing.TB, n *inner.Network, addr netip.Addr) *phone {
	t.Helper()
	p := &phone{
		addr: addr,
		stack: stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocolWithOptions(ipv6.Options{})},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
		}),
		link: channel.New(8192, 1500, ""),
		down: make(chan []byte, 8192),
	}
	if err := p.stack.CreateNIC(1, p.link); err != nil {
		t.Fatal(err)
	}
	p.give(t, addr)
	p.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}, {Destination: header.IPv6EmptySubnet, NIC: 1}})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			pkt := p.link.ReadContext(ctx)
			if pkt == nil {
				return
			}
			var pkts [][]byte // all that wait, as the access paths do
			for pkt != nil {
				v := pkt.ToView()
				pkts = append(pkts, v.ToSlice())
				p.note(&p.longUp, v.AsSlice())
				v.Release()
				pkt.DecRef()
				if len(pkts) == 100 {
					break
				}
				pkt = p.link.Read()
			}
			n.DeliverAll(pkts)
		}
	})
	wg.Go(func() {
		for {
			select {
			case b := <-p.down:
				pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
				p.link.InjectInbound(number(b), pkt)
				pkt.DecRef()
			case <-ctx.Done():
				return
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		p.stack.Destroy()
	})
	n.SetRoute(host(addr), p)
	return p
}

// give adds an address to the phone.
func (p *phone) give(t testing.TB, addr netip.Addr) {
	t.Helper()
	if err := p.stack.AddProtocolAddress(1, tcpip.ProtocolAddress{
		Protocol: numberOf(addr), AddressWithPrefix: tcpip.AddrFromSlice(addr.AsSlice()).WithPrefix(),
	}, stack.AddressProperties{}); err != nil {
		t.Fatal(err)
	}
}

// number is the protocol of a packet.
func number(b []byte) tcpip.NetworkProtocolNumber {
	if b[0]>>4 == 6 {
		return ipv6.ProtocolNumber
	}
	return ipv4.ProtocolNumber
}

func numberOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is6() {
		return ipv6.ProtocolNumber
	}
	return ipv4.ProtocolNumber
}

// Send is the path down to the phone.
func (p *phone) Send(pkt []byte) error {
	p.note(&p.longDown, pkt)
	p.down <- append([]byte(nil), pkt...)
	return nil
}

// SendAll is the path down for packets that come together.
func (p *phone) SendAll(pkts [][]byte) error {
	for _, pkt := range pkts {
		_ = p.Send(pkt) // never fails
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.together = max(p.together, len(pkts))
	return nil
}

// note measures a packet.
func (p *phone) note(longest *int, pkt []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*longest = max(*longest, len(pkt))
	var h header.Network = header.IPv4(pkt)
	if pkt[0]>>4 == 6 {
		h = header.IPv6(pkt)
	}
	if h.TransportProtocol() != tcp.ProtocolNumber {
		return
	}
	if t := header.TCP(h.Payload()); t.Flags() == header.TCPFlagSyn|header.TCPFlagAck {
		p.mss = header.ParseSynOptions(t.Options(), true).MSS
	}
}

func full(a netip.Addr, port uint16) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFromSlice(a.AsSlice()), Port: port}
}

func (p *phone) tryDial(to netip.Addr, port uint16) (*gonet.TCPConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return gonet.DialContextTCP(ctx, p.stack, full(to, port), numberOf(to))
}

// dialFrom dials from one of several addresses.
func (p *phone) dialFrom(from, to netip.Addr, port uint16) (*gonet.TCPConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return gonet.DialTCPWithBind(ctx, p.stack, full(from, 0), full(to, port), numberOf(to))
}

func (p *phone) dial(t testing.TB, to netip.Addr, port uint16) *gonet.TCPConn {
	t.Helper()
	c, err := p.tryDial(to, port)
	if err != nil {
		t.Fatalf("dial %v:%d: %v", to, port, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (p *phone) dialUDP(t testing.TB, to netip.Addr, port uint16) *gonet.UDPConn {
	t.Helper()
	remote := full(to, port)
	c, err := gonet.DialUDP(p.stack, nil, &remote, numberOf(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// rising returns a function that tells how much counters rose since the call
// before, leaving out those that didn't and those of the stack.
func rising(n *inner.Network) func() map[string]uint64 {
	was := n.Counters()
	return func() map[string]uint64 {
		now := n.Counters()
		rose := map[string]uint64{}
		for name, v := range now {
			if d := v - was[name]; d != 0 && (len(name) < 6 || name[:6] != "stack-") {
				rose[name] = d
			}
		}
		was = now
		return rose
	}
}

// host is the prefix of a terminal that has the address.
func host(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(a, bits)
}
