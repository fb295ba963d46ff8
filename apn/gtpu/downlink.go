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
}

// outgoing holds one datagram. 2 KiB take what usual links carry; a longer
// packet grows its own.
type outgoing struct{ b []byte }

var outgoings = sync.Pool{New: func() any { return &outgoing{make([]byte, 0, 2048)} }}

// Send puts an inner IPv4 packet into the tunnel of its destination address.
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
	f, err := p.route(pkt)
	if err != nil {
		return err
	}
	return p.send(s, f, pkt)
}

func (p *Plane) send(s *socket, f *flow, pkt []byte) error {
	o := outgoings.Get().(*outgoing)
	defer outgoings.Put(o)
	o.b = append(o.b[:0], make([]byte, gtp.UserHeaderLen)...)
	gtp.PutUserGPDU(o.b, f.peerTEID, len(pkt))
	o.b = append(o.b, pkt...)
	if _, err := s.conn.WriteToUDPAddrPort(o.b, f.peer.to); err != nil {
		p.count.add(dropSendFailed, 1)
		return err
	}
	p.count.add(downlinkPackets, 1)
	p.count.add(downlinkBytes, len(pkt))
	return nil
}

// batchSize is how many datagrams one system call moves at most.
const batchSize = 64

// train is the makings of one batch: a header before each packet, and the two
// gathered by the kernel, so that nothing is copied here.
type train struct {
	headers [batchSize][gtp.UserHeaderLen]byte
	parts   [batchSize][2][]byte
	msgs    [batchSize]ipv4.Message
}

var trains = sync.Pool{New: func() any {
	t := new(train)
	for i := range t.msgs {
		t.parts[i][0] = t.headers[i][:]
		t.msgs[i].Buffers = t.parts[i][:]
	}
	return t
}}

// SendBatch is Send for several packets in as few system calls as possible. It
// returns how many went out, and the first error.
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
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	if s.batch == nil {
		for _, pkt := range pkts {
			if err := p.Send(pkt); err != nil {
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
		f, err := p.route(pkt)
		if err != nil {
			note(err)
		} else {
			gtp.PutUserGPDU(t.headers[n][:], f.peerTEID, len(pkt))
			t.parts[n][1] = pkt
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
