package inner

import (
	"encoding/binary"
	"errors"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
)

// burst is packets for one terminal that are sent at once.
type burst struct {
	pkts [][]byte
	mem  []byte // what they are in
}

// burstLen is how many packets a burst has at most.
const burstLen = 64

var bursts = sync.Pool{New: func() any { return &burst{mem: make([]byte, 0, 1<<16), pkts: make([][]byte, 0, burstLen)} }}

var errSegment = errors.New("inner network: what is to be cut is no TCP segment")

// segments cuts a long TCP segment into ones of mss bytes of payload each (the
// last may have less), and gives them to send, up to burstLen at a time. parts
// are the packet's bytes in turn; what is in there of length and checksums is
// set anew. send doesn't keep the slices.
func segments(parts [][]byte, mss int, send func(pkts [][]byte)) error {
	total := 0
	for _, p := range parts {
		total += len(p)
	}
	c := cursor{parts: parts}
	var head [120]byte // IP and TCP headers are 100 at most
	if total < ipv4HeaderLen+tcpHeaderLen || mss <= 0 {
		return errSegment
	}
	c.read(head[:ipv4HeaderLen+tcpHeaderLen])
	ip := ipv4HeaderLen
	if head[0]>>4 == 6 {
		if total < ipv6HeaderLen+tcpHeaderLen {
			return errSegment
		}
		c.read(head[ipv4HeaderLen+tcpHeaderLen : ipv6HeaderLen+tcpHeaderLen])
		ip = ipv6HeaderLen
	} else if head[0] != 0x45 {
		return errSegment
	}
	headers := ip + int(head[ip+12]>>4)*4
	if headers < ip+tcpHeaderLen || headers > total {
		return errSegment
	}
	c.read(head[ip+tcpHeaderLen : headers])

	b := bursts.Get().(*burst)
	defer bursts.Put(b)
	seq, id, flags := binary.BigEndian.Uint32(head[ip+4:]), binary.BigEndian.Uint16(head[4:]), head[ip+13]
	for at, rest := 0, total-headers; ; {
		n := min(mss, rest)
		rest -= n
		if cap(b.mem)-len(b.mem) < headers+n || len(b.pkts) == burstLen {
			b.flush(send)
		}
		if cap(b.mem) < headers+n {
			b.mem = make([]byte, 0, headers+n)
		}
		pkt := b.mem[len(b.mem) : len(b.mem)+headers+n]
		b.mem = b.mem[:len(b.mem)+headers+n]
		copy(pkt, head[:headers])
		c.read(pkt[headers:])
		if ip == ipv4HeaderLen {
			binary.BigEndian.PutUint16(pkt[4:], id)
			id++
		}
		setLength(pkt, len(pkt))
		tcp := pkt[ip:]
		binary.BigEndian.PutUint32(tcp[4:], seq+uint32(at))
		at += n
		if tcp[13] = flags; rest > 0 {
			tcp[13] &^= tcpFIN | tcpPSH
		}
		finish(pkt, ip)
		b.pkts = append(b.pkts, pkt)
		if rest == 0 {
			break
		}
	}
	b.flush(send)
	return nil
}

func (b *burst) flush(send func(pkts [][]byte)) {
	if len(b.pkts) > 0 {
		send(b.pkts)
	}
	b.pkts, b.mem = b.pkts[:0], b.mem[:0]
}

// finish sets the TCP checksum of a packet whose IP header is ip bytes long.
func finish(pkt []byte, ip int) {
	tcp := pkt[ip:]
	tcp[16], tcp[17] = 0, 0
	binary.BigEndian.PutUint16(tcp[16:], ^checksum.Checksum(tcp, pseudoSum(pkt, len(tcp))))
}

// cursor reads slices in turn.
type cursor struct{ parts [][]byte }

// read fills b as far as there is something and returns how far.
func (c *cursor) read(b []byte) (n int) {
	for n < len(b) && len(c.parts) > 0 {
		m := copy(b[n:], c.parts[0])
		n += m
		if c.parts[0] = c.parts[0][m:]; len(c.parts[0]) == 0 {
			c.parts = c.parts[1:]
		}
	}
	return n
}
