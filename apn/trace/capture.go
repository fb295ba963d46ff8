package trace

import (
	"fmt"
	"io"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// capture writes messages as pcapng. The socket gives datagrams only, so that
// the headers around them are made up: those that IP and UDP must have had.
type capture struct {
	out     *counted
	ng      *pcapgo.NgWriter
	most    int64
	packets uint64
}

// counted counts what goes through it.
type counted struct {
	w io.Writer
	n int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

func newCapture(w io.Writer, most int64) (*capture, error) {
	c := &capture{out: &counted{w: w}, most: most}
	var err error
	c.ng, err = pcapgo.NewNgWriterInterface(c.out, pcapgo.NgInterface{
		Name: "gtp-c", LinkType: layers.LinkTypeRaw, SnapLength: 0,
		Comment: "GTP-C of one subscriber; the IP and UDP headers are made up from the socket's addresses",
	}, pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "sealedge"}})
	if err != nil {
		return nil, err
	}
	return c, c.ng.Flush()
}

// write writes one message. full: there is no room for it, nor for any after.
func (c *capture) write(e Event, lost uint64) (full bool, err error) {
	packet, err := encapsulate(e)
	if err != nil {
		return false, err
	}
	comments := []string{e.Comment}
	if e.Comment == "" {
		comments = nil
	}
	if lost > 0 {
		comments = append(comments, fmt.Sprintf("%d messages before this one are missing: the reader was too slow", lost))
	}
	size := int64(len(packet)) + blockOverhead
	for _, s := range comments {
		size += int64(len(s)) + 8
	}
	if c.out.n+size > c.most {
		return true, nil
	}
	ci := gopacket.CaptureInfo{Timestamp: e.Time, CaptureLength: len(packet), Length: len(packet)}
	if err := c.ng.WritePacketWithOptions(ci, packet, pcapgo.NgPacketOptions{Comments: comments}); err != nil {
		return false, err
	}
	c.packets++
	return false, c.ng.Flush()
}

// blockOverhead is what an Enhanced Packet Block takes around its packet and
// comments, at most, in octets.
const blockOverhead = 48

func (c *capture) summary(end End, lost uint64) Summary {
	return Summary{Packets: c.packets, Bytes: c.out.n, Lost: lost, End: end}
}

// encapsulate puts a datagram into the packet that carried it.
func encapsulate(e Event) ([]byte, error) {
	from, to := e.Peer, e.Local
	if e.Sent {
		from, to = to, from
	}
	udp := &layers.UDP{SrcPort: layers.UDPPort(from.Port()), DstPort: layers.UDPPort(to.Port())}
	ip, err := header(from.Addr().Unmap(), to.Addr().Unmap(), udp)
	if err != nil {
		return nil, err
	}
	b := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(b, options, ip, udp, gopacket.Payload(e.Datagram)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func header(from, to netip.Addr, udp *layers.UDP) (gopacket.SerializableLayer, error) {
	const ttl = 64
	if from.Is4() && to.Is4() {
		ip := &layers.IPv4{Version: 4, TTL: ttl, Protocol: layers.IPProtocolUDP, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		return ip, udp.SetNetworkLayerForChecksum(ip)
	}
	ip := &layers.IPv6{Version: 6, HopLimit: ttl, NextHeader: layers.IPProtocolUDP, SrcIP: six(from), DstIP: six(to)}
	return ip, udp.SetNetworkLayerForChecksum(ip)
}

func six(a netip.Addr) []byte {
	b := a.As16()
	return b[:]
}
