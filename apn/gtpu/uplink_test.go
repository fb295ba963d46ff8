package gtpu_test

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/apn/gtpu"
)

func put(ts ...gtpu.Tunnel) gtpu.Plan { return gtpu.Plan{Put: ts} }

type counts = map[string]uint64

func taken(pkt []byte) counts {
	return counts{"uplink-packets": 1, "uplink-bytes": uint64(len(pkt))}
}

// What a terminal may send reaches the inner network, in every shape that a
// peer may wrap it.
func TestUplinkForms(t *testing.T) {
	gtptest.Shows(t,
		"29.281/header/version-protocol-type-length",
		"29.281/header/sequence-number",
		"29.281/header/n-pdu-number",
		"29.281/extension-headers/chain-of-extension-headers",
		"29.281/extension-headers/unknown-need-not-be-comprehended",
		"29.281/extension-headers/udp-port",
		"29.281/extension-headers/service-class-indicator",
		"29.281/extension-headers/pdu-session-container",
		"29.281/g-pdu",
	)
	pkt := udp(inner(2), gateway, 5684, 1, 2, 3)
	recorded := slices.Insert(bytes.Clone(pkt), 20, 1, 7, 3, 4) // a route to be recorded
	recorded[0], recorded[3] = 0x46, recorded[3]+4
	optional := func(flags byte, opt ...byte) []byte {
		d := gpdu(0x1002, append(opt, pkt...))
		d[0] |= flags
		return d
	}
	for _, c := range []struct {
		name string
		d    []byte
	}{
		{"plain", gpdu(0x1002, pkt)},
		{"sequence number", optional(0x02, 0x12, 0x34, 0, 0)},
		{"N-PDU number", optional(0x01, 0, 0, 9, 0)},
		{"next extension without its flag", optional(0x02, 0, 1, 0, 0xc0)},
		{"PDU Session Container", optional(0x04, 0, 0, 0, 0x85, 1, 0x10, 9, 0)},
		{"unknown extension that needn't be understood", optional(0x04, 0, 0, 0, 0x7f, 2, 0, 0, 0, 0, 0, 0, 0)},
		{"UDP Port", optional(0x04, 0, 0, 0, 0x40, 1, 0x08, 0x68, 0)},
		{"Service Class Indicator", optional(0x04, 0, 0, 0, 0x20, 1, 5, 0, 0)},
		{"two extensions", optional(0x06, 0, 7, 0, 0x40, 1, 8, 0x68, 0x85, 1, 0x10, 9, 0)},
		{"octets after the G-PDU", append(gpdu(0x1002, pkt), 1, 2, 3, 4)},
		{"IP options", gpdu(0x1002, recorded)},
		{"octets after the packet", gpdu(0x1002, append(slices.Clone(pkt), 0, 0))},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
				r.Carry(put(tunnel(2, nil)))
				r.arrive(sgw, c.d)
				want := pkt
				if c.name == "IP options" {
					want = recorded
				}
				if len(r.uplinked()) != 1 || !bytes.Equal(r.uplinked()[0], want) {
					t.Errorf("uplink got %x, want %x", r.uplinked(), want)
				}
				r.counted(t, taken(want))
			})
		})
	}
}

