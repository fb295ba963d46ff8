package gtpu_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/sealedge/sealedge/apn/gtpu"
)

// asks answers datagrams to port 5686 with what they say and the session.
func asks(dst, pkt []byte, session uint64) []byte {
	if pkt[0] != 0x45 || pkt[9] != 17 || pkt[22] != 0x16 || pkt[23] != 0x36 {
		return nil
	}
	return append(append(dst, pkt[28:]...), byte(session))
}

// A probe is answered down the tunnel that it came up, also when that isn't the
// active path, full, or nobody's activity; the inner network doesn't see it, and the
// terminal counts as heard.
func TestProbe(t *testing.T) {
	probe, data := gpdu(0x1002, udp(inner(2), gateway, 5686, 7, 8)), udp(inner(2), gateway, 53)
	standby := func(t *gtpu.Tunnel) { limited(1, 1)(t); t.Active = false }
	bubble(t, gtpu.Config{Answer: asks}, func(t *testing.T, r *rig) {
		for _, change := range []func(*gtpu.Tunnel){nil, standby} {
			r.Carry(put(tunnel(2, change)))
			r.pass(time.Hour)
			r.before = r.Counters()
			r.written()
			active, ok := r.LastActive(2)
			r.arrive(sgw, probe)
			r.counted(t, counts{"probe-answers-sent": 1})
			out := r.written()
			if len(out) != 1 || out[0].addr != sgw || !bytes.Equal(out[0].b, gpdu(0x2002, []byte{7, 8, 2})) {
				t.Errorf("sent %v", out)
			}
			if now, still := r.LastActive(2); !ok || !still || now != active {
				t.Errorf("a probe is activity: %v, then %v", active, now)
			}
			if heard, ok := r.LastHeard(2); !ok || time.Since(heard) > time.Second {
				t.Errorf("heard at %v, %v", heard, ok)
			}
		}
		if len(r.uplinked()) != 0 || len(r.paths) != 0 {
			t.Errorf("a probe came up: %x, reported %v", r.uplinked(), r.paths)
		}
		// The bit rate is used up: probes aren't kept waiting behind data.
		for range 30 {
			r.arrive(sgw, gpdu(0x1002, ip(inner(2), gateway, 6, make([]byte, 980)...)))
		}
		r.written()
		r.arrive(sgw, probe)
		if out := r.written(); len(out) != 1 {
			t.Errorf("with a full path %d answers", len(out))
		}
	})
	bubble(t, gtpu.Config{Answer: asks}, func(t *testing.T, r *rig) {
		r.Carry(put(tunnel(2, nil)))
		r.arrive(sgw, gpdu(0x1002, data))
		r.counted(t, taken(data))
	})
}

// Who asks too often, is suspended, or asks a node that may not hold the address any
// more gets no answer, and nobody else takes one for him.
func TestProbeUnanswered(t *testing.T) {
	holds := true
	bubble(t, gtpu.Config{Answer: asks, Holds: func() bool { return holds }}, func(t *testing.T, r *rig) {
		r.Carry(put(tunnel(2, nil), tunnel(3, func(t *gtpu.Tunnel) { t.Suspended = true })))
		probe := gpdu(0x1002, udp(inner(2), gateway, 5686, 7, 8))
		for range gtpu.ProbeBurst + 5 {
			r.arrive(sgw, probe)
		}
		r.counted(t, counts{"probe-answers-sent": gtpu.ProbeBurst, "probe-limit": 5})
		r.pass(time.Second)
		for range gtpu.ProbeRate + 5 {
			r.arrive(sgw, probe)
		}
		r.counted(t, counts{"probe-answers-sent": gtpu.ProbeRate, "probe-limit": 5})
		r.arrive(sgw, gpdu(0x1003, udp(inner(3), gateway, 5686, 7, 8)))
		r.counted(t, counts{"suspended": 1})
		r.arrive(sgw, gpdu(0x1002, udp(inner(3), gateway, 5686, 7, 8)))
		r.arrive(stranger, probe)
		r.counted(t, counts{"inner-source": 1, "peer-not-allowed": 1})
		r.pass(time.Second)
		r.written()
		holds = false
		r.arrive(sgw, probe)
		r.counted(t, counts{"not-holder": 1})
		if out := r.written(); len(out) != 0 || len(r.uplinked()) != 0 {
			t.Errorf("sent %v, came up %x", out, r.uplinked())
		}
	})
}

// Data is heard, what the gateway sends isn't.
func TestLastHeard(t *testing.T) {
	bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
		at := func(want time.Time) {
			t.Helper()
			got, ok := r.LastHeard(2)
			if late := want.Sub(got); !ok || late < 0 || late > time.Second {
				t.Errorf("last heard %v, %v; want %v", got, ok, want)
			}
		}
		if _, ok := r.LastHeard(2); ok {
			t.Error("a session without a tunnel was heard")
		}
		r.pass(time.Hour)
		r.Carry(put(tunnel(2, nil)))
		made := time.Now()
		at(made)
		r.pass(time.Hour)
		if err := r.Send(udp(gateway, inner(2), 53)); err != nil {
			t.Fatal(err)
		}
		r.arrive(sgw, gpdu(0x1002, udp(inner(3), gateway, 53))) // dropped
		at(made)
		r.arrive(sgw, gpdu(0x1002, udp(inner(2), gateway, 53)))
		heard := time.Now()
		at(heard)
		r.pass(time.Hour)
		r.Carry(put(tunnel(2, func(t *gtpu.Tunnel) { t.Active = false })))
		at(heard)
		// Another path of the session, though it has the same id.
		r.Carry(gtpu.Diff([]gtpu.Tunnel{tunnel(2, nil)}, []gtpu.Tunnel{tunnel(2, func(t *gtpu.Tunnel) { t.Local = 0x9002 })}))
		at(time.Now())
		r.stop()
		if _, ok := r.LastHeard(2); ok {
			t.Error("a node that serves no more tells who was heard")
		}
	})
}
