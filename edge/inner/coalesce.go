package inner

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
)

// Flags of TCP (RFC 9293 3.1).
const (
	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpACK = 0x10
)

// maxTrain is the longest packet that segments are put together to, as much as
// an IPv4 header can say; maxCars bounds how many they are.
const (
	maxTrain = 65535
	maxCars  = 64
)

// maxTrains is how many connections are put together at once. A burst is mostly
// of one.
const maxTrains = 8

// train is segments of one TCP connection that follow each other without a gap
// and are alike but for their payload: they can be handled as the one long
// segment that the sender's stack had cut.
type train struct {
	first    packet
	headers  int      // of first, IP and TCP, in bytes
	size     int      // of first's payload, and of all others' but the last's
	next     uint32   // the sequence number that goes on
	sum      uint16   // of the payloads, once there are two
	total    int      // bytes of payloads
	payloads [][]byte // the first's, too
	last     []byte   // the headers of the last segment
	full     bool     // nothing fits behind
}

// begin makes the train one of a single segment, and tells whether others may
// follow it.
func (t *train) begin(p packet, headers int) bool {
	payload := p.whole[headers:]
	*t = train{
		first: p, headers: headers, size: len(payload), total: len(payload), last: p.whole[:headers],
		next:     binary.BigEndian.Uint32(p.payload[4:]) + uint32(len(payload)),
		payloads: append(t.payloads[:0], payload),
	}
	return p.payload[13] == tcpACK && len(payload) > 0
}

// goesOn tells whether a segment of the same connection can be coupled on.
func (t *train) goesOn(p packet, headers int) bool {
	a, b := t.first, p
	n := len(p.whole) - headers
	if t.full || headers != t.headers || n == 0 || n > t.size || t.headers+t.total+n > maxTrain || len(t.payloads) == maxCars {
		return false
	}
	if !alike(a.whole, b.whole) {
		return false
	}
	f, g := a.payload, b.payload
	return binary.BigEndian.Uint32(g[4:]) == t.next &&
		bytes.Equal(f[8:13], g[8:13]) && // acknowledgement, header length
		g[13]&^tcpPSH == tcpACK &&
		bytes.Equal(f[20:t.headers-len(a.whole)+len(f)], g[20:headers-len(b.whole)+len(g)]) // options
}

// alike compares what must be equal of two IP headers: all but length,
// identification and checksum (RFC 791), or length (RFC 8200).
func alike(a, b []byte) bool {
	if a[0]>>4 == 4 {
		return bytes.Equal(a[:2], b[:2]) && bytes.Equal(a[6:10], b[6:10])
	}
	return bytes.Equal(a[:4], b[:4]) && bytes.Equal(a[6:8], b[6:8])
}

// couple adds a segment that goes on, unless its checksum, or the first's, is
// wrong.
func (t *train) couple(p packet, headers int) bool {
	if len(t.payloads) == 1 {
		sum := checksum.Checksum(t.payloads[0], 0)
		if !tcpSumRight(t.first, t.headers, sum) {
			return false
		}
		t.sum = sum
	}
	payload := p.whole[headers:]
	sum := checksum.Checksum(payload, 0)
	if !tcpSumRight(p, headers, sum) {
		return false
	}
	if t.total%2 != 0 { // the octets are in the other half of their words here
		sum = sum>>8 | sum<<8
	}
	t.sum = checksum.Combine(t.sum, sum)
	t.payloads = append(t.payloads, payload)
	t.total += len(payload)
	t.next += uint32(len(payload))
	t.last = p.whole[:headers]
	t.full = len(payload) < t.size || p.payload[13]&tcpPSH != 0
	return true
}

// tcpSumRight verifies a segment's checksum, given its payload's.
func tcpSumRight(p packet, headers int, payload uint16) bool {
	sum := pseudoSum(p.whole, len(p.payload))
	sum = checksum.Combine(sum, checksum.Checksum(p.payload[:len(p.payload)-(len(p.whole)-headers)], 0))
	return checksum.Combine(sum, payload) == 0xffff
}

// pseudoSum is the sum of the pseudo header of a TCP segment of length bytes
// (RFC 9293 3.1, RFC 8200 8.1), given its IP header.
func pseudoSum(ip []byte, length int) uint16 {
	addresses := ip[8:40]
	if ip[0]>>4 == 4 {
		addresses = ip[12:20]
	}
	return checksum.Combine(checksum.Checksum(addresses, 0), checksum.Combine(protocolTCP, uint16(length)))
}

