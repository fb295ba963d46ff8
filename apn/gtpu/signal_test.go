package gtpu_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/apn/gtpu"
)

var carrier = []netip.Prefix{netip.MustParsePrefix("127.0.20.0/24")}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func one(t *testing.T, r *rig, to netip.AddrPort, want string) {
	t.Helper()
	out := r.written()
	if len(out) != 1 || out[0].addr != to || !bytes.Equal(out[0].b, unhex(t, want)) {
		t.Errorf("sent %v, want one datagram to %v: %s", out, to, want)
	}
}

// Echo is answered to where it came from, with its sequence number and a
// Recovery of 0 (TS 29.281 7.2.2); a stranger gets nothing.
func TestEcho(t *testing.T) {
	gtptest.Shows(t,
		"29.281/echo-request",
		"29.281/echo-response",
		"29.281/echo-response/recovery",
		"29.281/udp-ports/answers-go-where-the-request-came-from-the-rest-to-port-2152",
	)
	bubble(t, gtpu.Config{AllowedPeers: carrier}, func(t *testing.T, r *rig) {
		from := netip.MustParseAddrPort("127.0.20.7:40000")
		r.arrive(from, unhex(t, "3201000400000000abcd0000"))
		one(t, r, from, "3202000600000000abcd00000e00")
		r.counted(t, counts{"echo-requests-received": 1, "echo-responses-sent": 1})

		r.arrive(stranger, unhex(t, "3201000400000000abcd0000"))
		if out := r.written(); len(out) != 0 {
			t.Errorf("a stranger got %v", out)
		}
		r.counted(t, counts{"echo-requests-received": 1, "peer-not-allowed": 1})

		r.arrive(from, unhex(t, "3202000600000000abcd00000e00"))
		// An answer to nothing that was asked.
		r.counted(t, counts{"echo-response-unexpected": 1})
	})
}

// A G-PDU for no tunnel gets an Error Indication that names the TEID and our
// address, to port 2152 whatever port it came from (TS 29.281 7.3.1, 4.4.2).
func TestErrorIndicationSent(t *testing.T) {
	gtptest.Shows(t,
		"29.281/error-indication",
		"29.281/error-indication/tunnel-endpoint-identifier-data-i",
		"29.281/error-indication/gtp-u-peer-address",
		"29.281/g-pdu/of-an-unknown-tunnel",
		"29.281/udp-ports/answers-go-where-the-request-came-from-the-rest-to-port-2152",
	)
	bubble(t, gtpu.Config{AllowedPeers: carrier}, func(t *testing.T, r *rig) {
		r.arrive(netip.MustParseAddrPort("127.0.20.7:40000"), gpdu(0xdeadbeef, udp(inner(2), gateway, 53)))
		one(t, r, netip.MustParseAddrPort("127.0.20.7:2152"),
			"321a0010000000000000000010deadbeef8500047f000a01")
		r.counted(t, counts{"unknown-teid": 1, "error-indications-sent": 1})
	})
}

// Where something rewrites what is sent to the gateway, an Error Indication names the
// address that the peer knows, and not the socket's.
func TestErrorIndicationNamesTheKnownAddress(t *testing.T) {
	bubble(t, gtpu.Config{AllowedPeers: carrier, Address: netip.MustParseAddr("192.0.2.10")}, func(t *testing.T, r *rig) {
		r.arrive(sgw, gpdu(0xdeadbeef, udp(inner(2), gateway, 53)))
		one(t, r, sgw, "321a0010000000000000000010deadbeef850004c000020a")
	})
}

// A flood for unknown tunnels costs a bounded number of answers.
func TestAnswersAreLimited(t *testing.T) {
	bubble(t, gtpu.Config{AllowedPeers: carrier, Answers: 5}, func(t *testing.T, r *rig) {
		for range 20 {
			r.arrive(sgw, gpdu(0xdeadbeef, udp(inner(2), gateway, 53)))
		}
		r.counted(t, counts{"unknown-teid": 20, "error-indications-sent": 5, "answer-limit": 15})
		time.Sleep(time.Second)
		r.arrive(sgw, gpdu(0xdeadbeef, udp(inner(2), gateway, 53)))
		r.counted(t, counts{"unknown-teid": 1, "error-indications-sent": 1})
	})
}

