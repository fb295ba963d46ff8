package gtpu_test

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/apn/gtpu"
)

func TestSend(t *testing.T) {
	gtptest.Shows(t, "29.281/g-pdu-sent")
	bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
		r.Carry(put(tunnel(2, nil), tunnel(3, nil)))
		pkt := udp(gateway, inner(3), 9, 1, 2)
		if err := r.Send(pkt); err != nil {
			t.Fatal(err)
		}
		out := r.written()
		if len(out) != 1 || out[0].addr != sgw || !bytes.Equal(out[0].b, gpdu(0x2003, pkt)) {
			t.Errorf("sent %v", out)
		}
		r.counted(t, counts{"downlink-packets": 1, "downlink-bytes": uint64(len(pkt))})

		for _, c := range []struct {
			name   string
			pkt    []byte
			err    error
			reason string
		}{
			{"nobody's address", udp(gateway, inner(4), 9), gtpu.ErrNoTunnel, "no-tunnel"},
			{"empty", nil, gtpu.ErrPacket, "downlink-malformed"},
			{"short", pkt[:19], gtpu.ErrPacket, "downlink-malformed"},
			{"IPv6", make([]byte, 40), gtpu.ErrPacket, "downlink-malformed"},
			{"too long for UDP", append(pkt[:len(pkt):len(pkt)], make([]byte, 65536)...), gtpu.ErrPacket, "downlink-malformed"},
		} {
			if err := r.Send(c.pkt); !errors.Is(err, c.err) {
				t.Errorf("%s: %v, want %v", c.name, err, c.err)
			}
			r.counted(t, counts{c.reason: 1})
		}
		// A batch goes as far as it can, and tells the first thing that didn't.
		n, err := r.SendBatch([][]byte{pkt, udp(gateway, inner(4), 9), nil, pkt})
		if n != 2 || !errors.Is(err, gtpu.ErrNoTunnel) {
			t.Errorf("SendBatch = %d, %v", n, err)
		}
		if out := r.written(); len(out) != 2 {
			t.Errorf("sent %v", out)
		}
		if err := r.SendAll([][]byte{pkt, nil, pkt}); !errors.Is(err, gtpu.ErrPacket) {
			t.Errorf("SendAll: %v", err)
		}
		if out := r.written(); len(out) != 2 {
			t.Errorf("SendAll sent %v", out)
		}
	})
}

func TestSendWithoutSocket(t *testing.T) {
	p := gtpu.New(gtpu.Config{Uplink: func([]byte) {}})
	p.Carry(put(tunnel(2, nil)))
	pkt := udp(gateway, inner(2), 9)
	if err := p.Send(pkt); !errors.Is(err, gtpu.ErrNotServing) {
		t.Errorf("Send: %v", err)
	}
	if n, err := p.SendBatch([][]byte{pkt, pkt}); n != 0 || !errors.Is(err, gtpu.ErrNotServing) {
		t.Errorf("SendBatch: %d, %v", n, err)
	}
	if n := p.Counters()["not-serving"]; n != 3 {
		t.Errorf("not-serving = %d", n)
	}
}

