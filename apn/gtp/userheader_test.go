package gtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

func TestParseUser(t *testing.T) {
	gtptest.ShowsIn(t, "29.281/header", "version-protocol-type-length", "sequence-number", "n-pdu-number", "datagram-shorter-than-its-header-or-its-length")
	gtptest.ShowsIn(t, "29.281/extension-headers", "chain-of-extension-headers", "broken-chain", "pdu-session-container")
	for _, c := range []struct {
		name string
		in   []byte
		want UserHeader
		err  error
	}{
		{"G-PDU", []byte{0x30, 255, 0, 2, 1, 2, 3, 4, 9, 9}, UserHeader{Type: 255, TEID: 0x01020304, Payload: []byte{9, 9}}, nil},
		{"with sequence number", []byte{0x32, 255, 0, 6, 0, 0, 0, 1, 0x12, 0x34, 0, 0, 9, 9}, UserHeader{Type: 255, TEID: 1, Seq: 0x1234, HasSeq: true, Payload: []byte{9, 9}}, nil},
		{"with N-PDU number", []byte{0x31, 255, 0, 5, 0, 0, 0, 1, 0x12, 0x34, 7, 0x85, 9}, UserHeader{Type: 255, TEID: 1, Payload: []byte{9}}, nil},
		{"PDU Session Container", []byte{0x34, 255, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0x10, 0x05, 0, 9}, UserHeader{Type: 255, TEID: 1, QFI: 5, HasQFI: true, Payload: []byte{9}}, nil},
		{"extension that may be ignored", []byte{0x34, 255, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0x40, 1, 0, 0, 0, 9}, UserHeader{Type: 255, TEID: 1, Payload: []byte{9}}, nil},
		{"two extensions", []byte{0x34, 255, 0, 13, 0, 0, 0, 1, 0, 0, 0, 0x40, 1, 0, 0, 0x85, 1, 0, 0x3f, 0, 9}, UserHeader{Type: 255, TEID: 1, QFI: 0x3f, HasQFI: true, Payload: []byte{9}}, nil},
		{"extension that must be understood", []byte{0x36, 255, 0, 8, 0, 0, 0, 1, 0, 7, 0, 0xc0, 1, 0, 0, 0}, UserHeader{Type: 255, TEID: 1, Seq: 7, HasSeq: true}, ErrUserNotComprehended},
		{"sequence number, N-PDU number and extension", []byte{0x37, 255, 0, 9, 0, 0, 0, 1, 0x12, 0x34, 7, 0x85, 1, 0x10, 0x05, 0, 9}, UserHeader{Type: 255, TEID: 1, Seq: 0x1234, HasSeq: true, QFI: 5, HasQFI: true, Payload: []byte{9}}, nil},
		{"extension without its flag", []byte{0x32, 255, 0, 5, 0, 0, 0, 1, 0x12, 0x34, 7, 0xc0, 9}, UserHeader{Type: 255, TEID: 1, Seq: 0x1234, HasSeq: true, Payload: []byte{9}}, nil},
		{"extension of eight octets", []byte{0x34, 255, 0, 13, 0, 0, 0, 1, 0, 0, 0, 0x85, 2, 0x10, 0x45, 0, 0, 0, 0, 0, 9}, UserHeader{Type: 255, TEID: 1, QFI: 5, HasQFI: true, Payload: []byte{9}}, nil},
		{"End Marker with extension", []byte{0x34, 254, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 9, 0}, UserHeader{Type: 254, TEID: 1, QFI: 9, HasQFI: true}, nil},
		{"spare bit set", []byte{0x38, 255, 0, 1, 0, 0, 0, 1, 9}, UserHeader{Type: 255, TEID: 1, Payload: []byte{9}}, nil},
		{"empty G-PDU", []byte{0x30, 255, 0, 0, 0, 0, 0, 1}, UserHeader{Type: 255, TEID: 1}, nil},
		{"extension of length 0", []byte{0x34, 255, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0x40, 0, 0, 0, 0}, UserHeader{}, ErrUserExtension},
		{"extension beyond the end", []byte{0x34, 255, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0x40, 2, 0, 0, 0}, UserHeader{}, ErrUserExtension},
		{"extension missing", []byte{0x34, 255, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0x40}, UserHeader{}, ErrUserExtension},
		{"options missing", []byte{0x32, 255, 0, 0, 0, 0, 0, 1}, UserHeader{}, ErrUserShort},
		{"padding after the end", []byte{0x30, 255, 0, 1, 0, 0, 0, 1, 9, 0, 0}, UserHeader{Type: 255, TEID: 1, Payload: []byte{9}}, nil},
		{"longer than it is", []byte{0x30, 255, 0, 2, 0, 0, 0, 1, 9}, UserHeader{}, ErrUserLength},
		{"version 2", []byte{0x50, 255, 0, 0, 0, 0, 0, 1}, UserHeader{}, ErrUserVersion},
		{"GTP prime", []byte{0x20, 255, 0, 0, 0, 0, 0, 1}, UserHeader{}, ErrUserVersion},
		{"nothing", nil, UserHeader{}, ErrUserShort},
	} {
		h, err := ParseUser(c.in)
		if !errors.Is(err, c.err) || h.Type != c.want.Type || h.TEID != c.want.TEID || h.Seq != c.want.Seq || h.HasSeq != c.want.HasSeq ||
			h.QFI != c.want.QFI || h.HasQFI != c.want.HasQFI || !bytes.Equal(h.Payload, c.want.Payload) {
			t.Errorf("%s: %+v, %v; want %+v, %v", c.name, h, err, c.want, c.err)
		}
		for n := range len(c.in) {
			if h, err := ParseUser(c.in[:n:n]); err == nil && n < 8+int(c.in[3]) {
				t.Errorf("%s cut to %d is taken for whole: %+v", c.name, n, h)
			}
		}
	}
}

