package gtpu_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/apn/gtpu"
)

func solicitRouter(id byte) []byte {
	return gpdu(0x1000+uint32(id), icmp6(onLink(id), allRouters, 133, 0, 0, 0, 0))
}

func solicitNeighbour(src, target netip.Addr) []byte {
	return icmp6(src, linkLocal1, 135, append([]byte{0, 0, 0, 0}, target.AsSlice()...)...)
}

// advertised is the Router Advertisement that a session must get, checksum and
// all.
func advertised(id byte, mtu uint32) []byte {
	body := []byte{
		64, 0, 0xfd, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, // hop limit, flags, 64,800 s, timers
		3, 4, 64, 0x40, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, // prefix: A, not L, for ever
	}
	body = append(body, prefix6(id).AsSlice()...)
	body = binary.BigEndian.AppendUint32(append(body, 5, 1, 0, 0), mtu)
	return icmp6(linkLocal1, allNodes, 134, body...)
}

// A terminal that solicits a router is told its prefix (TS 29.061 11.2.1.3).
func TestRouterSolicitation(t *testing.T) {
	withOption := append([]byte{0, 0, 0, 0}, 1, 1, 2, 0, 0, 0, 0, 1)
	for _, c := range []struct {
		name string
		pkt  []byte
	}{
		{"from its link-local address", icmp6(onLink(2), allRouters, 133, 0, 0, 0, 0)},
		{"from no address", icmp6(nobody6, allRouters, 133, 0, 0, 0, 0)},
		{"from its global address", icmp6(inner6(2), allRouters, 133, 0, 0, 0, 0)},
		{"to the gateway alone", icmp6(onLink(2), linkLocal1, 133, 0, 0, 0, 0)},
		{"with an option", icmp6(onLink(2), allRouters, 133, withOption...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, gtpu.Config{MTU: 1380}, func(t *testing.T, r *rig) {
				r.Carry(put(tunnel(2, dual)))
				r.arrive(sgw, gpdu(0x1002, c.pkt))
				out := r.written()
				if want := gpdu(0x2002, advertised(2, 1380)); len(out) != 1 || out[0].addr != sgw || !bytes.Equal(out[0].b, want) {
					t.Errorf("sent %v, want %x", out, want)
				}
				r.counted(t, counts{"router-solicitations-received": 1, "router-advertisements-sent": 1})
			})
		})
	}
}

// Neighbour unreachability detection finds the gateway; nothing else is
// answered, duplicate address detection least of all.
func TestNeighbourSolicitation(t *testing.T) {
	answered := func(to netip.Addr) []byte {
		return icmp6(linkLocal1, to, 136, append([]byte{0xc0, 0, 0, 0}, linkLocal1.AsSlice()...)...)
	}
	for _, c := range []struct {
		name   string
		pkt    []byte
		answer []byte
	}{
		{"for the gateway", solicitNeighbour(onLink(2), linkLocal1), answered(onLink(2))},
		{"for the gateway, from a global address", solicitNeighbour(inner6(2), linkLocal1), answered(inner6(2))},
		{"duplicate address detection", solicitNeighbour(nobody6, onLink(2)), nil},
		{"duplicate address detection of the gateway's", solicitNeighbour(nobody6, linkLocal1), nil},
		{"for itself", solicitNeighbour(onLink(2), inner6(2)), nil},
		{"for another terminal", solicitNeighbour(onLink(2), onLink(3)), nil},
		{"for another terminal's global address", solicitNeighbour(onLink(2), inner6(3)), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
				r.Carry(put(tunnel(2, dual), tunnel(3, dual)))
				r.arrive(sgw, gpdu(0x1002, c.pkt))
				out := r.written()
				if c.answer == nil {
					if len(out) != 0 {
						t.Errorf("sent %v", out)
					}
					r.counted(t, counts{"neighbour-solicitations-received": 1, "neighbour-discovery": 1})
					return
				}
				if len(out) != 1 || !bytes.Equal(out[0].b, gpdu(0x2002, c.answer)) {
					t.Errorf("sent %v, want %x", out, c.answer)
				}
				r.counted(t, counts{"neighbour-solicitations-received": 1, "neighbour-advertisements-sent": 1})
			})
		})
	}
}