// head writes IP and TCP header of the whole train to b, which has t.headers
// bytes. The TCP checksum is that of the pseudo header alone when partial, which
// is what those who finish it want.
func (t *train) head(b []byte, partial bool) {
	copy(b, t.first.whole[:t.headers])
	ip := setLength(b, t.headers+t.total)
	tcp := b[ip:]
	tcp[13] |= t.last[ip+13] & tcpPSH
	copy(tcp[14:16], t.last[ip+14:]) // its window is the newest
	tcp[16], tcp[17] = 0, 0
	sum := pseudoSum(b, len(tcp)+t.total)
	if !partial {
		sum = ^checksum.Combine(checksum.Checksum(tcp, sum), t.sum)
	}
	binary.BigEndian.PutUint16(tcp[16:], sum)
}

// setLength makes an IP header one of a packet of length bytes and returns its
// own length.
func setLength(b []byte, length int) int {
	if b[0]>>4 == 6 {
		binary.BigEndian.PutUint16(b[4:], uint16(length-ipv6HeaderLen))
		return ipv6HeaderLen
	}
	binary.BigEndian.PutUint16(b[2:], uint16(length))
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], ^checksum.Checksum(b[:ipv4HeaderLen], 0))
	return ipv4HeaderLen
}

// yard is where trains are put together. It belongs to one DeliverAll.
type yard struct {
	trains [maxTrains]train
	used   int
}

var yards = sync.Pool{New: func() any { return new(yard) }}

// of finds the train of a segment's connection, by addresses and ports.
func (y *yard) of(p packet) *train {
	for i := range y.trains[:y.used] {
		t := &y.trains[i]
		if t.first.payload != nil && t.first.src == p.src && t.first.dst == p.dst && bytes.Equal(t.first.payload[:4], p.payload[:4]) {
			return t
		}
	}
	return nil
}

// free finds room for another train, nil if there is none.
func (y *yard) free() *train {
	for i := range y.trains[:y.used] {
		if y.trains[i].first.payload == nil {
			return &y.trains[i]
		}
	}
	if y.used == maxTrains {
		return nil
	}
	y.used++
	return &y.trains[y.used-1]
}

// tcpHeaders is the length of a segment's IP and TCP headers, 0 if it is
// malformed.
func tcpHeaders(p packet) int {
	n := int(p.payload[12]>>4) * 4
	if n < tcpHeaderLen || n > len(p.payload) {
		return 0
	}
	return len(p.whole) - len(p.payload) + n
}

// DeliverAll takes packets as Deliver does, and costs less for each of them when
// they come many at a time: TCP segments that go on from each other are handled
// as one. Packets of one connection stay in order.
func (n *Network) DeliverAll(pkts [][]byte) {
	if len(pkts) == 1 {
		n.Deliver(pkts[0])
		return
	}
	y := yards.Get().(*yard)
	for _, pkt := range pkts {
		n.sort(y, pkt)
	}
	for i := range y.trains[:y.used] {
		n.depart(&y.trains[i])
	}
	y.used = 0
	yards.Put(y)
}

// sort puts an admitted packet on a train, or delivers it.
func (n *Network) sort(y *yard, pkt []byte) {
	defer n.caught(pkt)
	p, ok := n.admitted(pkt)
	if !ok {
		return
	}
	if p.protocol != protocolTCP {
		n.driver.packet(p)
		return
	}
	headers := tcpHeaders(p)
	if headers == 0 {
		n.driver.packet(p) // which says so
		return
	}
	t := y.of(p)
	if t != nil {
		if t.goesOn(p, headers) && t.couple(p, headers) {
			return
		}
		n.depart(t)
	} else if t = y.free(); t == nil {
		t = &y.trains[0]
		n.depart(t)
	}
	if !t.begin(p, headers) {
		n.depart(t)
	}
}

// depart delivers a train and leaves its place free.
func (n *Network) depart(t *train) {
	if t.first.payload == nil {
		return
	}
	defer n.caught(t.first.whole)
	if len(t.payloads) == 1 {
		n.driver.packet(t.first)
	} else {
		n.driver.train(t)
	}
	clear(t.payloads) // of the caller
	t.first, t.last = packet{}, nil
}

// caught goes on after a packet that broke its handling. It is to be deferred.
func (n *Network) caught(pkt []byte) {
	if r := recover(); r != nil {
		n.count.add(dropPanic, 1)
		n.log.Error("inner network: a packet broke its handling; please report it with these bytes",
			"panic", r, "bytes", hex.EncodeToString(pkt[:min(len(pkt), 256)]))
	}
}