func TestUserMessages(t *testing.T) {
	gtptest.ShowsIn(t, "29.281/echo-response", "recovery")
	gtptest.ShowsIn(t, "29.281/supported-extension-headers-notification", "extension-header-type-list")
	gtptest.ShowsIn(t, "29.281/error-indication", "tunnel-endpoint-identifier-data-i", "gtp-u-peer-address")
	gtptest.ShowsIn(t, "29.281/error-indication-received", "tunnel-endpoint-identifier-data-i", "gtp-u-peer-address", "private-extension", "mandatory-element-missing")
	v4, v6 := netip.MustParseAddr("127.0.10.1"), netip.MustParseAddr("2001:db8::1")
	for _, c := range []struct {
		name string
		b    []byte
		typ  uint8
		teid uint32
		seq  uint16
		body []byte
	}{
		{"echo request", AppendUserEchoRequest(nil, 7), UserEchoRequest, 0, 7, nil},
		{"echo response", AppendUserEchoResponse(nil, 7), UserEchoResponse, 0, 7, []byte{14, 0}},
		{"supported extension headers", AppendUserExtensionHeaders(nil, 7), UserExtensionHeaders, 0, 7, []byte{141, 1, 0x85}},
		{"end marker", AppendUserEndMarker(nil, 9), UserEndMarker, 9, 0, nil},
		{"error indication", AppendUserErrorIndication(nil, 7, 0x01020304, v4), UserErrorIndication, 0, 7, []byte{16, 1, 2, 3, 4, 133, 0, 4, 127, 0, 10, 1}},
	} {
		h, err := ParseUser(c.b)
		if err != nil || h.Type != c.typ || h.TEID != c.teid || h.Seq != c.seq || !bytes.Equal(h.Payload, c.body) {
			t.Errorf("%s: %+v, %v", c.name, h, err)
		}
	}
	for _, a := range []netip.Addr{v4, v6} {
		h, err := ParseUser(AppendUserErrorIndication([]byte("before")[:0], 1, 0xfffffffe, a))
		if err != nil {
			t.Fatal(err)
		}
		teid, addr, err := ParseUserErrorIndication(h.Payload)
		if err != nil || teid != 0xfffffffe || addr != a {
			t.Errorf("%s: %x %s %v", a, teid, addr, err)
		}
		for n := range h.Payload {
			if _, _, err := ParseUserErrorIndication(h.Payload[:n]); !errors.Is(err, ErrUserElement) {
				t.Errorf("error indication cut to %d: %v", n, err)
			}
		}
	}
	// First of repeated counts; what isn't needed is passed over.
	teid, addr, err := ParseUserErrorIndication([]byte{14, 3, 16, 0, 0, 0, 1, 16, 0, 0, 0, 2, 255, 0, 1, 9, 133, 0, 4, 1, 2, 3, 4, 133, 0, 4, 5, 6, 7, 8})
	if err != nil || teid != 1 || addr != netip.MustParseAddr("1.2.3.4") {
		t.Errorf("%d %s %v", teid, addr, err)
	}
	b := make([]byte, UserHeaderLen+3)
	PutUserGPDU(b, 5, 3)
	if h, err := ParseUser(b); err != nil || h.Type != UserGPDU || h.TEID != 5 || len(h.Payload) != 3 {
		t.Errorf("%+v %v", h, err)
	}
}