// Whatever others have the plane answer, a peer of tunnels gets its Echo
// Responses: without them it lets go of its sessions. What is sent in its name
// costs it no other answer than its own.
func TestEchoOfAPeerIsAnswered(t *testing.T) {
	bubble(t, gtpu.Config{AllowedPeers: carrier, Answers: 5}, func(t *testing.T, r *rig) {
		r.Carry(gtpu.Diff(nil, []gtpu.Tunnel{tunnel(1, nil)}))
		echo := unhex(t, "3201000400000000abcd0000")
		other := netip.MustParseAddrPort("127.0.20.7:2152")
		for range 20 {
			r.arrive(other, unhex(t, "30ff000400000bad01020304")) // a tunnel that isn't there
			r.arrive(other, echo)
		}
		if n := len(r.written()); n != 5 {
			t.Errorf("%d answers to another", n)
		}
		for range 10 {
			r.arrive(sgw, echo)
		}
		if n := len(r.written()); n != 10 {
			t.Errorf("%d of 10 Echo Requests of a tunnel's peer were answered", n)
		}
		r.arrive(sgw, echo)
		if n := len(r.written()); n != 0 {
			t.Error("there is no limit")
		}
	})
}

// An Error Indication is believed only from the tunnel's peer, about its own
// end, and is reported once an interval.
func TestErrorIndicationReceived(t *testing.T) {
	gtptest.Shows(t,
		"29.281/error-indication-received",
		"29.281/error-indication-received/tunnel-endpoint-identifier-data-i",
		"29.281/error-indication-received/gtp-u-peer-address",
		"29.281/error-indication-received/private-extension",
		"29.281/error-indication-received/mandatory-element-missing",
	)
	const about2002 = "321a0010000000000000000010000020028500047f001401"
	cfg := gtpu.Config{AllowedPeers: carrier, ReportInterval: 2 * time.Second}
	bubble(t, cfg, func(t *testing.T, r *rig) {
		r.Carry(put(tunnel(2, nil), tunnel(3, nil)))
		for _, c := range []struct {
			name   string
			from   netip.AddrPort
			b      string
			reason string
		}{
			{"stranger", stranger, about2002, "error-indication-foreign"},
			{"another peer", netip.MustParseAddrPort("127.0.20.2:2152"), about2002, "error-indication-foreign"},
			{"another peer about itself", netip.MustParseAddrPort("127.0.20.2:2152"), "321a0010000000000000000010000020028500047f001402", "error-indication-foreign"},
			{"peer about another", sgw, "321a0010000000000000000010000020028500047f001402", "error-indication-foreign"},
			{"our TEID", sgw, "321a0010000000000000000010000010028500047f001401", "error-indication-foreign"},
			{"IPv6 address", sgw, "321a001c0000000000000000100000200285001020010db8000000000000000000000001", "error-indication-foreign"},
			{"no elements", sgw, "321a00040000000000000000", "element-malformed"},
			{"no address", sgw, "321a000900000000000000001000002002", "element-malformed"},
			{"no TEID", sgw, "321a000b00000000000000008500047f001401", "element-malformed"},
			{"address of 3 octets", sgw, "321a000f000000000000000010000020028500037f0014", "element-malformed"},
		} {
			t.Log(c.name)
			r.arrive(c.from, unhex(t, c.b))
			r.counted(t, counts{c.reason: 1})
		}
		if len(r.errors) != 0 {
			t.Fatalf("reported %v", r.errors)
		}
		// With an element of its own of the peer's, which is passed over.
		r.arrive(sgw, unhex(t, "321a00160000000000000000"+"ff0003000701"+"10000020028500047f001401"))
		for range 2 {
			r.arrive(sgw, unhex(t, about2002))
		}
		if !slices.Equal(r.errors, []uint64{2}) {
			t.Fatalf("reported %v, want session 2 once", r.errors)
		}
		r.counted(t, counts{"error-indications-received": 3})
		time.Sleep(2 * time.Second)
		r.arrive(sgw, unhex(t, about2002))
		if !slices.Equal(r.errors, []uint64{2, 2}) {
			t.Errorf("reported %v, want session 2 again", r.errors)
		}
		if len(r.written()) != 0 {
			t.Error("an Error Indication was answered")
		}
	})
}

