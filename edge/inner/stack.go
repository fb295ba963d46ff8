package inner

import (
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// Buffers of a TCP connection in bytes. They grow as needed from the default;
// the greatest lets one phone fill 80 Mbit/s at 100 ms.
const (
	minBuffer     = 4 << 10
	defaultBuffer = 128 << 10
	maxBuffer     = 1 << 20
)

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
		&tcpip.TCPReceiveBufferSizeRangeOption{Min: minBuffer, Default: defaultBuffer, Max: maxBuffer},
		&tcpip.TCPSendBufferSizeRangeOption{Min: minBuffer, Default: defaultBuffer, Max: maxBuffer},
	} {
		// These options exist in every version that compiles; a refusal would
		// cost speed and nothing else.
		_ = s.SetTransportProtocolOption(tcp.ProtocolNumber, o)
	}
	return s
}

// link is the stack's only interface. It has no queue: what the stack sends
// goes to the terminal's path on the goroutine that sends it, so that a slow
// path slows its sender down and nothing piles up here.
type link struct {
	net        *Network
	mtu        atomic.Uint32
	dispatcher atomic.Pointer[stack.NetworkDispatcher]
}

var _ stack.LinkEndpoint = (*link)(nil)

// WritePackets sends what the stack made.
func (l *link) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	sent := 0
	for _, pkt := range list.AsSlice() {
		view := pkt.ToView()
		l.net.transmit(view.AsSlice())
		view.Release()
		sent++
	}
	// A packet without a way is lost, as on any network, and counted; it is no
	// error of the stack.
	return sent, nil
}

// inject gives a packet to the stack, which copies it.
func (l *link) inject(protocol tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) {
	if d := l.dispatcher.Load(); d != nil {
		(*d).DeliverNetworkPacket(protocol, pkt)
	}
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
