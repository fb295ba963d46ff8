package gtpu_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/apn/gtpu"
)

func limited(up, down uint32) func(*gtpu.Tunnel) {
	return func(t *gtpu.Tunnel) { dual(t); t.UpKbps, t.DownKbps = up, down }
}

// Each direction of each session keeps its own maximum bit rate, both families
// together.
func TestMaximumBitRate(t *testing.T) {
	up := [][]byte{
		gpdu(0x1002, ip(inner(2), gateway, 6, make([]byte, 980)...)),
		gpdu(0x1002, ip6(inner6(2), gateway6, 6, make([]byte, 960)...)),
	}
	down := [][]byte{
		ip(gateway, inner(2), 6, make([]byte, 980)...),
		ip6(gateway6, inner6(2), 6, make([]byte, 960)...),
	}
	bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
		r.Carry(put(tunnel(2, limited(80, 160)), tunnel(3, nil)))
		r.pass(3 * time.Second)
		r.before = r.Counters()
		// Ten full packets go at once, and with their keeping 14 of these wait.
		for i := range 30 {
			r.arrive(sgw, up[i%2])
		}
		r.counted(t, counts{"uplink-packets": 15, "uplink-bytes": 15_000, "ambr-up": 1})
		for i := range 30 {
			if err := r.Send(down[i%2]); (err == nil) != (i < 29) || err != nil && !errors.Is(err, gtpu.ErrRate) {
				t.Errorf("packet %d: %v", i, err)
			}
		}
		r.counted(t, counts{"downlink-packets": 15, "downlink-bytes": 15_000, "ambr-down": 1})
		// 80 kbit/s are ten of these packets a second, 160 twenty.
		r.pass(time.Second / 2)
		r.counted(t, counts{"uplink-packets": 5, "uplink-bytes": 5_000, "downlink-packets": 10, "downlink-bytes": 10_000})
		n, err := r.SendBatch(slices.Repeat([][]byte{down[0]}, 12))
		if n != 10 || !errors.Is(err, gtpu.ErrRate) {
			t.Errorf("SendBatch = %d, %v", n, err)
		}
		r.pass(2 * time.Second)
		r.counted(t, counts{
			"uplink-packets": 9, "uplink-bytes": 9_000,
			"downlink-packets": 14, "downlink-bytes": 14_000, "ambr-down": 2,
		})
		// What isn't carried takes nothing from the rate; others have theirs.
		for range 10 {
			r.arrive(sgw, gpdu(0x1002, ip(inner(3), gateway, 6, make([]byte, 980)...)))
			r.arrive(sgw, gpdu(0x1003, ip(inner(3), gateway, 6, make([]byte, 980)...)))
		}
		r.arrive(sgw, up[0])
		r.counted(t, counts{"inner-source": 10, "uplink-packets": 11, "uplink-bytes": 11_000})
	})
}

// A session doesn't get a new burst by whatever changes its tunnel.
func TestMaximumBitRateIsKept(t *testing.T) {
	bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
		pkt := ip(inner(2), gateway, 6, make([]byte, 980)...)
		was := tunnel(2, limited(80, 80))
		r.Carry(put(was))
		burst := func(teid uint32, want int) {
			t.Helper()
			before := len(r.uplinked())
			for range 20 {
				r.arrive(sgw, gpdu(teid, pkt))
			}
			if n := len(r.uplinked()) - before; n != want {
				t.Errorf("%d packets came up, want %d", n, want)
			}
		}
		burst(0x1002, 15)
		for _, next := range []gtpu.Tunnel{
			tunnel(2, limited(100, 100)), // another rate
			tunnel(2, func(t *gtpu.Tunnel) { limited(100, 100)(t); t.Peer = 0x99 }),          // handover
			tunnel(2, func(t *gtpu.Tunnel) { limited(100, 100)(t); t.Local = 0x9002 }),       // attached anew
			tunnel(2, func(t *gtpu.Tunnel) { limited(1, 100)(t); t.Suspended = true }),       // hardly any
			tunnel(2, func(t *gtpu.Tunnel) { limited(100, 100)(t); t.Active = false }),       // and back
			tunnel(2, func(t *gtpu.Tunnel) { limited(100, 100)(t); t.Prefix6 = prefix6(9) }), // another /64
		} {
			r.Carry(gtpu.Diff([]gtpu.Tunnel{was}, []gtpu.Tunnel{next}))
			was = next
			burst(next.Local, 0)
		}
		r.pass(time.Hour)
		burst(was.Local, 15)
		// No limit any more.
		r.Carry(put(tunnel(2, nil)))
		r.pass(2 * time.Second)
		burst(0x1002, 20)
	})
}

