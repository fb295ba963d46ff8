package gtpu

import (
	"net/netip"
	"sync"

	"golang.org/x/net/ipv4"

	"github.com/sealedge/sealedge/apn/gtp"
)

// socket is a Conn being served.
type socket struct {
	conn  Conn
	batch *ipv4.PacketConn // nil when conn can't send in batches
	local netip.Addr       // named in Error Indications
	since int64            // when serving began, on the plane's clock
	room  [256]byte        // for an answer to a probe; owner: the goroutine that reads the socket
}

// outgoing holds one datagram. 2 KiB take what usual links carry; a longer
// packet grows its own.
type outgoing struct {
	header [maxHeader]byte
	b      []byte
}

var outgoings = sync.Pool{New: func() any { return &outgoing{b: make([]byte, 0, 2048)} }}

// header writes the header of a G-PDU with n octets into room and returns it.
func (p *Plane) header(room *[maxHeader]byte, f *flow, n int) []byte {
	if p.cfg.SequenceNumbers {
		gtp.PutUserGPDUSequenced(room[:], f.peerTEID, uint16(f.use.sequence.Add(1)-1), n)
		return room[:]
	}
	gtp.PutUserGPDU(room[:], f.peerTEID, n)
	return room[:gtp.UserHeaderLen]
}

// Send puts an inner packet into the tunnel of its destination, an IPv4 address
// or one in a terminal's /64, when the session's maximum bit rate allows: at
// once, or later; ErrRate means that too many wait.
// pkt is the caller's again when Send returns. Any goroutine may call it.
func (p *Plane) Send(pkt []byte) error {
	s := p.socket.Load()
	if s == nil {
		p.count.add(dropNotServing, 1)
		return ErrNotServing
	}
	if !p.cfg.Holds() {
		p.count.add(dropFenced, 1)
		return ErrFenced
	}
	return p.send(s, pkt, p.clock())
}

func (p *Plane) send(s *socket, pkt []byte, now int64) error {
	f, err := p.route(pkt, now)
	if f == nil {
		return err
	}
	if err := p.write(s, f, pkt); err != nil {
		return err
	}
	p.count.add(downlinkPackets, 1)
	p.count.add(downlinkBytes, len(pkt))
	return nil
}

// write sends a packet down f.
func (p *Plane) write(s *socket, f *flow, pkt []byte) error {
	o := outgoings.Get().(*outgoing)
	defer outgoings.Put(o)
	o.b = append(append(o.b[:0], p.header(&o.header, f, len(pkt))...), pkt...)
	if _, err := s.conn.WriteToUDPAddrPort(o.b, f.peer.to); err != nil {
		p.count.add(dropSendFailed, 1)
		return err
	}
	return nil
}

// batchSize is how many datagrams one system call moves at most.
const batchSize = 64

// train is the makings of one batch: a header before each packet, and the two
// gathered by the kernel, so that nothing is copied here.
type train struct {
	headers [batchSize][maxHeader]byte
	parts   [batchSize][2][]byte
	msgs    [batchSize]ipv4.Message
}

var trains = sync.Pool{New: func() any {
	t := new(train)
	for i := range t.msgs {
		t.msgs[i].Buffers = t.parts[i][:]
	}
	return t
}}

// SendBatch is Send for several packets in as few system calls as possible. It
// returns how many went out or wait for their turn, and the first error.
func (p *Plane) SendBatch(pkts [][]byte) (sent int, first error) {
	s := p.socket.Load()
	if s == nil {
		p.count.add(dropNotServing, len(pkts))
		return 0, ErrNotServing
	}
	if !p.cfg.Holds() {
		p.count.add(dropFenced, len(pkts))
		return 0, ErrFenced
	}
	now := p.clock()
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	if s.batch == nil {
		for _, pkt := range pkts {
			if err := p.send(s, pkt, now); err != nil {
				note(err)
				continue
			}
			sent++
		}
		return sent, first
	}
	t := trains.Get().(*train)
	defer trains.Put(t)
	n := 0
	for i, pkt := range pkts {
		f, err := p.route(pkt, now)
		switch {
		case err != nil:
			note(err)
		case f == nil:
			sent++ // later
		default:
			t.parts[n] = [2][]byte{p.header(&t.headers[n], f, len(pkt)), pkt}
			t.msgs[n].Addr = f.peer.udp
			n++
		}
		if n == batchSize || i == len(pkts)-1 {
			m, err := p.flush(s, t.msgs[:n])
			if err != nil {
				note(err)
			}
			sent += m
			n = 0
		}
	}
	return sent, first
}

// SendAll is SendBatch for callers to whom a packet that didn't go is lost anyway.
func (p *Plane) SendAll(pkts [][]byte) error {
	_, err := p.SendBatch(pkts)
	return err
}

// flush writes messages and lets go of the caller's packets. A message that
// the kernel refuses is skipped.
func (p *Plane) flush(s *socket, msgs []ipv4.Message) (sent int, first error) {
	bytes := 0
	for rest := msgs; len(rest) > 0; {
		n, err := s.batch.WriteBatch(rest, 0)
		if n <= 0 && err == nil {
			break
		}
		n = max(n, 0)
		for i := range rest[:n] {
			bytes += len(rest[i].Buffers[1])
		}
		sent += n
		rest = rest[n:]
		if err != nil && len(rest) > 0 {
			if first == nil {
				first = err
			}
			p.count.add(dropSendFailed, 1)
			rest = rest[1:]
		}
	}
	for i := range msgs {
		msgs[i].Buffers[1] = nil
		msgs[i].Addr = nil
	}
	p.count.add(downlinkPackets, sent)
	p.count.add(downlinkBytes, bytes)
	return sent, first
}
