package gtpu_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/apn/gtpu"
)

// supervised is a plane that asks its peers every minute, and what it reports.
type supervised struct {
	*rig
	mu           sync.Mutex
	fails, backs []netip.Addr // guarded by mu
}

func (s *supervised) failed() []netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.fails)
}

func (s *supervised) restored() []netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.backs)
}

func supervise(t *testing.T, cfg gtpu.Config, scenario func(t *testing.T, r *supervised)) {
	t.Helper()
	s := new(supervised)
	cfg.T3, cfg.N3 = 2*time.Second, 3
	note := func(to *[]netip.Addr) func(netip.Addr) {
		return func(peer netip.Addr) {
			s.mu.Lock()
			defer s.mu.Unlock()
			*to = append(*to, peer)
		}
	}
	cfg.OnPathFailed, cfg.OnPathRestored = note(&s.fails), note(&s.backs)
	bubble(t, cfg, func(t *testing.T, r *rig) {
		s.rig = r
		scenario(t, s)
	})
}

// asked waits for the next Echo Request, and returns it.
func (s *supervised) asked(t *testing.T) datagram {
	t.Helper()
	for range 10 * 60 {
		if out := s.written(); len(out) > 0 {
			d := out[0]
			if len(out) != 1 || len(d.b) != 12 || d.b[0] != 0x32 || d.b[1] != 1 || !bytes.Equal(d.b[2:8], []byte{0, 4, 0, 0, 0, 0}) || d.b[10] != 0 || d.b[11] != 0 {
				t.Fatalf("sent %v, want one Echo Request", out)
			}
			return d
		}
		s.pass(time.Second)
	}
	t.Fatal("no Echo Request in ten minutes")
	return datagram{}
}

func answerTo(d datagram) []byte {
	return append([]byte{0x32, 2, 0, 6, 0, 0, 0, 0, d.b[8], d.b[9], 0, 0}, 14, 0)
}

func seqOf(d datagram) uint16 { return binary.BigEndian.Uint16(d.b[8:]) }

// A peer that answers is asked once an interval, and nothing is reported.
func TestPathAnswers(t *testing.T) {
	gtptest.Shows(t, "29.281/echo-request-sent", "29.281/echo-response-received", "29.281/echo-response-received/recovery")
	supervise(t, gtpu.Config{EchoInterval: 90 * time.Second}, func(t *testing.T, r *supervised) {
		r.Carry(put(tunnel(2, nil), tunnel(3, nil)))
		var last datagram
		for n := range 5 {
			d := r.asked(t)
			if d.addr != sgw {
				t.Errorf("asked %v", d.addr)
			}
			if n > 0 && d.at.Sub(last.at).Round(time.Second) != 90*time.Second {
				t.Errorf("asked after %v", d.at.Sub(last.at))
			}
			if n > 0 && seqOf(d) == seqOf(last) {
				t.Error("the same sequence number twice")
			}
			last = d
			r.arrive(sgw, answerTo(d))
		}
		r.counted(t, counts{"echo-requests-sent": 5, "echo-responses-received": 5})
		// Without tunnels nobody is asked.
		r.Carry(gtpu.Plan{Delete: []gtpu.Tunnel{tunnel(2, nil), tunnel(3, nil)}})
		r.pass(time.Hour)
		if out := r.written(); len(out) != 0 || len(r.failed())+len(r.restored()) != 0 {
			t.Errorf("sent %v, reported %v, %v", out, r.failed(), r.restored())
		}
	})
}

// A peer that doesn't answer is asked N3 times, T3 apart, and reported once; it
// is asked on, and reported once when it answers.
func TestPathFailsAndComesBack(t *testing.T) {
	gtptest.Shows(t, "29.281/path-management/a-peer-that-doesn-t-answer-and-comes-back")
	supervise(t, gtpu.Config{EchoInterval: time.Minute}, func(t *testing.T, r *supervised) {
		r.Carry(put(tunnel(2, nil)))
		round := func() (first datagram) {
			first = r.asked(t)
			for range 2 {
				again := r.asked(t)
				if !bytes.Equal(again.b, first.b) || again.at.Sub(first.at) > 5*time.Second {
					t.Errorf("repeated as %v after %v", again, again.at.Sub(first.at))
				}
			}
			return first
		}
		first := round()
		if len(r.failed()) != 0 {
			t.Error("reported before the last request had its time")
		}
		r.pass(3 * time.Second)
		if !slices.Equal(r.failed(), []netip.Addr{sgw.Addr()}) {
			t.Fatalf("reported %v", r.failed())
		}
		second := round()
		if gap := second.at.Sub(first.at); gap < time.Minute {
			t.Errorf("asked anew after %v", gap)
		}
		r.pass(10 * time.Second)
		r.counted(t, counts{"echo-requests-sent": 6, "path-failures": 1})

		// Only what was asked is answered: not by another, nor late, nor ahead.
		d := r.asked(t)
		other := netip.MustParseAddrPort("127.0.20.9:2152")
		unsequenced := answerTo(d)
		unsequenced[0] = 0x30
		for _, c := range []datagram{
			{addr: other, b: answerTo(d)},
			{addr: stranger, b: answerTo(d)},
			{addr: sgw, b: answerTo(first)},
			{addr: sgw, b: answerTo(datagram{b: []byte{8: d.b[8], 9: d.b[9] + 1}})},
			{addr: sgw, b: unsequenced},
		} {
			r.arrive(c.addr, c.b)
		}
		r.counted(t, counts{"echo-requests-sent": 1, "echo-response-unexpected": 5})
		if len(r.restored()) != 0 {
			t.Fatalf("reported %v for answers to nothing", r.restored())
		}
		r.arrive(sgw, answerTo(d))
		r.arrive(sgw, answerTo(d))
		r.counted(t, counts{"echo-responses-received": 1, "echo-response-unexpected": 1, "path-recoveries": 1})
		if !slices.Equal(r.restored(), []netip.Addr{sgw.Addr()}) || len(r.failed()) != 1 {
			t.Errorf("restored %v, failed %v", r.restored(), r.failed())
		}
		// And it may fail again.
		round()
		r.pass(3 * time.Second)
		if len(r.failed()) != 2 {
			t.Errorf("failed %v", r.failed())
		}
	})
}

