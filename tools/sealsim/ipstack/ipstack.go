// Package ipstack is the IP stack of a simulated device (gVisor's netstack), with
// one interface whose packets the device carries itself: into a tunnel, over the
// air, to another stack. It has an IPv4 address, an IPv6 address, or both, and a
// default route of either family.
//
// The stack doesn't know what carries its packets, so the path may be changed
// under it at any time (SetLink): its addresses and its connections stay. Nor
// does it discover neighbours, routers or duplicate addresses: on a tunnel the
// device does what there is to do of that.
package ipstack

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

const nic = 1

// The stack's own ephemeral ports. Those above LastPort are free for a NAT
// that shares the address.
const (
	FirstPort = 16384
	LastPort  = 49151
)

// DefaultMTU is used when nothing else is said, in bytes.
const DefaultMTU = 1400

// queueLength is how many packets wait for the link before the stack drops
// them.
const queueLength = 512

// Stack is a running stack.
type Stack struct {
	stack *stack.Stack
	link  *channel.Endpoint
	send  atomic.Pointer[func([]byte)] // nil: nothing carries packets
	stop  context.CancelFunc
	pump  sync.WaitGroup

	mu                sync.Mutex
	address, address6 netip.Prefix // guarded by mu; the zero Prefix: none
	once              sync.Once
}

// New starts a stack with an IPv4 address; the zero Prefix means that it has
// none yet. mtu 0 means DefaultMTU. Packets go nowhere before SetLink.
func New(address netip.Prefix, mtu int) (*Stack, error) {
	if mtu <= 0 {
		mtu = DefaultMTU
	}
	s := &Stack{
		stack: stack.New(stack.Options{
			NetworkProtocols: []stack.NetworkProtocolFactory{
				ipv4.NewProtocol, ipv6.NewProtocolWithOptions(ipv6.Options{}),
			},
			TransportProtocols: []stack.TransportProtocolFactory{
				tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6,
			},
			HandleLocal: true,
		}),
		link: channel.New(queueLength, uint32(mtu), ""),
	}
	if err := s.configure(address); err != nil {
		s.stack.Destroy()
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.pump.Go(func() { s.outgoing(ctx) })
	return s, nil
}

func (s *Stack) configure(address netip.Prefix) error {
	sack := tcpip.TCPSACKEnabled(true)
	// A handset's connections must go on soon after a path came back: the
	// default lets retransmissions back off to two minutes.
	slowest := tcpip.TCPMaxRTOOption(2 * time.Second)
	for _, option := range []tcpip.SettableTransportProtocolOption{&sack, &slowest} {
		if err := s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return fmt.Errorf("ipstack: TCP options: %s", err)
		}
	}
	if err := s.stack.SetPortRange(FirstPort, LastPort); err != nil {
		return fmt.Errorf("ipstack: ports: %s", err)
	}
	if err := s.stack.CreateNIC(nic, s.link); err != nil {
		return fmt.Errorf("ipstack: interface: %s", err)
	}
	s.stack.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, NIC: nic}, {Destination: header.IPv6EmptySubnet, NIC: nic},
	})
	return s.SetAddress(address)
}

// outgoing takes packets from the stack to the link until the stack closes.
func (s *Stack) outgoing(ctx context.Context) {
	for {
		pkt := s.link.ReadContext(ctx)
		if pkt == nil {
			return
		}
		if send := s.send.Load(); send != nil {
			view := pkt.ToView()
			(*send)(view.AsSlice())
			view.Release()
		}
		pkt.DecRef()
	}
}

// SetLink makes send carry every outgoing packet from now on; nil loses them.
// The slice is send's only during the call, and it may be changed in place.
func (s *Stack) SetLink(send func(packet []byte)) {
	if send == nil {
		s.send.Store(nil)
		return
	}
	s.send.Store(&send)
}

// Deliver hands an incoming IP packet to the stack, which copies it.
func (s *Stack) Deliver(packet []byte) {
	if len(packet) == 0 {
		return
	}
	var protocol tcpip.NetworkProtocolNumber
	switch packet[0] >> 4 {
	case 4:
		protocol = ipv4.ProtocolNumber
	case 6:
		protocol = ipv6.ProtocolNumber
	default:
		return
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(packet)})
	defer pkt.DecRef()
	s.link.InjectInbound(protocol, pkt)
}

// SetMTU changes the largest packet that leaves from now on, in bytes.
func (s *Stack) SetMTU(mtu int) { s.link.SetMTU(uint32(mtu)) }

// Address returns the stack's IPv4 address, the zero Addr if it has none.
func (s *Stack) Address() netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address.Addr()
}

// Address6 returns the stack's IPv6 address, the zero Addr if it has none.
func (s *Stack) Address6() netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address6.Addr()
}

// SetAddress replaces the IPv4 address; the zero Prefix takes it away. The same
// one again changes nothing; connections from another one are lost.
func (s *Stack) SetAddress(address netip.Prefix) error {
	if address.IsValid() && !address.Addr().Is4() {
		return fmt.Errorf("ipstack: %v is no IPv4 address", address)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replace(&s.address, address)
}

// SetAddress6 is SetAddress for the IPv6 address.
func (s *Stack) SetAddress6(address netip.Prefix) error {
	if address.IsValid() && (!address.Addr().Is6() || address.Addr().Is4In6()) {
		return fmt.Errorf("ipstack: %v is no IPv6 address", address)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replace(&s.address6, address)
}

// replace changes an address; the caller holds mu.
func (s *Stack) replace(was *netip.Prefix, address netip.Prefix) error {
	if address == *was {
		return nil
	}
	if was.IsValid() {
		if err := s.stack.RemoveAddress(nic, tcpip.AddrFromSlice(was.Addr().AsSlice())); err != nil {
			return fmt.Errorf("ipstack: removing %v: %s", *was, err)
		}
		*was = netip.Prefix{}
	}
	if !address.IsValid() {
		return nil
	}
	err := s.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{
		Protocol: protocolOf(address.Addr()),
		AddressWithPrefix: tcpip.AddressWithPrefix{
			Address: tcpip.AddrFromSlice(address.Addr().AsSlice()), PrefixLen: address.Bits(),
		},
	}, stack.AddressProperties{})
	if err != nil {
		return fmt.Errorf("ipstack: adding %v: %s", address, err)
	}
	*was = address
	return nil
}

// Close ends the stack and every connection of it.
func (s *Stack) Close() {
	s.once.Do(func() {
		s.stop()
		s.pump.Wait()
		s.stack.Destroy()
	})
}

// failed turns the stack's errors into Go's.
func failed(what string, to netip.AddrPort, err tcpip.Error) error {
	return fmt.Errorf("%s %v: %w", what, to, errors.New(err.String()))
}

func full(at netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFromSlice(at.Addr().AsSlice()), Port: at.Port()}
}

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is6() {
		return ipv6.ProtocolNumber
	}
	return ipv4.ProtocolNumber
}
