package ipstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Keep-alives tell soon that the peer lost a connection: the gateway's inner
// address may move to another node, whose stack answers them with a reset.
const (
	keepaliveIdle     = time.Second
	keepaliveInterval = time.Second
	keepaliveCount    = 30
)

// DialTCP connects to a TCP port.
func (s *Stack) DialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	var queue waiter.Queue
	ep, tcpErr := s.stack.NewEndpoint(tcp.ProtocolNumber, protocolOf(to.Addr()), &queue)
	if tcpErr != nil {
		return nil, failed("dialling TCP", to, tcpErr)
	}
	idle, interval := tcpip.KeepaliveIdleOption(keepaliveIdle), tcpip.KeepaliveIntervalOption(keepaliveInterval)
	ep.SocketOptions().SetKeepAlive(true)
	_ = ep.SetSockOpt(&idle)
	_ = ep.SetSockOpt(&interval)
	_ = ep.SetSockOptInt(tcpip.KeepaliveCountOption, keepaliveCount)

	entry, writable := waiter.NewChannelEntry(waiter.WritableEvents)
	queue.EventRegister(&entry)
	defer queue.EventUnregister(&entry)
	tcpErr = ep.Connect(full(to))
	if _, started := tcpErr.(*tcpip.ErrConnectStarted); started {
		select {
		case <-writable:
			tcpErr = ep.LastError()
		case <-ctx.Done():
			ep.Close()
			return nil, fmt.Errorf("dialling TCP %v: %w", to, context.Cause(ctx))
		}
	}
	if tcpErr != nil {
		ep.Close()
		return nil, failed("dialling TCP", to, tcpErr)
	}
	return gonet.NewTCPConn(&queue, ep), nil
}

// DialContext has the form that net/http wants. The address must be a numeric
// one, the network "tcp", or of its family.
func (s *Stack) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("dialling %s: %w", address, err)
	}
	switch {
	case network == "tcp", network == "tcp4" && to.Addr().Is4(), network == "tcp6" && to.Addr().Is6():
		return s.DialTCP(ctx, to)
	}
	return nil, net.UnknownNetworkError(network)
}

// ListenTCP opens a TCP port on the addresses of both families.
func (s *Stack) ListenTCP(port uint16) (net.Listener, error) {
	return gonet.ListenTCP(s.stack, tcpip.FullAddress{NIC: nic, Port: port}, ipv6.ProtocolNumber)
}

// DialUDP opens a socket with an ephemeral port that hears and speaks to one
// peer only.
func (s *Stack) DialUDP(to netip.AddrPort) (net.Conn, error) {
	remote := full(to)
	return gonet.DialUDP(s.stack, nil, &remote, protocolOf(to.Addr()))
}

// ListenUDP opens a UDP port on the addresses of both families; 0 takes an
// ephemeral one.
func (s *Stack) ListenUDP(port uint16) (net.PacketConn, error) {
	return gonet.DialUDP(s.stack, &tcpip.FullAddress{NIC: nic, Port: port}, nil, ipv6.ProtocolNumber)
}

// pingEvery is how often Ping repeats its echo request.
const pingEvery = 200 * time.Millisecond

// Ping sends ICMP echo requests, of the address's family, until the first
// answer, and returns how long it took from the first request.
func (s *Stack) Ping(ctx context.Context, to netip.Addr) (time.Duration, error) {
	var queue waiter.Queue
	protocol := icmp.ProtocolNumber4
	if to.Is6() {
		protocol = icmp.ProtocolNumber6
	}
	ep, tcpErr := s.stack.NewEndpoint(protocol, protocolOf(to), &queue)
	if tcpErr != nil {
		return 0, failed("ping", netip.AddrPortFrom(to, 0), tcpErr)
	}
	defer ep.Close()
	if tcpErr := ep.Connect(full(netip.AddrPortFrom(to, 0))); tcpErr != nil {
		return 0, failed("ping", netip.AddrPortFrom(to, 0), tcpErr)
	}
	entry, readable := waiter.NewChannelEntry(waiter.ReadableEvents)
	queue.EventRegister(&entry)
	defer queue.EventUnregister(&entry)
	began := time.Now()
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	for sequence := uint16(1); ; sequence++ {
		// Type, sequence and the rest stand alike in both families. The stack
		// fills the identifier and the checksum in. A path that is down loses
		// the request, and the next one may get through.
		echo := header.ICMPv4(make([]byte, header.ICMPv4MinimumSize))
		echo.SetType(header.ICMPv4Echo)
		if to.Is6() {
			echo.SetType(header.ICMPv4Type(header.ICMPv6EchoRequest))
		}
		echo.SetSequence(sequence)
		_, _ = ep.Write(bytes.NewReader(echo), tcpip.WriteOptions{})
		select {
		case <-readable:
			var answer bytes.Buffer
			if _, tcpErr := ep.Read(&answer, tcpip.ReadOptions{}); tcpErr == nil {
				return time.Since(began), nil
			}
		case <-ticker.C:
		case <-ctx.Done():
			return 0, fmt.Errorf("ping %v: %w", to, errors.Join(errNoEcho, context.Cause(ctx)))
		}
	}
}

var errNoEcho = errors.New("no answer")