// A peer that asks for an extension we don't understand is told which we do
// (TS 29.281 5.2.1): one that nobody knows, and the PDCP PDU Number of RNCs.
func TestExtensionNotComprehended(t *testing.T) {
	gtptest.Shows(t,
		"29.281/extension-headers/unknown-must-be-comprehended",
		"29.281/extension-headers/pdcp-pdu-number",
		"29.281/supported-extension-headers-notification",
		"29.281/supported-extension-headers-notification/extension-header-type-list",
		"29.281/supported-extension-headers-notification-received",
	)
	for _, typ := range []byte{0xc7, 0xc0, 0x84} {
		bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
			r.Carry(put(tunnel(2, nil)))
			d := gpdu(0x1002, append([]byte{0, 9, 0, typ, 1, 0, 0, 0}, udp(inner(2), gateway, 53)...))
			d[0] |= 0x06
			r.arrive(sgw, d)
			one(t, r, sgw, "321f000700000000000900008d0185")
			r.counted(t, counts{"extension-unknown": 1, "extension-notices-sent": 1})
			r.arrive(stranger, d)
			if len(r.written()) != 0 {
				t.Error("a stranger was answered")
			}
			r.counted(t, counts{"extension-unknown": 1, "peer-not-allowed": 1})
			r.arrive(sgw, unhex(t, "321f000700000000000900008d0185"))
			r.counted(t, counts{"extension-notices-received": 1})
		})
	}
}

// Every message type but those of TS 29.281 6.1 that the gateway handles is
// dropped without an answer.
func TestMessageTypes(t *testing.T) {
	gtptest.Shows(t, "29.281/message-types/every-type-handled-or-dropped")
	handled := map[byte]bool{1: true, 2: true, 26: true, 31: true, 254: true, 255: true}
	bubble(t, gtpu.Config{AllowedPeers: carrier}, func(t *testing.T, r *rig) {
		r.Carry(put(tunnel(2, nil)))
		for typ := range 256 {
			r.arrive(sgw, []byte{0x32, byte(typ), 0, 4, 0, 0, 0x10, 2, 0, 1, 0, 0})
			if n := r.Counters()["message-type"] - r.before["message-type"]; (n == 0) != handled[byte(typ)] {
				t.Errorf("type %d: message-type rose by %d", typ, n)
			}
			if out := r.written(); (len(out) > 0) != (typ == 1) || len(r.uplinked()) > 0 {
				t.Errorf("type %d: sent %v", typ, out)
			}
			r.before = r.Counters()
		}
	})
}

// Handover: the old peer gets an End Marker, the new one the packets.
func TestEndMarker(t *testing.T) {
	gtptest.Shows(t, "29.281/end-marker", "29.281/end-marker-received")
	next := netip.MustParseAddrPort("127.0.20.2:2152")
	bubble(t, gtpu.Config{}, func(t *testing.T, r *rig) {
		r.Carry(put(tunnel(2, nil)))
		r.Carry(put(tunnel(2, func(t *gtpu.Tunnel) { t.PeerAddr, t.Peer = next.Addr(), 0x77 })))
		one(t, r, sgw, "30fe000000002002")
		r.counted(t, counts{"end-markers-sent": 1})
		pkt := udp(gateway, inner(2), 9, 1)
		if err := r.Send(pkt); err != nil {
			t.Fatal(err)
		}
		if out := r.written(); len(out) != 1 || out[0].addr != next || !bytes.Equal(out[0].b, gpdu(0x77, pkt)) {
			t.Errorf("sent %v", out)
		}
		r.arrive(next, unhex(t, "30fe000000001002"))
		r.counted(t, counts{"downlink-packets": 1, "downlink-bytes": uint64(len(pkt)), "end-markers-received": 1})
	})
}

// A node that may have been succeeded sends nothing: its Error Indication would
// cost the peer a tunnel that lives elsewhere.
func TestFenced(t *testing.T) {
	cfg := gtpu.Config{AllowedPeers: carrier, Holds: func() bool { return false }}
	bubble(t, cfg, func(t *testing.T, r *rig) {
		r.arrive(sgw, gpdu(0xdeadbeef, udp(inner(2), gateway, 53)))
		r.arrive(sgw, unhex(t, "3201000400000000abcd0000"))
		down := udp(gateway, inner(2), 53)
		if err := r.Send(down); !errors.Is(err, gtpu.ErrFenced) {
			t.Errorf("Send: %v, want ErrFenced", err)
		}
		if n, err := r.SendBatch([][]byte{down, down}); n != 0 || !errors.Is(err, gtpu.ErrFenced) {
			t.Errorf("SendBatch: %d, %v, want ErrFenced", n, err)
		}
		if out := r.written(); len(out) != 0 {
			t.Errorf("sent %v", out)
		}
		r.counted(t, counts{"unknown-teid": 1, "echo-requests-received": 1, "not-holder": 5})
	})
}
