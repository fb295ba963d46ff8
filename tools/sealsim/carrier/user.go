package carrier

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	v1ie "github.com/wmnsk/go-gtp/gtpv1/ie"
	v1 "github.com/wmnsk/go-gtp/gtpv1/message"
	"golang.org/x/net/ipv4"
)

// ErrTooBig is returned for an inner packet that no G-PDU can carry.
var ErrTooBig = errors.New("packet too big for a G-PDU")

// maxPacket is the longest inner packet: a UDP datagram less the header.
const maxPacket = 65507 - userHeader

// batchSize is how many datagrams one system call carries.
const batchSize = 32

// batchWriter sends many datagrams with one system call.
type batchWriter interface {
	WriteBatch(ms []ipv4.Message, flags int) (int, error)
}

func newBatchWriter(conn Conn) batchWriter {
	if udp, ok := conn.(*net.UDPConn); ok {
		return ipv4.NewPacketConn(udp)
	}
	return nil
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

// Send puts an inner packet into the tunnel. A datagram that the network
// doesn't take is lost without an error, as on the air.
func (b *Bearer) Send(packet []byte) error {
	if len(packet) > maxPacket {
		return ErrTooBig
	}
	select {
	case <-b.done:
		return b.err
	default:
	}
	p := b.path.Load()
	c := p.carrier
	if c.cut.Load() {
		return nil
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	*buf = append((*buf)[:0], make([]byte, userHeader)...)
	putUserHeader(*buf, p.user.teid, len(packet))
	*buf = append(*buf, packet...)
	if _, err := c.user.WriteToUDPAddrPort(*buf, netip.AddrPortFrom(p.user.addr, UserPort)); err != nil {
		if c.isClosed() {
			return ErrClosed
		}
		return nil
	}
	c.stats.up.Add(1)
	c.stats.upBytes.Add(uint64(len(packet)))
	return nil
}

// Batch sends many packets of one bearer with few system calls. It belongs to
// one goroutine, and to the user plane where the bearer was when it was made.
type Batch struct {
	bearer   *Bearer
	messages []ipv4.Message
}

// NewBatch prepares buffers for SendAll.
func (b *Bearer) NewBatch() *Batch {
	batch := &Batch{bearer: b, messages: make([]ipv4.Message, batchSize)}
	to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(b.path.Load().user.addr, UserPort))
	for i := range batch.messages {
		batch.messages[i] = ipv4.Message{Buffers: [][]byte{make([]byte, userHeader), nil}, Addr: to}
	}
	return batch
}

// SendAll sends the packets in order and returns how many the kernel took.
func (s *Batch) SendAll(packets [][]byte) (int, error) {
	b := s.bearer
	path := b.path.Load()
	c := path.carrier
	if c.batch == nil {
		for i, packet := range packets {
			if err := b.Send(packet); err != nil {
				return i, err
			}
		}
		return len(packets), nil
	}
	sent := 0
	for sent < len(packets) {
		if err := b.Err(); err != nil {
			return sent, err
		}
		if c.cut.Load() {
			return sent, nil
		}
		some := packets[sent:min(len(packets), sent+batchSize)]
		size := 0
		for i, packet := range some {
			if len(packet) > maxPacket {
				return sent, ErrTooBig
			}
			putUserHeader(s.messages[i].Buffers[0], path.user.teid, len(packet))
			s.messages[i].Buffers[1] = packet
			size += len(packet)
		}
		n, err := c.batch.WriteBatch(s.messages[:len(some)], 0)
		if n > 0 {
			sent += n
			c.stats.up.Add(uint64(n))
			c.stats.upBytes.Add(uint64(size))
		}
		if err != nil {
			return sent, fmt.Errorf("user plane: %w", err)
		}
	}
	return sent, nil
}

// serveUser reads the user-plane socket until it is closed, many datagrams at
// a time where the socket can.
func (c *Carrier) serveUser() {
	udp, ok := c.user.(*net.UDPConn)
	if !ok {
		buf := make([]byte, 65535)
		for {
			n, from, err := c.user.ReadFromUDPAddrPort(buf)
			if c.isClosed() {
				return
			}
			if err == nil {
				c.receive(buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
			}
		}
	}
	conn := ipv4.NewPacketConn(udp)
	messages := make([]ipv4.Message, batchSize)
	for i := range messages {
		messages[i].Buffers = [][]byte{make([]byte, 65535)}
	}
	for {
		n, err := conn.ReadBatch(messages, 0)
		if c.isClosed() {
			return
		}
		if err != nil {
			continue
		}
		for i := range messages[:n] {
			if from, ok := messages[i].Addr.(*net.UDPAddr); ok {
				ap := from.AddrPort()
				c.receive(messages[i].Buffers[0][:messages[i].N], netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()))
			}
		}
	}
}

// receive handles one datagram of the user plane.
func (c *Carrier) receive(b []byte, from netip.AddrPort) {
	if c.cut.Load() {
		return
	}
	msg, err := parseUser(b)
	if err != nil {
		c.stats.dropped.Add(1)
		return
	}
	switch msg.kind {
	case userPacket:
		bearer := c.bearerByUser(msg.teid)
		if bearer == nil {
			c.stats.dropped.Add(1)
			c.indicateError(msg.teid, from.Addr())
			return
		}
		if bearer.deliver(msg.payload) {
			c.stats.down.Add(1)
			c.stats.downBytes.Add(uint64(len(msg.payload)))
		} else {
			c.stats.dropped.Add(1)
		}
	case userEchoRequest:
		// The restart counter in GTP-U is always zero (TS 29.281 7.2.2).
		// The answer goes to where the request came from (4.4.2.2).
		if wire, err := v1.NewEchoResponse(msg.sequence, v1ie.NewRecovery(0)).Marshal(); err == nil {
			_, _ = c.user.WriteToUDPAddrPort(wire, from)
		}
	case userErrorIndication:
		c.errorIndication(b, from.Addr())
	case userEchoResponse, userEndMarker:
	default:
		c.stats.dropped.Add(1)
	}
}

// errorIndication ends the bearer whose tunnel the gateway no longer knows
// (TS 29.281 7.3.1). Only the gateway of that tunnel is believed.
func (c *Carrier) errorIndication(b []byte, from netip.Addr) {
	defer func() {
		if recover() != nil {
			c.stats.dropped.Add(1)
		}
	}()
	msg, err := v1.ParseErrorIndication(append([]byte(nil), b...))
	if err != nil || msg.TEIDDataI == nil {
		c.stats.dropped.Add(1)
		return
	}
	teid, err := msg.TEIDDataI.TEID()
	if err != nil {
		c.stats.dropped.Add(1)
		return
	}
	if bearer := c.bearerByRemote(remote{addr: from, teid: teid}); bearer != nil {
		bearer.end(ErrErrorIndication)
		return
	}
	c.stats.dropped.Add(1)
}

// indicateError says that there is no tunnel of this TEID here (TS 29.281
// 7.3.1).
func (c *Carrier) indicateError(teid uint32, to netip.Addr) {
	msg := v1.NewErrorIndication(0, 0, v1ie.NewTEIDDataI(teid), v1ie.NewGSNAddressByIP(c.cfg.Address.AsSlice()))
	if wire, err := msg.Marshal(); err == nil && !c.cut.Load() {
		_, _ = c.user.WriteToUDPAddrPort(wire, netip.AddrPortFrom(to, UserPort))
	}
}

// IndicateError tells the gateway that the tunnel isn't known here, as a node
// does that lost it. The bearer stays as it is.
func (b *Bearer) IndicateError() {
	p := b.path.Load()
	p.carrier.indicateError(b.newest().user, p.user.addr)
}