func TestParseUserDoesNotAllocate(t *testing.T) {
	b := []byte{0x34, 255, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0x10, 0x05, 0, 9}
	bad := []byte{0x30, 255, 0, 2, 0, 0, 0, 1, 9}
	if n := testing.AllocsPerRun(100, func() {
		_, _ = ParseUser(b)
		_, _ = ParseUser(bad)
		PutUserGPDUSequenced(b, 1, 2, 5)
		PutUserGPDU(b, 1, 9)
		b[0], b[1], b[3], b[11] = 0x34, 255, 9, pduSessionContainerType
	}); n != 0 {
		t.Errorf("%.0f allocations", n)
	}
}

// A G-PDU's header with a sequence number is what ParseUser reads.
func TestPutUserGPDUSequenced(t *testing.T) {
	gtptest.ShowsIn(t, "29.281/header", "sequence-number-sent")
	b := append(make([]byte, UserHeaderLen+4), 1, 2, 3)
	PutUserGPDUSequenced(b, 0x11223344, 0xfffe, 3)
	if want := []byte{0x32, 255, 0, 7, 0x11, 0x22, 0x33, 0x44, 0xff, 0xfe, 0, 0, 1, 2, 3}; !bytes.Equal(b, want) {
		t.Fatalf("got % x, want % x", b, want)
	}
	h, err := ParseUser(b)
	if err != nil || h.Type != UserGPDU || h.TEID != 0x11223344 || !h.HasSeq || h.Seq != 0xfffe || !bytes.Equal(h.Payload, b[12:]) {
		t.Errorf("read as %+v, %v", h, err)
	}
}

// Every type of extension header: bits 8 and 7 say whether an endpoint must
// understand it (TS 29.281 figure 5.2.1-2), and of those that it must we
// understand one.
func TestUserExtensionTypes(t *testing.T) {
	gtptest.ShowsIn(t, "29.281/extension-headers",
		"unknown-need-not-be-comprehended", "unknown-must-be-comprehended", "udp-port", "pdcp-pdu-number", "service-class-indicator",
		"pdu-session-container")
	for typ := range 256 {
		b := []byte{0x36, UserGPDU, 0, 9, 0, 0, 0, 1, 0, 7, 0, byte(typ), 1, 0, 3, 0, 9}
		h, err := ParseUser(b)
		switch {
		case typ == 0: // no extension: what follows is the packet
			if err != nil || len(h.Payload) != 5 {
				t.Errorf("no extension: %+v, %v", h, err)
			}
		case typ < 0x80, typ == int(pduSessionContainerType):
			if err != nil || !bytes.Equal(h.Payload, []byte{9}) || h.HasQFI != (typ == 0x85) {
				t.Errorf("type %02x: %+v, %v", typ, h, err)
			}
		default: // the answer repeats what the fixed part says
			if !errors.Is(err, ErrUserNotComprehended) || h.Seq != 7 || h.TEID != 1 || h.Payload != nil {
				t.Errorf("type %02x: %+v, %v", typ, h, err)
			}
		}
	}
}

// The longest chain that a datagram holds is read to its end, and one that is
// broken at its end is not believed.
func TestUserExtensionChain(t *testing.T) {
	gtptest.ShowsIn(t, "29.281/extension-headers", "chain-of-extension-headers", "broken-chain")
	b := make([]byte, 65535)
	b[0], b[1], b[11] = 0x34, UserGPDU, 0x40
	b = b[:12+4*16000+1]
	for at := 12; at < len(b)-1; at += 4 {
		b[at], b[at+3] = 1, 0x40
	}
	b[len(b)-2] = 0
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-UserHeaderLen))
	if h, err := ParseUser(b); err != nil || len(h.Payload) != 1 {
		t.Errorf("%d octets of payload, %v", len(h.Payload), err)
	}
	b[len(b)-2] = 0x40
	if _, err := ParseUser(b); !errors.Is(err, ErrUserExtension) {
		t.Errorf("a chain without end: %v", err)
	}
}
