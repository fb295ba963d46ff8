package inner

import (
	"fmt"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// Buffers of a TCP connection in bytes. That for reading grows as needed from the
// default; the greatest lets one phone send 80 Mbit/s at 100 ms. The one for sending
// gives it 10. More on its way down would be more than a WireGuard client's socket
// takes while its program waits for a processor (some 90 packets, unless it asks for
// more), and losses cost far more than a small window does: with 256 KiB, one
// connection in eight stood still for a while on a busy machine.
const (
	minBuffer     = 4 << 10
	defaultBuffer = 128 << 10
	maxSendBuffer = 128 << 10
	maxReadBuffer = 1 << 20
)

// maxSegment is the most that the stack sends at once, in bytes: for the same
// reason it isn't the most that there can be.
const maxSegment = 32 << 10

// timeWait is how long a closed connection is remembered. The clock ticks and
// sequence numbers of one terminal don't need the customary minute.
const timeWait = 10 * time.Second

// newStack makes a stack with TCP, UDP and ICMP; with6 if it is to speak IPv6
// beside IPv4. Echo requests are answered by the network protocols themselves.
func newStack(with6 bool) *stack.Stack {
	options := stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{
			tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4,
		},
	}
	if with6 {
		// All that there is to configure is off in the zero Options: duplicate
		// address detection, router solicitations, advertisements, MLD and a
		// link-local address. There is no link to do any of it on.
		options.NetworkProtocols = append(options.NetworkProtocols, ipv6.NewProtocolWithOptions(ipv6.Options{}))
		options.TransportProtocols = append(options.TransportProtocols, icmp.NewProtocol6)
	}
	s := stack.New(options)
	sack := tcpip.TCPSACKEnabled(true)
	moderate := tcpip.TCPModerateReceiveBufferOption(true)
	// Not "cubic": when its HyStart ends slow start upon an acknowledgement of as
	// many segments as the window holds, the window becomes 0 (WMax is still 0, so
	// that each segment takes one off), and the connection stands still for ever.
	// TestTCP, some thousand times beside other load, finds it.
	reno := tcpip.CongestionControlOption("reno")
	wait := tcpip.TCPTimeWaitTimeoutOption(timeWait)
	for _, o := range []tcpip.SettableTransportProtocolOption{
		&sack, &moderate, &reno, &wait,
		&tcpip.TCPReceiveBufferSizeRangeOption{Min: minBuffer, Default: defaultBuffer, Max: maxReadBuffer},
		&tcpip.TCPSendBufferSizeRangeOption{Min: minBuffer, Default: defaultBuffer, Max: maxSendBuffer},
	} {
		// These options exist in every version that compiles; a refusal would
		// cost speed and nothing else.
		_ = s.SetTransportProtocolOption(tcp.ProtocolNumber, o)
	}
	return s
}

const nic tcpip.NICID = 1

// netstack is the driver in userspace.
type netstack struct {
	net   *Network
	stack *stack.Stack
	link  link
}

func newNetstack(n *Network) (*netstack, error) {
	s := &netstack{net: n, stack: newStack(n.with6)}
	s.link.net = n
	s.link.mtu.Store(uint32(n.cfg.MTU))
	if err := s.attach(); err != nil {
		s.stack.Destroy()
		return nil, err
	}
	return s, nil
}

// attach gives the stack its interface, addresses and routes.
func (s *netstack) attach() error {
	if err := s.stack.CreateNIC(nic, &s.link); err != nil {
		return fmt.Errorf("create interface: %s", err)
	}
	for _, a := range s.net.cfg.Addresses {
		addr := tcpip.ProtocolAddress{
			Protocol:          familyOf(a).number,
			AddressWithPrefix: tcpip.AddrFromSlice(a.AsSlice()).WithPrefix(),
		}
		if err := s.stack.AddProtocolAddress(nic, addr, stack.AddressProperties{}); err != nil {
			return fmt.Errorf("address %v: %s", a, err)
		}
	}
	s.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}, {Destination: header.IPv6EmptySubnet, NIC: nic}})
	return nil
}

func (s *netstack) packet(p packet) {
	s.inject(p.number, buffer.NewViewWithData(p.whole))
}