// RFC 4861 6.1.1, 7.1.1: what isn't from the link, or is broken, gets nothing.
func TestSolicitationMalformed(t *testing.T) {
	rs, ns := icmp6(onLink(2), allRouters, 133, 0, 0, 0, 0), solicitNeighbour(onLink(2), linkLocal1)
	edit := func(pkt []byte, at int, by byte) []byte {
		pkt = bytes.Clone(pkt)
		pkt[at] += by
		return pkt
	}
	source := []byte{0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 1}
	for _, c := range []struct {
		name string
		pkt  []byte
	}{
		{"RS from afar", edit(rs, 7, 0xff)},
		{"NS from afar", edit(ns, 7, 0xff)},
		{"RS with a code", edit(edit(rs, 41, 1), 43, 0xff)}, // with a checksum that is right
		{"RS with a wrong checksum", edit(rs, 42, 1)},
		{"NS with a wrong checksum", edit(ns, 63, 1)},
		{"RS cut", icmp6(onLink(2), allRouters, 133, 0, 0, 0)},
		{"NS cut", icmp6(onLink(2), linkLocal1, 135, append([]byte{0, 0, 0, 0}, linkLocal1.AsSlice()[:15]...)...)},
		{"option of length 0", icmp6(onLink(2), allRouters, 133, 0, 0, 0, 0, 14, 0, 0, 0, 0, 0, 0, 0)},
		{"option cut", icmp6(onLink(2), allRouters, 133, 0, 0, 0, 0, 14, 2, 0, 0, 0, 0, 0, 0)},
		{"octets after the options", icmp6(onLink(2), allRouters, 133, 0, 0, 0, 0, 0)},
		{"link-layer address of nobody", icmp6(nobody6, allRouters, 133, source...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
				r.Carry(put(tunnel(2, dual)))
				before := r.Counters()["inner-malformed"]
				r.arrive(sgw, gpdu(0x1002, c.pkt))
				if n := r.Counters()["inner-malformed"] - before; n != 1 || len(r.written()) != 0 || len(r.uplinked()) != 0 {
					t.Errorf("inner-malformed rose by %d; answered or carried", n)
				}
			})
		})
	}
}

// A terminal that asks without end is answered five times, and then once a
// second; that doesn't keep another from its answer.
func TestSolicitationsAreLimited(t *testing.T) {
	bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
		r.Carry(put(tunnel(2, dual), tunnel(3, dual)))
		r.pass(3 * time.Second)
		r.written()
		r.before = r.Counters()
		for range 20 {
			r.arrive(sgw, solicitRouter(2))
		}
		r.arrive(sgw, gpdu(0x1002, solicitNeighbour(onLink(2), linkLocal1)))
		r.arrive(sgw, solicitRouter(3))
		r.counted(t, counts{
			"router-solicitations-received": 21, "neighbour-solicitations-received": 1,
			"router-advertisements-sent": 6, "solicitation-limit": 16,
		})
		r.pass(2 * time.Second)
		for range 5 {
			r.arrive(sgw, solicitRouter(2))
		}
		r.counted(t, counts{"router-solicitations-received": 5, "router-advertisements-sent": 2, "solicitation-limit": 3})
	})
}

// A tunnel that is made gets one advertisement nobody asked for, when the peer
// has had the time to hear of the tunnel. A change of it is no new tunnel.
func TestUnsolicitedAdvertisement(t *testing.T) {
	bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
		r.Carry(put(tunnel(2, only6), tunnel(3, nil)))
		if out := r.written(); len(out) != 0 {
			t.Errorf("sent at once: %v", out)
		}
		r.pass(10 * time.Second)
		if out := r.written(); len(out) != 1 || !bytes.Equal(out[0].b, gpdu(0x2002, advertised(2, 1400))) {
			t.Errorf("sent %v", out)
		}
		r.Carry(put(tunnel(2, func(t *gtpu.Tunnel) { only6(t); t.UpKbps = 100 })))
		r.pass(10 * time.Second)
		if out := r.written(); len(out) != 0 {
			t.Errorf("sent %v after a change", out)
		}
		// The terminal attached anew: another tunnel of the same session.
		again := tunnel(2, func(t *gtpu.Tunnel) { dual(t); t.Local = 0x9002 })
		r.Carry(gtpu.Diff([]gtpu.Tunnel{tunnel(2, only6)}, []gtpu.Tunnel{again}))
		r.pass(10 * time.Second)
		if out := r.written(); len(out) != 1 {
			t.Errorf("sent %v", out)
		}
		// Attached anew twice at once: only the last tunnel is there to be told.
		twice := tunnel(2, func(t *gtpu.Tunnel) { dual(t); t.Local, t.Peer = 0x9102, 0x7102 })
		r.Carry(gtpu.Diff([]gtpu.Tunnel{again}, []gtpu.Tunnel{tunnel(2, dual)}))
		r.Carry(gtpu.Diff([]gtpu.Tunnel{tunnel(2, dual)}, []gtpu.Tunnel{twice}))
		r.pass(10 * time.Second)
		if out := r.written(); len(out) != 1 || !bytes.Equal(out[0].b, gpdu(0x7102, advertised(2, 1400))) {
			t.Errorf("sent %v", out)
		}
		// What is gone again gets nothing.
		r.Carry(put(tunnel(4, dual)))
		r.Carry(gtpu.Plan{Delete: []gtpu.Tunnel{tunnel(4, dual)}})
		r.pass(10 * time.Second)
		if out := r.written(); len(out) != 0 {
			t.Errorf("sent %v to a tunnel that is gone", out)
		}
	})
}

