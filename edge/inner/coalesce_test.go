package inner

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
)

// recorder is a driver that keeps what it was given, and has its checksums looked
// at.
type recorder struct {
	pkts   [][]byte
	trains int
	longs  int // segments in them
}

func (r *recorder) packet(p packet) { r.pkts = append(r.pkts, bytes.Clone(p.whole)) }

func (r *recorder) train(t *train) {
	r.trains++
	r.longs += len(t.payloads)
	b := make([]byte, t.headers)
	t.head(b, false)
	r.pkts = append(r.pkts, append(b, bytes.Join(t.payloads, nil)...))
}

func (*recorder) listenTCP(uint16) (net.Listener, error)   { return nil, net.ErrClosed }
func (*recorder) listenUDP(uint16) (net.PacketConn, error) { return nil, net.ErrClosed }
func (*recorder) counters(map[string]uint64)               {}
func (*recorder) close() error                             { return nil }

// recording is a network whose stack is a recorder, with ports 443 and 5684 open.
func recording(t testing.TB) (*Network, *recorder) {
	n, err := New(Config{Addresses: []netip.Addr{ours4, ours6}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	n.driver.close()
	r := new(recorder)
	n.driver = r
	n.tcpPorts.add(443)
	n.udpPorts.add(5684)
	n.SetRoute(netip.PrefixFrom(theirs4, 32), new(sent))
	n.SetRoute(netip.PrefixFrom(theirs6, 64), new(sent))
	return n, r
}

// segment is a TCP segment with a right checksum. edit gets IP and TCP header
// before that is made.
func segment(from, to netip.Addr, port uint16, seq uint32, flags byte, payload []byte, edit func(ip, tcp []byte)) []byte {
	tcp := make([]byte, 32)
	binary.BigEndian.PutUint16(tcp, port)
	binary.BigEndian.PutUint16(tcp[2:], 443)
	binary.BigEndian.PutUint32(tcp[4:], seq)
	binary.BigEndian.PutUint32(tcp[8:], 77)
	tcp[12], tcp[13], tcp[15] = 0x80, flags, 99
	copy(tcp[20:], []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}) // timestamps
	b := raw(from, to, protocolTCP, append(tcp, payload...)...)
	ip := len(b) - len(tcp) - len(payload)
	if edit != nil {
		edit(b[:ip], b[ip:])
		setLength(b, len(b))
	}
	finish(b, ip)
	return b
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 31 >> 3)
	}
	return b
}

var families = map[string][2]netip.Addr{"IPv4": {theirs4, ours4}, "IPv6": {theirs6, ours6}}

// A long segment that is cut and put together again is the same, octet for octet
// but for IPv4's identification, and what it was cut into are segments with right
// checksums.
func TestCutAndCouple(t *testing.T) {
	for name, a := range families {
		for _, c := range []struct{ payload, mss, segments int }{
			{40_000, 1348, 30}, {40_000, 1347, 30}, {40_000, 1000, 40}, {2, 1, 2}, {64_000, 1000, 64}, {61_001, 1001, 61},
		} {
			t.Run(fmt.Sprintf("%s %d by %d", name, c.payload, c.mss), func(t *testing.T) {
				n, r := recording(t)
				long := segment(a[0], a[1], 5000, 0xffffff00, tcpACK|tcpPSH, pattern(c.payload), nil)
				var cut [][]byte
				if err := segments([][]byte{long[:33], long[33:50], long[50:]}, c.mss, func(pkts [][]byte) {
					for _, p := range pkts {
						cut = append(cut, bytes.Clone(p))
					}
				}); err != nil {
					t.Fatal(err)
				}
				if len(cut) != c.segments {
					t.Fatalf("%d segments, want %d", len(cut), c.segments)
				}
				for i, b := range cut {
					p, reason := parse(b)
					if reason != 0 {
						t.Fatalf("segment %d is dropped: %s", i, counterNames[reason])
					}
					h := tcpHeaders(p)
					if h == 0 || !tcpSumRight(p, h, checksum.Checksum(b[h:], 0)) {
						t.Fatalf("segment %d has a wrong checksum", i)
					}
					if psh := p.payload[13]&tcpPSH != 0; psh != (i == len(cut)-1) {
						t.Errorf("segment %d: PSH is %v", i, psh)
					}
				}
				n.DeliverAll(cut)
				if len(r.pkts) != 1 || r.trains != 1 || !bytes.Equal(r.pkts[0], long) {
					t.Fatalf("%d packets, %d trains, the same: %v", len(r.pkts), r.trains, len(r.pkts) > 0 && bytes.Equal(r.pkts[0], long))
				}
			})
		}
	}
}