// TEIDs and addresses pass from session to session, in any order that a plan
// may bring them.
func TestCarry(t *testing.T) {
	with := func(id uint64, teid uint32, addr byte) gtpu.Tunnel {
		return tunnel(id, func(t *gtpu.Tunnel) { t.Local, t.Inner = teid, inner(addr) })
	}
	for _, c := range []struct {
		name  string
		plans []gtpu.Plan
		teid  map[uint32]byte // what goes up by which TEID from which address
		down  map[byte]uint32 // which peer TEID leads to which address
		n     int
	}{
		{
			"a new session takes the address before the old one is deleted",
			[]gtpu.Plan{put(with(1, 0x11, 2)), put(with(2, 0x22, 2)), {Delete: []gtpu.Tunnel{with(1, 0x11, 2)}}},
			map[uint32]byte{0x11: 0, 0x22: 2},
			map[byte]uint32{2: 0x2002},
			1,
		},
		{
			"a new session takes the TEID",
			[]gtpu.Plan{put(with(1, 0x11, 2)), put(with(2, 0x11, 3)), {Delete: []gtpu.Tunnel{with(1, 0x11, 2)}}},
			map[uint32]byte{0x11: 3},
			map[byte]uint32{2: 0, 3: 0x2002},
			1,
		},
		{
			"two sessions swap addresses",
			[]gtpu.Plan{
				put(with(1, 0x11, 2), with(2, 0x22, 3)),
				gtpu.Diff(
					[]gtpu.Tunnel{with(1, 0x11, 2), with(2, 0x22, 3)},
					[]gtpu.Tunnel{with(1, 0x11, 3), with(2, 0x22, 2)},
				),
			},
			map[uint32]byte{0x11: 3, 0x22: 2},
			map[byte]uint32{3: 0x2001, 2: 0x2002},
			2,
		},
		{
			"twice is once",
			[]gtpu.Plan{put(with(1, 0x11, 2)), put(with(1, 0x11, 2)), {Delete: []gtpu.Tunnel{with(9, 0x99, 9)}}},
			map[uint32]byte{0x11: 2},
			map[byte]uint32{2: 0x2001},
			1,
		},
		{
			"one takes what two had",
			[]gtpu.Plan{
				put(with(1, 0x11, 2), with(2, 0x22, 3)),
				put(tunnel(3, func(t *gtpu.Tunnel) { t.Local, t.Inner, t.Prefix6 = 0x11, inner(3), prefix6(2) })),
			},
			map[uint32]byte{0x11: 3, 0x22: 0},
			map[byte]uint32{2: 0, 3: 0x2003},
			1,
		},
		{
			"a session's new tunnel comes before the old one is deleted",
			[]gtpu.Plan{put(with(1, 0x11, 2)), put(with(1, 0x12, 2)), {Delete: []gtpu.Tunnel{with(1, 0x11, 2)}}},
			map[uint32]byte{0x11: 0, 0x12: 2},
			map[byte]uint32{2: 0x2001},
			1,
		},
		{
			"all gone",
			[]gtpu.Plan{put(with(1, 0x11, 2)), {Delete: []gtpu.Tunnel{with(1, 0x11, 2)}}},
			map[uint32]byte{0x11: 0},
			map[byte]uint32{2: 0},
			0,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, gtpu.Config{AllowedPeers: carrier}, func(t *testing.T, r *rig) {
				for _, plan := range c.plans {
					r.Carry(plan)
				}
				if n := r.Tunnels(); n != c.n {
					t.Errorf("%d tunnels, want %d", n, c.n)
				}
				for teid, addr := range c.teid {
					for a := byte(1); a < 10; a++ {
						r.forgetUplink()
						r.arrive(sgw, gpdu(teid, udp(inner(a), gateway, 53)))
						if up := len(r.uplinked()) == 1; up != (a == addr) {
							t.Errorf("TEID %#x, source %v: came up %v", teid, inner(a), up)
						}
					}
				}
				r.written()
				for addr, teid := range c.down {
					pkt := udp(gateway, inner(addr), 53)
					err := r.Send(pkt)
					out := r.written()
					switch {
					case teid == 0 && !errors.Is(err, gtpu.ErrNoTunnel):
						t.Errorf("to %v: %v", inner(addr), err)
					case teid != 0 && (len(out) != 1 || !bytes.Equal(out[0].b, gpdu(teid, pkt))):
						t.Errorf("to %v: %v, sent %v", inner(addr), err, out)
					}
				}
			})
		})
	}
}

// Who is allowed beside the peers of tunnels may be said anew.
func TestAllowedPeersChange(t *testing.T) {
	const echo = "3201000400000000abcd0000"
	other := netip.MustParseAddrPort("127.0.30.1:2152")
	bubble(t, gtpu.Config{AllowedPeers: []netip.Prefix{netip.MustParsePrefix("127.0.30.0/24")}, Answers: 1}, func(t *testing.T, r *rig) {
		answered := func(peer netip.AddrPort) (answers int) {
			for range 2 {
				r.written()
				r.arrive(peer, unhex(t, echo))
				answers += len(r.written())
			}
			return answers
		}
		if n := answered(other); n != 1 {
			t.Errorf("an allowed peer is answered %d times at one a second", n)
		}
		r.Bound(nil, 100)
		time.Sleep(time.Second)
		if answered(other) != 0 {
			t.Error("a peer that isn't allowed any more is answered")
		}
		r.Carry(put(tunnel(2, nil)))
		if answered(sgw) != 2 {
			t.Error("the peer of a tunnel isn't")
		}
		r.Bound([]netip.Prefix{netip.MustParsePrefix("127.0.30.1/32")}, 100)
		time.Sleep(time.Second)
		if answered(other) != 2 {
			t.Error("a peer that is allowed again isn't, or at the rate of before")
		}
	})
}