// One answer in N3 is enough.
func TestPathLosesSome(t *testing.T) {
	supervise(t, gtpu.Config{EchoInterval: time.Minute}, func(t *testing.T, r *supervised) {
		r.Carry(put(tunnel(2, nil)))
		for range 3 {
			r.asked(t)
			r.asked(t)
			r.arrive(sgw, answerTo(r.asked(t)))
		}
		if len(r.failed())+len(r.restored()) != 0 {
			t.Errorf("failed %v, restored %v", r.failed(), r.restored())
		}
	})
}

// Each peer is judged by itself; one that has no tunnels any more is forgotten.
func TestPathsOfSeveralPeers(t *testing.T) {
	dead := netip.MustParseAddrPort("127.0.30.1:2152")
	toDead := func(t *gtpu.Tunnel) { t.PeerAddr = dead.Addr() }
	supervise(t, gtpu.Config{EchoInterval: time.Minute}, func(t *testing.T, r *supervised) {
		r.Carry(put(tunnel(2, nil), tunnel(3, toDead)))
		for range 10 * 60 {
			r.pass(time.Second)
			for _, d := range r.written() {
				if d.addr == sgw {
					r.arrive(sgw, answerTo(d))
				}
			}
		}
		if !slices.Equal(r.failed(), []netip.Addr{dead.Addr()}) || len(r.restored()) != 0 {
			t.Errorf("failed %v, restored %v", r.failed(), r.restored())
		}
		r.Carry(put(tunnel(3, nil)))
		r.pass(time.Hour)
		for _, d := range r.written()[1:] { // the first is the End Marker
			if d.addr == dead {
				t.Error("asked a peer without tunnels")
			}
		}
	})
}

// Nobody is asked when it is switched off, nor by a node that may have been
// succeeded; and never more often than once a minute.
func TestPathsAreLeftAlone(t *testing.T) {
	supervise(t, gtpu.Config{}, func(t *testing.T, r *supervised) {
		r.Carry(put(tunnel(2, nil)))
		r.pass(time.Hour)
		r.counted(t, counts{})
	})
	supervise(t, gtpu.Config{EchoInterval: time.Minute, Holds: func() bool { return false }}, func(t *testing.T, r *supervised) {
		r.Carry(put(tunnel(2, nil)))
		r.pass(time.Hour)
		r.counted(t, counts{})
		if len(r.failed()) != 0 {
			t.Errorf("reported %v, which wasn't asked", r.failed())
		}
	})
	supervise(t, gtpu.Config{EchoInterval: time.Second}, func(t *testing.T, r *supervised) {
		r.Carry(put(tunnel(2, nil)))
		first := r.asked(t)
		r.arrive(sgw, answerTo(first))
		if gap := r.asked(t).at.Sub(first.at); gap < time.Minute {
			t.Errorf("asked again after %v", gap)
		}
	})
}

// Wireshark finds nothing wrong with what is sent to peers.
func TestPathMessagesDissected(t *testing.T) {
	var frames []gtptest.Frame
	supervise(t, gtpu.Config{EchoInterval: time.Minute, AllowedPeers: carrier, SequenceNumbers: true}, func(t *testing.T, r *supervised) {
		r.Carry(put(tunnel(2, nil)))
		add := func(out ...datagram) {
			for _, d := range out {
				frames = append(frames, gtptest.Frame{Port: 2152, Payload: d.b})
			}
		}
		add(r.asked(t))
		r.arrive(sgw, unhex(t, "3201000400000000abcd0000"))
		r.arrive(sgw, gpdu(0xdeadbeef, udp(inner(2), gateway, 53)))
		unknown := gpdu(0x1002, append([]byte{0, 9, 0, 0xc7, 1, 0, 0, 0}, udp(inner(2), gateway, 53)...))
		unknown[0] |= 0x06
		r.arrive(sgw, unknown)
		r.Carry(put(tunnel(2, func(t *gtpu.Tunnel) { t.Peer = 0x77 })))
		add(r.written()...)
	})
	if len(frames) != 5 {
		t.Fatalf("%d messages, want 5", len(frames))
	}
	gtptest.Dissect(t, frames)
}
