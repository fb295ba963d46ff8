package wireguard

import (
	"cmp"
	"encoding/hex"
	"net/netip"
)

const ipv4HeaderLen = 20

// uplink takes packets of one peer that the device of k has decrypted and whose source
// is the peer's own address. Each begins at offset in its buffer; bufs may be changed.
// Calls for one peer and key come one after the other.
func (e *Endpoint) uplink(k *serverKey, bufs [][]byte, offset int) {
	first := bufs[0][offset:]
	defer func() {
		if r := recover(); r != nil {
			e.count.add(dropPanic, 1)
			e.log.Error("wireguard: a packet broke its handling; please report it with these bytes",
				"panic", r, "bytes", hex.EncodeToString(first[:min(len(first), 256)]))
		}
	}()
	var p *peer
	var from netip.AddrPort
	n, bytes := 0, 0
	for _, buf := range bufs {
		pkt := buf[offset:]
		if len(pkt) < ipv4HeaderLen || pkt[0]>>4 != 4 {
			e.count.add(dropUplinkMalformed, 1)
			continue
		}
		if p == nil {
			p = e.peerAt(source(pkt))
		}
		if p == nil || source(pkt) != p.addr { // removed or moved while the packet was being decrypted
			e.count.add(dropUplinkNoPeer, 1)
			continue
		}
		if e.answers(k, p, pkt) {
			continue
		}
		from = stamped(buf, k.bind.room)
		bufs[n], n, bytes = pkt, n+1, bytes+len(pkt)
	}
	if p == nil {
		return
	}
	if p.via.Load() != k {
		p.via.Store(k)
	}
	now := e.clock()
	p.lastHeard.Store(now)
	if n == 0 {
		return
	}
	e.count.add(uplinkPackets, n)
	e.count.add(uplinkBytes, bytes)
	if e.comes(p, from, now) && e.cfg.OnAuthenticated != nil {
		e.count.add(reports, 1)
		e.cfg.OnAuthenticated(p.key, from)
	}
	e.cfg.Uplink(bufs[:n])
}

// answers tells whether a packet was a probe, which it answers by the same key.
func (e *Endpoint) answers(k *serverKey, p *peer, pkt []byte) bool {
	if e.cfg.Answer == nil {
		return false
	}
	a := packets.Get().(*packet)
	b := e.cfg.Answer(a.b[:0], pkt, p.key)
	if b == nil {
		packets.Put(a)
		return false
	}
	a.b, a.again = b, false
	e.count.add(probes, 1)
	if o := k.tun.send(a); o.dropped > 0 {
		e.count.add(dropQueueFull, o.dropped)
	}
	return true
}

// comes notes data from a peer and tells whether it is worth a report.
func (e *Endpoint) comes(p *peer, from netip.AddrPort, now int64) bool {
	silence := int64(e.cfg.Silence)
	was := p.lastData.Swap(now)
	reported := p.reported.Load()
	moved := reported == nil || *reported != from
	if was != 0 && now-was < silence && (p.active.Load() && !moved || now-p.lastReport.Load() < silence) {
		return false
	}
	p.lastReport.Store(now)
	if moved {
		at := from // which is allocated here, and not by each call
		p.reported.Store(&at)
	}
	return true
}

// Send queues an inner IPv4 packet for the peer with its destination address.
// pkt is the caller's again when Send returns. Any goroutine may call it.
func (e *Endpoint) Send(pkt []byte) error {
	one := [1][]byte{pkt}
	return e.SendAll(one[:])
}

// SendAll queues packets as Send does each of them, at less cost. Packets that can't
// be queued keep none of the others back; the error is the first one's.
func (e *Endpoint) SendAll(pkts [][]byte) (err error) {
	keys := *e.keys.Load()
	switch {
	case !e.listening.Load():
		e.count.add(dropNotListening, len(pkts))
		return ErrNotListening
	case len(keys) == 0:
		e.count.add(dropNoKey, len(pkts))
		return ErrNoKey
	}
	var ready [maxKeys]struct {
		pkts [burst]*packet
		n    int
	}
	flush := func(i int) {
		o := keys[i].tun.send(ready[i].pkts[:ready[i].n]...)
		ready[i].n = 0
		e.count.add(downlinkPackets, o.queued)
		e.count.add(downlinkBytes, o.bytes)
		if o.dropped > 0 {
			e.count.add(dropQueueFull, o.dropped)
			err = cmp.Or(err, ErrQueueFull)
		}
	}
	for _, pkt := range pkts {
		if len(pkt) < ipv4HeaderLen || len(pkt) > e.cfg.MTU || pkt[0]>>4 != 4 {
			e.count.add(dropMalformed, 1)
			err = cmp.Or(err, ErrPacket)
			continue
		}
		p := e.peerAt(destination(pkt))
		if p == nil {
			e.count.add(dropNoPeer, 1)
			err = cmp.Or(err, ErrNoPeer)
			continue
		}
		// A peer knows one of the gateway's keys. As long as it hasn't shown which,
		// both devices try; it can read one of them.
		via := p.via.Load()
		again := false
		for i, k := range keys {
			if via != nil && via != k {
				continue
			}
			r := &ready[i]
			r.pkts[r.n] = copied(pkt)
			r.pkts[r.n].again, again = again, true
			if r.n++; r.n == burst {
				flush(i)
			}
		}
	}
	for i := range keys {
		if ready[i].n > 0 {
			flush(i)
		}
	}
	return err
}
