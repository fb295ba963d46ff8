package inner

import (
	"encoding/binary"
	"net/netip"
	"testing"
)

var (
	ours4, theirs4 = netip.MustParseAddr("10.90.0.1"), netip.MustParseAddr("10.90.0.2")
	ours6, theirs6 = netip.MustParseAddr("2001:db8:90::1"), netip.MustParseAddr("2001:db8:90:2::a1")
)

// raw makes a packet with a right header checksum.
func raw(src, dst netip.Addr, protocol byte, payload ...byte) []byte {
	if src.Is6() {
		b := make([]byte, 40)
		b[0], b[6], b[7] = 0x60, protocol, 64
		binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
		copy(b[8:], src.AsSlice())
		copy(b[24:], dst.AsSlice())
		return append(b, payload...)
	}
	b := make([]byte, 20)
	b[0], b[8], b[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(b[10:], ^headerSum(b))
	return append(b, payload...)
}

// sent keeps what goes to a terminal.
type sent struct{ pkts int }

func (s *sent) Send([]byte) error { s.pkts++; return nil }

func network(t *testing.T) (*Network, *sent) {
	t.Helper()
	n, err := New(Config{Addresses: []netip.Addr{ours4, ours6}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	down := new(sent)
	n.SetRoute(netip.PrefixFrom(theirs4, 32), down)
	n.SetRoute(netip.PrefixFrom(theirs6, 64), down)
	return n, down
}

// Whatever the stack should come to make of a packet, only TCP, UDP and echo
// replies leave: no redirect, no error, no neighbour discovery.
func TestOnlyAnswersLeave(t *testing.T) {
	for _, c := range []struct {
		name  string
		pkt   []byte
		leave bool
	}{
		{"TCP", raw(ours4, theirs4, 6, make([]byte, 20)...), true},
		{"UDP", raw(ours4, theirs4, 17, make([]byte, 8)...), true},
		{"echo reply", raw(ours4, theirs4, 1, 0, 0), true},
		{"unreachable", raw(ours4, theirs4, 1, 3, 3), false},
		{"source quench", raw(ours4, theirs4, 1, 4, 0), false},
		{"redirect", raw(ours4, theirs4, 1, 5, 1), false},
		{"echo request", raw(ours4, theirs4, 1, 8, 0), false},
		{"time exceeded", raw(ours4, theirs4, 1, 11, 1), false},
		{"parameter problem", raw(ours4, theirs4, 1, 12, 0), false},
		{"ICMP without a type", raw(ours4, theirs4, 1), false},
		{"IGMP", raw(ours4, theirs4, 2, 0x16, 0), false},
		{"TCP over IPv6", raw(ours6, theirs6, 6, make([]byte, 20)...), true},
		{"UDP over IPv6", raw(ours6, theirs6, 17, make([]byte, 8)...), true},
		{"ICMPv6 echo reply", raw(ours6, theirs6, 58, 129, 0), true},
		{"fragment of a datagram", raw(ours6, theirs6, 44, 17, 0, 0, 1, 0, 0, 0, 1), true},
		{"ICMPv6 unreachable", raw(ours6, theirs6, 58, 1, 4), false},
		{"packet too big", raw(ours6, theirs6, 58, 2, 0), false},
		{"ICMPv6 time exceeded", raw(ours6, theirs6, 58, 3, 1), false},
		{"ICMPv6 parameter problem", raw(ours6, theirs6, 58, 4, 1), false},
		{"ICMPv6 echo request", raw(ours6, theirs6, 58, 128, 0), false},
		{"router solicitation", raw(ours6, theirs6, 58, 133, 0), false},
		{"router advertisement", raw(ours6, theirs6, 58, 134, 0), false},
		{"neighbour solicitation", raw(ours6, theirs6, 58, 135, 0), false},
		{"neighbour advertisement", raw(ours6, theirs6, 58, 136, 0), false},
		{"ICMPv6 redirect", raw(ours6, theirs6, 58, 137, 0), false},
		{"listener report behind options", raw(ours6, theirs6, 0, 58, 0, 5, 2, 0, 0, 1, 0), false},
		{"nothing", nil, false},
		{"another version", make([]byte, 60), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, down := network(t)
			n.transmit([][]byte{c.pkt})
			if got := down.pkts == 1; got != c.leave {
				t.Errorf("left: %v, want %v", got, c.leave)
			}
			if got := n.Counters()["egress-protocol"] == 0; got != c.leave {
				t.Errorf("egress-protocol is %d", n.Counters()["egress-protocol"])
			}
		})
	}
}

// A datagram to a port that nobody has makes the stack complain, should it ever
// get there; the complaint doesn't leave.
func TestNoErrorLeaves(t *testing.T) {
	n, down := network(t)
	n.udpPorts.add(9)
	datagram := []byte{0x30, 0x39, 0, 9, 0, 8, 0, 0}
	n.Deliver(raw(theirs4, ours4, 17, datagram...))
	b := raw(theirs6, ours6, 17, datagram...)
	// Length and next header of the pseudo-header are 8 and 17.
	binary.BigEndian.PutUint16(b[46:], ^headerSum(append(append([]byte(nil), b[8:]...), 0, 8, 0, 17)))
	n.Deliver(b)
	if got := n.Counters()["egress-protocol"]; got != 2 || down.pkts != 0 {
		t.Errorf("egress-protocol is %d, want 2; %d packets left", got, down.pkts)
	}
}

// Who is dropped costs no memory, nor does finding a terminal's route: a flood
// of either family gives the collector nothing to do.
func TestAdmitAllocatesNothing(t *testing.T) {
	n, _ := network(t)
	n.udpPorts.add(9)
	stranger := netip.MustParseAddr("2001:db8:77::1")
	for name, pkt := range map[string][]byte{
		"IPv4 datagram":   raw(theirs4, ours4, 17, 0x30, 0x39, 0, 9, 0, 8, 0, 0),
		"IPv6 datagram":   raw(theirs6, ours6, 17, 0x30, 0x39, 0, 9, 0, 8, 0, 0),
		"IPv4 to a phone": raw(theirs4, theirs4, 6, make([]byte, 20)...),
		"IPv6 to a phone": raw(theirs6, theirs6, 6, make([]byte, 20)...),
		"of nobody":       raw(stranger, ours6, 6, make([]byte, 20)...),
	} {
		if got := testing.AllocsPerRun(100, func() { _, _ = n.admit(pkt) }); got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}