// Carried packets are what a session's activity is told by, either way.
func TestLastActive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		p := gtpu.New(gtpu.Config{Uplink: func([]byte) {}})
		at := func(want time.Time) {
			t.Helper()
			got, ok := p.LastActive(2)
			if late := want.Sub(got); !ok || late < 0 || late > time.Second {
				t.Errorf("last active %v, %v; want %v", got, ok, want)
			}
		}
		arrive := func(b []byte) {
			n.in <- datagram{addr: sgw, b: b}
			synctest.Wait()
		}
		p.Carry(put(tunnel(2, dual)))
		if _, ok := p.LastActive(2); ok {
			t.Error("a node that doesn't serve tells an activity")
		}
		time.Sleep(time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Serve(ctx, n) }()
		synctest.Wait()
		at(time.Now()) // began to serve
		if _, ok := p.LastActive(3); ok {
			t.Error("a session without a tunnel has an activity")
		}
		began := time.Now()
		time.Sleep(10 * time.Minute)
		at(began)
		arrive(gpdu(0x1002, udp(inner(3), gateway, 53))) // dropped
		arrive(solicitRouter(2))
		if err := p.Send(udp(gateway, inner(4), 53)); err == nil {
			t.Error("sent to nobody")
		}
		at(began)
		for _, carry := range []func(){
			func() { arrive(gpdu(0x1002, udp(inner(2), gateway, 53))) },
			func() { arrive(gpdu(0x1002, udp6(inner6(2), gateway6, 53))) },
			func() { p.Send(udp(gateway, inner(2), 53)) },
			func() { p.SendBatch([][]byte{udp6(gateway6, inner6(2), 53)}) },
		} {
			carry()
			now := time.Now()
			at(now)
			time.Sleep(10 * time.Minute)
			at(now)
		}
		// Neither the gateway's own packets nor a change of the tunnel are activity.
		active := time.Now().Add(-10 * time.Minute)
		p.Carry(put(tunnel(2, limited(5, 5))))
		time.Sleep(24 * time.Hour)
		if p.Counters()["router-advertisements-sent"] == 0 {
			t.Error("nothing was advertised")
		}
		at(active)
		// While another path carried the session nobody looked; from then on it counts.
		p.Carry(put(tunnel(2, func(t *gtpu.Tunnel) { t.Active = false })))
		time.Sleep(time.Hour)
		at(active)
		p.Carry(put(tunnel(2, nil)))
		at(time.Now())
		cancel()
		<-done
		if _, ok := p.LastActive(2); ok {
			t.Error("a node that serves no more tells an activity")
		}
	})
}

// A suspended session gets nothing; that a packet of it comes up changes
// nothing. What the control plane resumes is served as before.
func TestSuspended(t *testing.T) {
	suspended := func(t *gtpu.Tunnel) { dual(t); t.Suspended = true }
	bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
		r.Carry(put(tunnel(2, suspended)))
		up := udp(inner(2), gateway, 53)
		for range 2 {
			for _, pkt := range [][]byte{udp(gateway, inner(2), 9), udp6(gateway6, inner6(2), 9)} {
				if err := r.Send(pkt); !errors.Is(err, gtpu.ErrSuspended) {
					t.Errorf("Send: %v", err)
				}
				if n, err := r.SendBatch([][]byte{pkt}); n != 0 || !errors.Is(err, gtpu.ErrSuspended) {
					t.Errorf("SendBatch: %d, %v", n, err)
				}
			}
			r.counted(t, counts{"suspended": 4})
			r.arrive(sgw, gpdu(0x1002, up))
			r.counted(t, taken(up))
		}
		if out := r.written(); len(out) != 0 {
			t.Errorf("sent %v", out)
		}
		r.Carry(put(tunnel(2, dual)))
		if err := r.Send(udp(gateway, inner(2), 9)); err != nil {
			t.Errorf("after it was resumed: %v", err)
		}
	})
}

// With sequence numbers each of the peer's tunnels counts its G-PDUs from 0.
func TestSequenceNumbers(t *testing.T) {
	gtptest.Shows(t, "29.281/g-pdu-sent", "29.281/header/sequence-number-sent")
	sequenced := func(teid uint32, seq uint16, pkt []byte) string {
		d := gpdu(teid, append([]byte{byte(seq >> 8), byte(seq), 0, 0}, pkt...))
		d[0] |= 0x02
		return string(d)
	}
	two, three := udp(gateway, inner(2), 9, 1), udp6(gateway6, inner6(3), 9, 2)
	bubble(t, gtpu.Config{SequenceNumbers: true}, func(t *testing.T, r *rig) {
		r.Carry(put(tunnel(2, nil), tunnel(3, only6)))
		sends := func(want string, pkt []byte) {
			t.Helper()
			if err := r.Send(pkt); err != nil {
				t.Fatal(err)
			}
			if out := r.written(); len(out) != 1 || string(out[0].b) != want {
				t.Errorf("sent %v, want %x", out, want)
			}
		}
		for seq := range uint16(3) {
			sends(sequenced(0x2002, seq, two), two)
			sends(sequenced(0x2003, seq, three), three)
		}
		// The record changes, and then the peer's tunnel, whose End Marker has none.
		r.Carry(put(tunnel(2, limited(0, 0))))
		sends(sequenced(0x2002, 3, two), two)
		r.Carry(put(tunnel(2, func(t *gtpu.Tunnel) { t.Peer = 0x77 })))
		one(t, r, sgw, "30fe000000002002")
		sends(sequenced(0x77, 0, two), two)
		for range 65535 {
			if err := r.Send(two); err != nil {
				t.Fatal(err)
			}
		}
		r.written()
		sends(sequenced(0x77, 0, two), two)
	})
}