func (s *netstack) train(t *train) {
	v := buffer.NewViewSize(t.headers + t.total)
	b := v.AsSlice()
	t.head(b[:t.headers], false)
	b = b[t.headers:]
	for _, p := range t.payloads {
		b = b[copy(b, p):]
	}
	s.inject(t.first.number, v)
}

// inject gives a packet to the stack.
func (s *netstack) inject(protocol tcpip.NetworkProtocolNumber, v *buffer.View) {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(v)})
	if d := s.link.dispatcher.Load(); d != nil {
		(*d).DeliverNetworkPacket(protocol, pkt)
	}
	pkt.DecRef()
}

func (s *netstack) counters(m map[string]uint64) {
	st := s.stack.Stats()
	m["stack-tcp-checksum"] = st.TCP.ChecksumErrors.Value()
	m["stack-tcp-listen-overflow"] = st.TCP.ListenOverflowSynDrop.Value() + st.TCP.ListenOverflowAckDrop.Value()
	m["stack-tcp-retransmits"] = st.TCP.Retransmits.Value()
	m["stack-tcp-established"] = st.TCP.CurrentEstablished.Value()
	m["stack-udp-checksum"] = st.UDP.ChecksumErrors.Value()
	m["stack-udp-buffer-full"] = st.UDP.ReceiveBufferErrors.Value()
}

func (s *netstack) close() error {
	s.stack.Destroy()
	return nil
}

// link is the stack's only interface. It has no queue: what the stack sends
// goes to the terminal's path on the goroutine that sends it, so that a slow
// path slows its sender down and nothing piles up here.
type link struct {
	net        *Network
	mtu        atomic.Uint32
	dispatcher atomic.Pointer[stack.NetworkDispatcher]
}

var (
	_ stack.LinkEndpoint = (*link)(nil)
	_ stack.GSOEndpoint  = (*link)(nil)
)

// The stack makes TCP segments of up to GSOMaxSize bytes, without a checksum;
// they are cut to size here, and go down together.

func (*link) GSOMaxSize() uint32               { return maxSegment }
func (*link) SupportedGSO() stack.SupportedGSO { return stack.HostGSOSupported }

// WritePackets sends what the stack made.
func (l *link) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	sent := 0
	for _, pkt := range list.AsSlice() {
		l.write(pkt)
		sent++
	}
	// A packet without a way is lost, as on any network, and counted; it is no
	// error of the stack.
	return sent, nil
}

func (l *link) write(pkt *stack.PacketBuffer) {
	gso := pkt.GSOOptions
	if gso.Type != stack.GSONone && pkt.Data().Size() > int(gso.MSS) && gso.MSS > 0 {
		if err := segments(pkt.AsSlices(), int(gso.MSS), l.net.transmit); err != nil {
			l.net.count.add(dropEgress, 1)
		}
		return
	}
	view := pkt.ToView()
	defer view.Release()
	b := view.AsSlice()
	if gso.Type != stack.GSONone && gso.NeedsCsum {
		finish(b, int(gso.L3HdrLen))
	}
	alone := bursts.Get().(*burst)
	alone.pkts = append(alone.pkts[:0], b)
	l.net.transmit(alone.pkts)
	alone.pkts = alone.pkts[:0]
	bursts.Put(alone)
}

// Attach is called by the stack, with nil at its end.
func (l *link) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		l.dispatcher.Store(nil)
		return
	}
	l.dispatcher.Store(&d)
}

func (l *link) IsAttached() bool      { return l.dispatcher.Load() != nil }
func (l *link) MTU() uint32           { return l.mtu.Load() }
func (l *link) SetMTU(mtu uint32)     { l.mtu.Store(mtu) }
func (*link) MaxHeaderLength() uint16 { return 0 }
func (*link) Wait()                   {}
func (*link) Close()                  {}

// The rest belongs to links with addresses and headers of their own.

func (*link) LinkAddress() tcpip.LinkAddress               { return "" }
func (*link) SetLinkAddress(tcpip.LinkAddress)             {}
func (*link) Capabilities() stack.LinkEndpointCapabilities { return 0 }
func (*link) ARPHardwareType() header.ARPHardwareType      { return header.ARPHardwareNone }
func (*link) AddHeader(*stack.PacketBuffer)                {}
func (*link) ParseHeader(*stack.PacketBuffer) bool         { return true }
func (*link) SetOnCloseAction(func())                      {}
