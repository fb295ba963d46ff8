package inner

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
)

// tunDriver is the driver by the kernel: a TUN device with the gateway's
// addresses, and sockets that are bound to it. The kernel gets TCP for ports
// that are listened at and UDP for ports that are open; echo requests are
// answered here.
type tunDriver struct {
	net       *Network
	device    device
	socket    func(network, address string, c syscall.RawConn) error // binds a socket to the device
	listening portSet                                                // TCP
	read      sync.WaitGroup
}

// device is a TUN device whose packets have a virtio_net_hdr before them.
type device interface {
	// write gives the kernel one packet that lies in several slices.
	write(parts [][]byte) error
	// Read waits for a packet of the kernel's.
	io.ReadCloser
}

// The virtio_net_hdr (linux/virtio_net.h), in the machine's byte order: flags,
// GSO type, length of headers, size of segments, start and offset of the checksum.
const (
	vnetLen       = 10
	vnetNeedsSum  = 1
	vnetGSONone   = 0
	vnetGSOTCPv4  = 1
	vnetGSOTCPv6  = 4
	tcpSumOffset  = 16
	udpSumOffset  = 6
	maxTUNPacket  = vnetLen + 65535
	addressOffset = 12 // of the source, in an IPv4 header
)

var vnetPlain [vnetLen]byte

// newTUN makes the device and begins to read it.
func newTUN(n *Network) (*tunDriver, error) {
	dev, socket, err := openTUN(n.cfg.Interface, n.cfg.MTU, n.cfg.Addresses, n.log)
	if err != nil {
		return nil, err
	}
	return startTUN(n, dev, socket), nil
}

func startTUN(n *Network, dev device, socket func(string, string, syscall.RawConn) error) *tunDriver {
	d := &tunDriver{net: n, device: dev, socket: socket}
	d.read.Go(d.reads)
	return d
}

func (d *tunDriver) packet(p packet) {
	switch p.protocol {
	case p.icmp:
		d.echo(p)
		return
	case protocolTCP:
		// Nobody else's listener gets what comes out of a tunnel.
		const syn = 0x02
		if p.payload[13]&(syn|tcpACK) == syn && !d.listening.has(binary.BigEndian.Uint16(p.payload[2:])) {
			d.net.count.add(dropTCPPort, 1)
			return
		}
	}
	g := gathers.Get().(*gather)
	g.parts = append(g.parts[:0], vnetPlain[:], p.whole)
	d.write(g)
}

// gather is a packet on its way to the kernel, in several slices.
type gather struct {
	parts [][]byte
	head  [vnetLen + 120]byte
}

var gathers = sync.Pool{New: func() any { return &gather{parts: make([][]byte, 0, maxCars+1)} }}

func (d *tunDriver) write(g *gather) {
	if err := d.device.write(g.parts); err != nil {
		d.net.count.add(dropDevice, 1)
	}
	clear(g.parts)
	gathers.Put(g)
}

func (d *tunDriver) train(t *train) {
	g := gathers.Get().(*gather)
	h, order := &g.head, binary.NativeEndian
	h[0], h[1] = vnetNeedsSum, vnetGSOTCPv4
	if t.first.src.Is6() {
		h[1] = vnetGSOTCPv6
	}
	order.PutUint16(h[2:], uint16(t.headers))
	order.PutUint16(h[4:], uint16(t.size))
	order.PutUint16(h[6:], uint16(len(t.first.whole)-len(t.first.payload)))
	order.PutUint16(h[8:], tcpSumOffset)
	t.head(h[vnetLen:vnetLen+t.headers], true)
	g.parts = append(append(g.parts[:0], h[:vnetLen+t.headers]), t.payloads...)
	d.write(g)
}

// echo answers an echo request (RFC 792, RFC 4443 4.1).
func (d *tunDriver) echo(p packet) {
	sum := checksum.Checksum(p.payload, 0)
	if p.src.Is6() {
		sum = checksum.Combine(sum, checksum.Checksum(p.whole[8:40], checksum.Combine(uint16(len(p.payload)), uint16(p.icmp))))
	}
	if sum != 0xffff {
		d.net.count.add(dropMalformed, 1)
		return
	}
	b := append([]byte(nil), p.whole...)
	ip := len(b) - len(p.payload)
	if p.src.Is6() {
		copy(b[8:24], p.whole[24:40])
		copy(b[24:40], p.whole[8:24])
		b[7] = 64
	} else {
		copy(b[12:16], p.whole[16:20])
		copy(b[16:20], p.whole[12:16])
		b[8] = 64
		setLength(b, len(b))
	}
	icmp := b[ip:]
	icmp[0] = p.echoReply
	// The sum is the same but for the type, which is the high octet of a word.
	was := binary.BigEndian.Uint16(icmp[2:])
	now := ^checksum.Combine(checksum.Combine(^was, ^(uint16(p.echoRequest)<<8)), uint16(p.echoReply)<<8)
	binary.BigEndian.PutUint16(icmp[2:], now)
	d.net.transmit([][]byte{b})
}

