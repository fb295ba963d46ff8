package gtpu_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/sealedge/sealedge/apn/gtpu"
)

// numbered is the n-th of packets with 1,000 octets.
func numbered(n int) []byte {
	return ip(inner(2), gateway, 6, append(binary.BigEndian.AppendUint32(nil, uint32(n)), make([]byte, 976)...)...)
}

// numbers are those of packets, which have to be in order and without a gap.
func numbers(t *testing.T, pkts [][]byte) {
	t.Helper()
	for i, pkt := range pkts {
		if n := binary.BigEndian.Uint32(pkt[20:]); int(n) != i {
			t.Fatalf("packet %d came at place %d", n, i)
		}
	}
}

// A sender that has a window on its way loses nothing of it: what is over the rate
// comes at the rate, in order, also what is sent while something waits.
func TestShapedPacketsComeAtTheRate(t *testing.T) {
	bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
		r.Carry(put(tunnel(2, limited(10_000, 10_000)))) // 1,250 packets a second
		sent := 0
		for range 500 {
			r.arrive(sgw, gpdu(0x1002, numbered(sent)))
			sent++
		}
		if got := len(r.uplinked()); got != 125 {
			t.Errorf("%d packets at once, want those of 100 ms", got)
		}
		for range 20 {
			before := len(r.uplinked())
			r.pass(100 * time.Millisecond)
			if got := len(r.uplinked()) - before; got < 120 || got > 130 {
				t.Errorf("%d packets in 100 ms, want 125", got)
			}
			for range 125 {
				r.arrive(sgw, gpdu(0x1002, numbered(sent)))
				sent++
			}
		}
		r.pass(time.Second)
		if len(r.uplinked()) != sent {
			t.Errorf("%d of %d packets came", len(r.uplinked()), sent)
		}
		numbers(t, r.uplinked())
		if n := r.Counters()["ambr-up"]; n != 0 {
			t.Errorf("%d packets were dropped", n)
		}
	})
}

// Down it is the same, through whatever becomes of the session meanwhile.
func TestShapedPacketsFollowTheSession(t *testing.T) {
	pkt := ip(gateway, inner(2), 6, make([]byte, 980)...)
	for name, c := range map[string]struct {
		change  func(t *gtpu.Tunnel) // nil: the session ends
		to      uint32               // the peer's TEID of what waited; 0: it isn't sent
		counter string
	}{
		"handover":  {func(t *gtpu.Tunnel) { t.Peer = 0x99 }, 0x99, "downlink-packets"},
		"suspended": {func(t *gtpu.Tunnel) { t.Suspended = true }, 0, "suspended"},
		"ended":     {nil, 0, "no-tunnel"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
				was := tunnel(2, limited(0, 1_000))
				r.Carry(put(was))
				for range 25 {
					if err := r.Send(pkt); err != nil {
						t.Fatal(err)
					}
				}
				at := len(r.written())
				if at != 15 {
					t.Fatalf("%d packets at once", at)
				}
				var next []gtpu.Tunnel
				if c.change != nil {
					next = []gtpu.Tunnel{tunnel(2, func(t *gtpu.Tunnel) { limited(0, 1_000)(t); c.change(t) })}
				}
				r.Carry(gtpu.Diff([]gtpu.Tunnel{was}, next))
				r.written() // an End Marker
				before := r.Counters()[c.counter]
				r.pass(time.Second)
				if got := r.Counters()[c.counter] - before; got != 10 {
					t.Errorf("%s rose by %d", c.counter, got)
				}
				for _, d := range r.written() {
					if teid := binary.BigEndian.Uint32(d.b[4:]); teid != c.to {
						t.Errorf("a packet went into tunnel %#x", teid)
					}
				}
			})
		})
	}
}

// What waits is bounded for a session and for all together, and none of it
// outlives the serving of the address.
func TestShapedPacketsAreBounded(t *testing.T) {
	bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
		pkt := ip(gateway, inner(2), 6, make([]byte, 980)...)
		var plan gtpu.Plan
		for id := uint64(2); id < 102; id++ {
			plan.Put = append(plan.Put, tunnel(id, limited(0, 20_000)))
		}
		r.Carry(plan)
		accepted := 0
		for id := uint64(2); id < 102; id++ {
			copy(pkt[16:], inner(byte(id)).AsSlice())
			n := 0
			for r.Send(pkt) == nil {
				n++
			}
			// 250,000 octets go at once; a mebibyte waits, of each that comes
			// before there are 64.
			if most := 250 + (1<<20)/1064 + 1; n > most {
				t.Fatalf("session %d: %d packets were taken, at most %d may", id, n, most)
			}
			accepted += n
		}
		waiting := accepted - len(r.written())
		if most := (64 << 20) / 1064; waiting > most || waiting < most*9/10 {
			t.Errorf("%d packets wait, want up to %d", waiting, most)
		}
		r.stop()
		if n := r.Counters()["ambr-down"] - 100; n != uint64(waiting) {
			t.Errorf("%d of %d packets were dropped at the end", n, waiting)
		}
	})
}