// A node that takes over 500 tunnels reminds each terminal of the router within
// six hours, a third of the lifetime that the last node may have told, and
// again in every six hours; and never many at once.
func TestAdvertisementsAreRepeatedAndSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tunnels, interval = 500, 6 * time.Hour
		n := newNetwork()
		p := gtpu.New(gtpu.Config{Uplink: func([]byte) {}})
		var plan gtpu.Plan
		for id := range uint64(tunnels) {
			plan.Put = append(plan.Put, gtpu.Tunnel{
				Session: id, Local: 1 + uint32(id), Peer: 1 + uint32(id), PeerAddr: sgw.Addr(),
				Prefix6: netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 0, byte(id >> 8), byte(id)}),
			})
		}
		p.Carry(plan)
		time.Sleep(time.Hour) // as a follower, which sends nothing
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Serve(ctx, n) }()
		began := time.Now()
		time.Sleep(3 * interval)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		last := map[uint32]time.Time{}
		minute := map[int]int{}
		for _, d := range n.out {
			teid := binary.BigEndian.Uint32(d.b[4:])
			since := began
			if at, ok := last[teid]; ok {
				since = at
			}
			if gap := d.at.Sub(since); gap > interval {
				t.Errorf("tunnel %d had nothing for %v", teid, gap)
			}
			last[teid] = d.at
			minute[int(d.at.Sub(began)/time.Minute)]++
		}
		if len(last) != tunnels {
			t.Errorf("%d of %d tunnels were told anything", len(last), tunnels)
		}
		for teid, at := range last {
			if gap := began.Add(3 * interval).Sub(at); gap > interval {
				t.Errorf("tunnel %d had nothing for the last %v", teid, gap)
			}
		}
		if len(n.out) > 4*tunnels {
			t.Errorf("%d advertisements in 18 hours to %d tunnels", len(n.out), tunnels)
		}
		for m, sent := range minute {
			if sent > tunnels/50 {
				t.Errorf("%d advertisements in minute %d", sent, m)
			}
		}
	})
}

// A terminal that can't be reached is not advertised to, nor does a node that
// may have been succeeded advertise.
func TestAdvertisementsWithheld(t *testing.T) {
	bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
		r.Carry(put(tunnel(2, func(t *gtpu.Tunnel) { dual(t); t.Suspended = true })))
		r.arrive(sgw, solicitRouter(2))
		r.pass(24 * time.Hour)
		if out := r.written(); len(out) != 0 {
			t.Errorf("sent %d datagrams to a suspended session", len(out))
		}
		r.counted(t, counts{"router-solicitations-received": 1, "suspended": 1})
		r.Carry(put(tunnel(2, dual)))
		r.pass(10 * time.Minute)
		if out := r.written(); len(out) != 1 {
			t.Errorf("%d advertisements after it was resumed, want the one that was due", len(out))
		}
	})
	var holds atomic.Bool
	holds.Store(true)
	bubble(t, gtpu.Config{Holds: holds.Load}, func(t *testing.T, r *rig) {
		r.Carry(put(tunnel(2, dual)))
		holds.Store(false)
		r.arrive(sgw, solicitRouter(2))
		r.pass(24 * time.Hour)
		if out := r.written(); len(out) != 0 {
			t.Errorf("a fenced node sent %d datagrams", len(out))
		}
		r.counted(t, counts{"router-solicitations-received": 1, "not-holder": 1})
	})
}

// Wireshark finds nothing wrong with what the gateway says as a router.
func TestDiscoveryDissected(t *testing.T) {
	var frames []gtptest.Frame
	for _, sequenced := range []bool{false, true} {
		bubble(t, gtpu.Config{SequenceNumbers: sequenced}, func(t *testing.T, r *rig) {
			r.Carry(put(tunnel(2, dual)))
			r.arrive(sgw, solicitRouter(2))
			r.arrive(sgw, gpdu(0x1002, solicitNeighbour(onLink(2), linkLocal1)))
			r.arrive(sgw, gpdu(0x1002, solicitNeighbour(inner6(2), linkLocal1)))
			r.pass(3 * time.Second)
			for _, d := range r.written() {
				frames = append(frames, gtptest.Frame{Port: 2152, Payload: d.b})
			}
		})
	}
	if len(frames) != 8 {
		t.Fatal(fmt.Sprint(len(frames), " messages, want 8"))
	}
	gtptest.Dissect(t, frames)
}