// What isn't alike isn't put together, and nothing overtakes.
func TestCoupledOnlyIfAlike(t *testing.T) {
	for name, a := range families {
		six := a[0].Is6()
		at := func(seq uint32, flags byte, n int, edit func(ip, tcp []byte)) []byte {
			return segment(a[0], a[1], 5000, seq, flags, pattern(n), edit)
		}
		for _, c := range []struct {
			name   string
			second []byte // behind 100 octets from 1000
			one    bool
		}{
			{"goes on", at(1100, tcpACK, 100, nil), true},
			{"shorter", at(1100, tcpACK, 10, nil), true},
			{"pushed", at(1100, tcpACK|tcpPSH, 100, nil), true},
			{"another window", at(1100, tcpACK, 100, func(_, tcp []byte) { tcp[15] = 3 }), true},
			{"longer", at(1100, tcpACK, 101, nil), false},
			{"empty", at(1100, tcpACK, 0, nil), false},
			{"gap", at(1101, tcpACK, 100, nil), false},
			{"again", at(1000, tcpACK, 100, nil), false},
			{"end", at(1100, tcpACK|tcpFIN, 100, nil), false},
			{"reset", at(1100, tcpACK|4, 100, nil), false},
			{"urgent", at(1100, tcpACK|0x20, 100, nil), false},
			{"congestion echoed", at(1100, tcpACK|0x40, 100, nil), false},
			{"window reduced", at(1100, tcpACK|0x80, 100, nil), false},
			{"not acknowledging", at(1100, 0, 100, nil), false},
			{"reserved bit", at(1100, tcpACK, 100, func(_, tcp []byte) { tcp[12] |= 1 }), false},
			{"another acknowledgement", at(1100, tcpACK, 100, func(_, tcp []byte) { tcp[11]++ }), false},
			{"another timestamp", at(1100, tcpACK, 100, func(_, tcp []byte) { tcp[27]++ }), false},
			{"another TTL", at(1100, tcpACK, 100, func(ip, _ []byte) {
				if six {
					ip[7]--
				} else {
					ip[8]--
				}
			}), false},
			{"congestion marked", at(1100, tcpACK, 100, func(ip, _ []byte) {
				if six {
					ip[1] |= 0x30
				} else {
					ip[1] |= 3
				}
			}), false},
			{"another port", segment(a[0], a[1], 5001, 1100, tcpACK, pattern(100), nil), false},
		} {
			t.Run(name+" "+c.name, func(t *testing.T) {
				n, r := recording(t)
				first := at(1000, tcpACK, 100, nil)
				n.DeliverAll([][]byte{first, c.second})
				if got := len(r.pkts) == 1; got != c.one || (r.trains == 1) != c.one {
					t.Fatalf("%d packets, %d trains", len(r.pkts), r.trains)
				}
				if !c.one && (!bytes.Equal(r.pkts[0], first) || !bytes.Equal(r.pkts[1], c.second)) {
					t.Error("they are changed, or out of order")
				}
				if got := n.Counters()["in-packets"]; got != 2 {
					t.Errorf("in-packets is %d", got)
				}
			})
		}
	}
}

// A segment with a wrong checksum is left to the stack alone and as it came,
// wherever it stands, so that no other is lost with it.
func TestWrongChecksumStaysAlone(t *testing.T) {
	for name, a := range families {
		for broken := range 4 {
			t.Run(fmt.Sprintf("%s %d", name, broken), func(t *testing.T) {
				n, r := recording(t)
				var pkts [][]byte
				for i := range 4 {
					pkts = append(pkts, segment(a[0], a[1], 5000, uint32(1000+100*i), tcpACK, pattern(100), nil))
				}
				pkts[broken][len(pkts[broken])-1] ^= 0x10
				n.DeliverAll(pkts)
				alone := 0
				for _, b := range r.pkts {
					if bytes.Equal(b, pkts[broken]) {
						alone++
						continue
					}
					p, _ := parse(b)
					if h := tcpHeaders(p); !tcpSumRight(p, h, checksum.Checksum(b[h:], 0)) {
						t.Error("a checksum was made wrong")
					}
				}
				if alone != 1 {
					t.Errorf("the broken one came %d times as it was", alone)
				}
			})
		}
	}
}