// Each thing that isn't let through counts under its own name, and nothing is
// sent for it.
func TestUplinkDrops(t *testing.T) {
	gtptest.Shows(t,
		"29.281/header/version-protocol-type-length",
		"29.281/header/datagram-shorter-than-its-header-or-its-length",
		"29.281/extension-headers/broken-chain",
		"29.281/g-pdu/with-teid-0",
	)
	me, gw := inner(2), gateway
	in := func(pkt []byte) []byte { return gpdu(0x1002, pkt) }
	ext := func(chain ...byte) []byte {
		d := gpdu(0x1002, chain)
		d[0] |= 0x04
		return d
	}
	badLen := udp(me, gw, 53)
	badLen[3]++
	badIHL := udp(me, gw, 53)
	badIHL[0] = 0x44
	later := udp(me, gw, 2152)
	later[7] = 100 // a later fragment: no ports to look at
	options := func(o ...byte) []byte {
		pkt := udp(me, gw, 53)
		pkt[0] += byte(len(o) / 4)
		pkt[3] += byte(len(o))
		return slices.Insert(pkt, 20, o...)
	}
	gtpBehind := options(7, 7, 4, 0, 0, 0, 0, 0)
	gtpBehind[30], gtpBehind[31] = 0x08, 0x68 // 2152
	first := udp(me, gw, 2152)
	first[6] = 0x20 // more fragments
	tiny := ip(me, gw, 17, 0x30, 0x39, 0x08, 0x68)
	tiny[6] = 0x20
	for _, c := range []struct {
		name   string
		from   netip.AddrPort
		d      []byte
		reason string
	}{
		{"empty", sgw, nil, "short"},
		{"seven octets", sgw, gpdu(0x1002, nil)[:7], "short"},
		{"version 0", sgw, []byte{0x10, 255, 0, 0, 0, 0, 0x10, 2}, "version"},
		{"version 2", sgw, []byte{0x50, 255, 0, 0, 0, 0, 0x10, 2}, "version"},
		{"GTP prime", sgw, []byte{0x20, 255, 0, 0, 0, 0, 0x10, 2}, "version"},
		{"cut", sgw, in(udp(me, gw, 53))[:30], "length"},
		{"flag without room", sgw, []byte{0x34, 255, 0, 3, 0, 0, 0x10, 2, 0, 0, 0}, "short"},
		{"extension of length 0", sgw, ext(0, 0, 0, 0x85, 0, 0, 0, 0), "extension-malformed"},
		{"extension cut", sgw, ext(0, 0, 0, 0x85, 2, 0, 0, 0), "extension-malformed"},
		{"extension chain without end", sgw, ext(0, 0, 0, 0x85, 1, 0, 0, 0x85), "extension-malformed"},
		{"unknown message", sgw, []byte{0x30, 77, 0, 0, 0, 0, 0x10, 2}, "message-type"},
		{"stranger", stranger, in(udp(me, gw, 53)), "peer-not-allowed"},
		{"stranger without a tunnel", stranger, gpdu(0x4444, udp(me, gw, 53)), "peer-not-allowed"},
		{"TEID 0", sgw, gpdu(0, udp(me, gw, 53)), "unknown-teid"},
		{"no packet", sgw, in(nil), "inner-malformed"},
		{"IPv6 in a tunnel without", sgw, in(append([]byte{0x60}, make([]byte, 39)...)), "inner-source"},
		{"header cut", sgw, in(udp(me, gw, 53)[:19]), "inner-malformed"},
		{"header length under five", sgw, in(badIHL), "inner-malformed"},
		{"length beyond the payload", sgw, in(badLen), "inner-malformed"},
		{"UDP cut", sgw, in(ip(me, gw, 17, 0, 1, 2)), "inner-malformed"},
		{"loose source route", sgw, in(options(131, 7, 4, 10, 90, 0, 3, 0)), "inner-source-route"},
		{"strict source route", sgw, in(options(1, 137, 7, 4, 10, 90, 0, 3)), "inner-source-route"},
		{"option of length 0", sgw, in(options(7, 0, 0, 0)), "inner-malformed"},
		{"option of length 1", sgw, in(options(7, 1, 0, 0)), "inner-malformed"},
		{"option longer than the header", sgw, in(options(1, 7, 4, 4)), "inner-malformed"},
		{"option without a length", sgw, in(options(1, 1, 1, 7)), "inner-malformed"},
		{"GTP-U behind options", sgw, in(gtpBehind), "gtp-in-gtp"},
		{"GTP-U in a first fragment", sgw, in(first), "gtp-in-gtp"},
		{"UDP header in pieces", sgw, in(tiny), "inner-malformed"},
		{"broadcast", sgw, in(udp(me, netip.MustParseAddr("255.255.255.255"), 67)), "multicast"},
		{"multicast", sgw, in(udp(me, netip.MustParseAddr("224.0.0.251"), 5353)), "multicast"},
		{"source of another", sgw, in(udp(inner(3), gw, 53)), "inner-source"},
		{"source of the gateway", sgw, in(udp(gw, gw, 53)), "inner-source"},
		{"to another terminal", sgw, in(udp(me, inner(3), 53)), "phone-to-phone"},
		{"to itself", sgw, in(udp(me, me, 53)), "phone-to-phone"},
		{"to the outside of the gateway", sgw, in(ip(me, local.Addr(), 6, make([]byte, 20)...)), "inner-to-gateway-outer"},
		{"GTP-C inside", sgw, in(udp(me, gw, 2123)), "gtp-in-gtp"},
		{"GTP-U inside", sgw, in(udp(me, gw, 2152)), "gtp-in-gtp"},
		{"PFCP inside", sgw, in(udp(me, gw, 8805)), "gtp-in-gtp"},
		{"too long", sgw, gpdu(0x1002, make([]byte, 9300)), "oversized"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
				r.Carry(put(tunnel(2, nil), tunnel(3, nil)))
				r.arrive(c.from, c.d)
				r.counted(t, counts{c.reason: 1})
				if len(r.uplinked()) != 0 || len(r.written()) != 0 {
					t.Error("something came through, or was answered")
				}
				// The plane goes on.
				good := udp(me, gw, 53)
				r.arrive(sgw, in(good))
				r.arrive(sgw, in(later))
				r.counted(t, counts{"uplink-packets": 2, "uplink-bytes": uint64(2 * len(good))})
			})
		})
	}
}