// reads takes what the kernel sends to the terminals, until the device is closed.
func (d *tunDriver) reads() {
	b := make([]byte, maxTUNPacket)
	for {
		n, err := d.device.Read(b)
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case err != nil:
			d.net.log.Error("inner network: the TUN device can't be read; no answer reaches a terminal", "error", err)
			return
		}
		d.leave(b[:n])
	}
}

// leave sends a packet of the kernel's on, in segments if it is a long one.
func (d *tunDriver) leave(b []byte) {
	defer d.net.caught(b)
	pkt, gso, ok := readVnet(b)
	if !ok || !d.net.ours(pkt) {
		d.net.count.add(dropEgress, 1)
		return
	}
	if gso == 0 {
		d.net.transmit([][]byte{pkt})
		return
	}
	if err := segments([][]byte{pkt}, gso, d.net.transmit); err != nil {
		d.net.count.add(dropEgress, 1)
	}
}

// ours tells whether a packet comes from an address of the gateway's.
func (n *Network) ours(pkt []byte) bool {
	switch {
	case len(pkt) >= ipv4HeaderLen && pkt[0]>>4 == 4:
		return n.own[netip.AddrFrom4([4]byte(pkt[addressOffset:]))] != nil
	case len(pkt) >= ipv6HeaderLen && pkt[0]>>4 == 6:
		return n.own[netip.AddrFrom16([16]byte(pkt[8:]))] != nil
	}
	return false
}

// readVnet takes a packet out of its virtio_net_hdr and finishes its checksum.
// gso is 0, or the payload of the segments that it is to be cut into.
func readVnet(b []byte) (pkt []byte, gso int, ok bool) {
	if len(b) < vnetLen {
		return nil, 0, false
	}
	order := binary.NativeEndian
	pkt = b[vnetLen:]
	switch b[1] {
	case vnetGSONone:
	case vnetGSOTCPv4, vnetGSOTCPv6:
		gso = int(order.Uint16(b[4:]))
		return pkt, gso, gso > 0
	default:
		return nil, 0, false // none that was asked for
	}
	if b[0]&vnetNeedsSum == 0 {
		return pkt, 0, true
	}
	start, offset := int(order.Uint16(b[6:])), int(order.Uint16(b[8:]))
	if start+offset+2 > len(pkt) {
		return nil, 0, false
	}
	sum := ^checksum.Checksum(pkt[start:], 0) // over that of the pseudo header
	if sum == 0 && offset == udpSumOffset {
		sum = 0xffff // RFC 768: zero says that there is none
	}
	binary.BigEndian.PutUint16(pkt[start+offset:], sum)
	return pkt, 0, true
}

func (d *tunDriver) counters(map[string]uint64) {}

func (d *tunDriver) close() error {
	err := d.device.Close()
	d.read.Wait()
	return err
}

// CheckInterface wants a name that Linux takes for a TUN device.
func CheckInterface(name string) error {
	if name == "" || len(name) > 15 || name == "." || name == ".." {
		return fmt.Errorf("%q is no name of an interface; want one of 1 to 15 characters", name)
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c == '/' || c == ':' || c == '%' || c > '~' {
			return fmt.Errorf("%q is no name of an interface; want one without spaces and any of / : %%", name)
		}
	}
	return nil
}

// elsewhere finds out whether an address is on another interface already: the
// kernel would take it for both.
func elsewhere(addresses []netip.Addr) error {
	all, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range all {
		on, err := i.Addrs()
		if err != nil {
			continue // gone meanwhile
		}
		for _, a := range on {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			at, _ := netip.AddrFromSlice(n.IP)
			for _, own := range addresses {
				if at.Unmap() == own {
					return fmt.Errorf("%s is on interface %s already; remove it there, or stop the other gateway: with driver %s one node has the inner addresses on a machine", own, i.Name, TUN)
				}
			}
		}
	}
	return nil
}