// Many connections at once, more than are put together: each one's octets come in
// order and whole, beside datagrams and what is dropped.
func TestManyConnections(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	n, r := recording(t)
	const flows = 3 * maxTrains
	next := make([]int, flows)
	stream := pattern(500_000)
	datagrams, bad := 0, 0
	for range 300 {
		var burst [][]byte
		for range rng.IntN(80) {
			f := rng.IntN(flows)
			if rng.IntN(2) == 0 {
				f = rng.IntN(2) // a few that go on
			}
			a := families["IPv4"]
			if f%2 == 1 {
				a = families["IPv6"]
			}
			switch rng.IntN(20) {
			case 0:
				burst = append(burst, raw(a[0], a[1], protocolUDP, 1, 2, 5684>>8, 5684&0xff, 0, 8, 0, 0))
				datagrams++
			case 1:
				burst = append(burst, raw(a[0], a[0], protocolUDP, 1, 2, 5684>>8, 5684&0xff, 0, 8, 0, 0))
				bad++
			default:
				size := []int{100, 100, 100, 37}[rng.IntN(4)]
				burst = append(burst, segment(a[0], a[1], uint16(5000+f), uint32(next[f]), tcpACK, stream[next[f]:next[f]+size], nil))
				next[f] += size
			}
		}
		n.DeliverAll(burst)
	}
	got := make([]int, flows)
	for _, b := range r.pkts {
		p, reason := parse(b)
		if reason != 0 {
			t.Fatalf("a packet became one to drop: %s", counterNames[reason])
		}
		if p.protocol == protocolUDP {
			datagrams--
			continue
		}
		f := int(binary.BigEndian.Uint16(p.payload)) - 5000
		h := tcpHeaders(p)
		data := b[h:]
		if seq := int(binary.BigEndian.Uint32(p.payload[4:])); seq != got[f] || !bytes.Equal(data, stream[seq:seq+len(data)]) {
			t.Fatalf("connection %d: octets from %d come where those from %d should", f, seq, got[f])
		}
		got[f] += len(data)
	}
	if !slices.Equal(got, next) || datagrams != 0 || n.Counters()["phone-to-phone"] != uint64(bad) {
		t.Errorf("octets %v, want %v; %d datagrams are missing", got, next, datagrams)
	}
	if r.trains < 100 || r.longs < 3*r.trains {
		t.Errorf("%d trains of %d segments", r.trains, r.longs)
	}
}

// To put packets together costs no memory. (With the race detector, a pool forgets
// now and then.)
func TestDeliverAllAllocatesNothing(t *testing.T) {
	n, _ := recording(t)
	n.driver = new(forgetful)
	var pkts [][]byte
	for i := range 64 {
		pkts = append(pkts, segment(theirs4, ours4, 5000, uint32(1000*i), tcpACK, pattern(1000), nil))
	}
	// Not none: the race detector has pools forget some of what they are given.
	if got := testing.AllocsPerRun(100, func() { n.DeliverAll(pkts) }); got > float64(len(pkts)/8) {
		t.Errorf("%v allocations for a burst", got)
	}
}

type forgetful struct{ recorder }

func (forgetful) packet(packet) {}
func (forgetful) train(*train)  {}

// Whatever comes in a burst, the octets behind the headers are those that come by
// Deliver one by one.
func FuzzDeliverAll(f *testing.F) {
	long := segment(theirs4, ours4, 5000, 1, tcpACK, pattern(500), nil)
	f.Add(long, uint16(100), []byte{})
	f.Add(segment(theirs6, ours6, 5000, 1, tcpACK|tcpPSH, pattern(301), nil), uint16(99), []byte{3, 50, 0xff})
	n, r := recording(f)
	f.Fuzz(func(t *testing.T, long []byte, mss uint16, flips []byte) {
		r.pkts = nil
		var pkts [][]byte
		if err := segments([][]byte{long}, int(mss), func(some [][]byte) {
			for _, p := range some {
				pkts = append(pkts, bytes.Clone(p))
			}
		}); err != nil {
			pkts = [][]byte{long, long}
		}
		if len(pkts) > 2000 {
			return
		}
		for i := 0; i+2 < len(flips); i += 3 {
			p := pkts[int(flips[i])%len(pkts)]
			if len(p) > 0 {
				p[int(flips[i+1])%len(p)] ^= flips[i+2]
			}
		}
		n.DeliverAll(pkts)
		together := r.pkts
		r.pkts = nil
		for _, p := range pkts {
			n.Deliver(p)
		}
		if a, b := octets(together), octets(r.pkts); !bytes.Equal(a, b) || n.Counters()["panic"] != 0 {
			t.Fatalf("%d octets together, %d one by one; counters %v", len(a), len(b), n.Counters())
		}
	})
}

// octets are the payloads of TCP and everything else, sorted by connection.
func octets(pkts [][]byte) []byte {
	flows := map[string][]byte{}
	for _, b := range pkts {
		p, reason := parse(b)
		if reason != 0 {
			continue
		}
		key, h := string(p.src.AsSlice())+string(p.dst.AsSlice())+string(p.protocol), 0
		if p.protocol == protocolTCP {
			key += string(p.payload[:4])
			h = tcpHeaders(p)
		}
		flows[key] = append(flows[key], b[h:]...)
	}
	var all []byte
	for _, k := range slices.Sorted(maps.Keys(flows)) {
		all = append(all, flows[k]...)
	}
	return all
}