// At handover uplink packets come from the new peer before the control plane
// says so; that takes an allow-list.
func TestUplinkFromAllowedPeer(t *testing.T) {
	cfg := gtpu.Config{AllowedPeers: []netip.Prefix{netip.MustParsePrefix("127.0.20.0/24")}}
	bubble(t, cfg, func(t *testing.T, r *rig) {
		r.Carry(put(tunnel(2, nil)))
		pkt := udp(inner(2), gateway, 443)
		r.arrive(netip.MustParseAddrPort("127.0.20.9:40000"), gpdu(0x1002, pkt))
		r.counted(t, taken(pkt))
		// Downlink stays with the peer of the record.
		if err := r.Send(udp(gateway, inner(2), 9)); err != nil {
			t.Fatal(err)
		}
		if out := r.written(); len(out) != 1 || out[0].addr != sgw {
			t.Errorf("downlink went to %v", out)
		}
	})
}

// Every truncation of a good datagram is survived, and none gets through whole.
func TestUplinkTruncated(t *testing.T) {
	bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
		r.Carry(put(tunnel(2, nil)))
		d := gpdu(0x1002, append([]byte{0, 0, 0, 0x85, 1, 0x10, 9, 0}, udp(inner(2), gateway, 443, 1, 2, 3)...))
		d[0] |= 0x04
		for n := range d {
			r.arrive(sgw, d[:n])
		}
		if len(r.uplinked()) != 0 {
			t.Errorf("truncated datagrams came through: %x", r.uplinked())
		}
		r.arrive(sgw, d)
		if len(r.uplinked()) != 1 {
			t.Error("the whole one didn't come through")
		}
	})
}

// A terminal heard through the carrier while the fallback is the active path
// is reported, once an interval; not for packets that were in flight when the
// paths were switched.
func TestUplinkOnInactivePath(t *testing.T) {
	idle := func(t *gtpu.Tunnel) { t.Active = false }
	cfg := gtpu.Config{ReportInterval: 2 * time.Second}
	bubble(t, cfg, func(t *testing.T, r *rig) {
		d := gpdu(0x1002, udp(inner(2), gateway, 443))
		r.Carry(put(tunnel(2, nil)))
		r.arrive(sgw, d)
		r.Carry(put(tunnel(2, idle)))
		r.arrive(sgw, d)
		if len(r.paths) != 0 {
			t.Fatal("reported at once after the switch away")
		}
		time.Sleep(2 * time.Second) // the bubble's time
		for range 10 {
			r.arrive(sgw, d)
		}
		if !slices.Equal(r.paths, []uint64{2}) {
			t.Fatalf("reports: %v, want one", r.paths)
		}
		// A refresh of the record isn't news.
		r.Carry(put(tunnel(2, idle)))
		r.arrive(sgw, d)
		time.Sleep(2 * time.Second)
		r.arrive(sgw, d)
		r.arrive(sgw, d)
		if !slices.Equal(r.paths, []uint64{2, 2}) {
			t.Fatalf("reports: %v, want a second after the interval", r.paths)
		}
		r.Carry(put(tunnel(2, nil)))
		time.Sleep(2 * time.Second)
		r.arrive(sgw, d)
		if len(r.paths) != 2 {
			t.Error("reported though the path is active")
		}
		if len(r.uplinked()) != 16 {
			t.Errorf("%d packets came up, want all 16", len(r.uplinked()))
		}
	})
	// IPv6 has no other way: it comes through the carrier whichever path is active.
	bubble(t, cfg, func(t *testing.T, r *rig) {
		r.Carry(put(tunnel(2, func(t *gtpu.Tunnel) { dual(t); idle(t) })))
		r.arrive(sgw, gpdu(0x1002, udp6(inner6(2), gateway6, 443)))
		if len(r.paths) != 0 || len(r.uplinked()) != 1 {
			t.Errorf("reports: %v, %d packets", r.paths, len(r.uplinked()))
		}
		r.arrive(sgw, gpdu(0x1002, udp(inner(2), gateway, 443)))
		if !slices.Equal(r.paths, []uint64{2}) {
			t.Errorf("reports: %v, want one", r.paths)
		}
	})
	// A session that was on the fallback from the start (a failover, say) has
	// nothing in flight: its first packet counts.
	bubble(t, cfg, func(t *testing.T, r *rig) {
		r.Carry(put(tunnel(2, idle)))
		r.arrive(sgw, gpdu(0x1002, udp(inner(2), gateway, 443)))
		if !slices.Equal(r.paths, []uint64{2}) {
			t.Errorf("reports: %v, want one", r.paths)
		}
	})
}