// A peer is known as long as it has a tunnel, and not longer.
func TestPeersComeAndGo(t *testing.T) {
	const echo = "3201000400000000abcd0000"
	other := netip.MustParseAddrPort("127.0.30.1:2152")
	moved := tunnel(2, func(t *gtpu.Tunnel) { t.PeerAddr = other.Addr() })
	bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
		knows := func(peer netip.AddrPort, want bool) {
			t.Helper()
			r.written()
			r.arrive(peer, unhex(t, echo))
			if got := len(r.written()) == 1; got != want {
				t.Errorf("%v answered: %v, want %v", peer, got, want)
			}
		}
		knows(sgw, false)
		r.Carry(put(tunnel(2, nil), tunnel(3, nil)))
		knows(sgw, true)
		r.Carry(put(moved))
		knows(sgw, true)
		knows(other, true)
		r.Carry(gtpu.Plan{Delete: []gtpu.Tunnel{tunnel(3, nil)}})
		knows(sgw, false)
		r.Carry(put(moved, moved))
		r.Carry(gtpu.Plan{Delete: []gtpu.Tunnel{moved}})
		knows(other, false)
		// One tunnel that takes the place of two leaves one.
		r.Carry(put(tunnel(2, dual), tunnel(3, dual)))
		r.Carry(put(tunnel(4, func(t *gtpu.Tunnel) { dual(t); t.Local, t.Inner, t.Prefix6 = 0x1002, inner(2), prefix6(3) })))
		knows(sgw, true)
		r.Carry(gtpu.Plan{Delete: []gtpu.Tunnel{tunnel(4, func(t *gtpu.Tunnel) { t.Local = 0x1002 })}})
		knows(sgw, false)
	})
}

// A /64 passes from session to session like an IPv4 address, and a tunnel may
// come by one and lose it.
func TestCarryPrefixes(t *testing.T) {
	has := func(id uint64, prefix byte) gtpu.Tunnel {
		return tunnel(id, func(t *gtpu.Tunnel) { only6(t); t.Prefix6 = prefix6(prefix) })
	}
	both := tunnel(1, dual)
	for _, c := range []struct {
		name  string
		plans []gtpu.Plan
		down  map[byte]uint32
		n     int
	}{
		{"one each", []gtpu.Plan{put(has(1, 1), has(2, 2))}, map[byte]uint32{1: 0x2001, 2: 0x2002}, 2},
		{"taken over", []gtpu.Plan{put(has(1, 1)), put(has(2, 1)), {Delete: []gtpu.Tunnel{has(1, 1)}}}, map[byte]uint32{1: 0x2002}, 1},
		{
			"swapped",
			[]gtpu.Plan{put(has(1, 1), has(2, 2)), gtpu.Diff([]gtpu.Tunnel{has(1, 1), has(2, 2)}, []gtpu.Tunnel{has(1, 2), has(2, 1)})},
			map[byte]uint32{1: 0x2002, 2: 0x2001},
			2,
		},
		{"given", []gtpu.Plan{put(tunnel(1, nil)), gtpu.Diff([]gtpu.Tunnel{tunnel(1, nil)}, []gtpu.Tunnel{both})}, map[byte]uint32{1: 0x2001}, 1},
		{"given in place", []gtpu.Plan{put(tunnel(1, nil)), put(both)}, map[byte]uint32{1: 0x2001}, 1},
		{"taken away in place", []gtpu.Plan{put(both), put(tunnel(1, nil))}, map[byte]uint32{1: 0}, 1},
		{"gone", []gtpu.Plan{put(both), {Delete: []gtpu.Tunnel{both}}}, map[byte]uint32{1: 0}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
				for _, plan := range c.plans {
					r.Carry(plan)
				}
				if n := r.Tunnels(); n != c.n {
					t.Errorf("%d tunnels, want %d", n, c.n)
				}
				r.written()
				for prefix, teid := range c.down {
					pkt := udp6(gateway6, inner6(prefix), 53)
					err := r.Send(pkt)
					out := r.written()
					if teid == 0 && !errors.Is(err, gtpu.ErrNoTunnel) || teid != 0 && (len(out) != 1 || !bytes.Equal(out[0].b, gpdu(teid, pkt))) {
						t.Errorf("to %v: %v, sent %v", inner6(prefix), err, out)
					}
				}
			})
		})
	}
}
