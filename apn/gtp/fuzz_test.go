package gtp

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

// FuzzParse: whatever comes, Parse doesn't panic, keeps to its word about nil
// messages, and what is refused gets an answer that can be read.
func FuzzParse(f *testing.F) {
	for _, b := range samples(f) {
		f.Add(b)
	}
	s := gtptest.New()
	for _, b := range [][]byte{
		s.Modify(1, false), s.Request(message.MsgTypeUpdatePDNConnectionSetRequest, 0, s.ConnectionSet(0, 1)),
		{0x32, 1, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0},
		{0x40, 3, 0, 4, 0, 0, 1, 0},
		{},
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("%v is no *Error", err)
		}
		if e != nil && e.Reason == ReasonPanic {
			t.Fatal("the parser panicked")
		}
		if (m == nil) != (e != nil && e.Cause == 0) {
			t.Fatalf("message %T with error %v", m, err)
		}
		if m != nil && m.Head().Version == 1 {
			return // FuzzParseV1
		}
		switch m := m.(type) {
		case nil, *VersionNotSupported, *EchoRequest, *EchoResponse, *DeleteBearerResponse, *UpdateBearerResponse:
		case *OtherVersion:
			if len(m.Marshal()) != 8 {
				t.Fatal("answer to another version")
			}
		case *CreateSessionRequest:
			readable(t, (&CreateSessionResponse{
				TEID: m.Sender.TEID, Seq: m.Seq, Cause: CauseAccepted, PeerType: m.Sender.InterfaceType, ControlTEID: 1, UserTEID: 2,
				Outer: m.Sender.Addr, PAA: PAA{IPv4: netip.AddrFrom4([4]byte{10, 90, 0, 2})}, PCO: m.PCO.Answer(PCOValues{MTU: 1400}), Bearer: m.Bearer, Surplus: m.Surplus,
			}).Marshal())
		case *ChangeNotificationRequest:
			readable(t, (&ChangeNotificationResponse{Version: 2, TEID: 1, Seq: m.Seq, Cause: CauseAccepted, IMSI: m.IMSI, MEI: m.MEI}).Marshal())
		case *ModifyBearerCommand:
			readable(t, (&UpdateBearerRequest{TEID: 1, Seq: m.Seq, AMBRUpKbps: m.AMBRUpKbps, AMBRDownKbps: m.AMBRDownKbps, Bearer: m.Bearer}).Marshal())
		case *DeletePDNConnectionSetRequest:
			for _, set := range m.CSIDs {
				if len(set) != 8 && len(set) != 20 {
					t.Fatalf("connection set % x", set)
				}
			}
		default:
			if e == nil {
				e = &Error{Cause: CauseServiceNotSupported}
			}
			if r := (Refusal{TEID: SenderTEID(m), Reason: e}).Marshal(m); m.Head().Type != TypeEchoRequest {
				readable(t, r)
			}
		}
	})
}

func readable(t *testing.T, b []byte) {
	t.Helper()
	if len(b) < 12 || int(binary.BigEndian.Uint16(b[2:]))+4 != len(b) {
		t.Fatalf("length field and message disagree: % x", b)
	}
	if _, err := splitElements(b[12:]); err != nil {
		t.Fatalf("%v in % x", err, b)
	}
}

// FuzzPCO: whatever a terminal asks for, the answer can be read and fits into its
// element.
func FuzzPCO(f *testing.F) {
	f.Add(everything)
	f.Add(gtptest.PCO().Payload)
	f.Add([]byte{0x80, 0, 0x41, 0, 3, 1, 2, 3, 0, 0x0d, 0})
	f.Add([]byte{0x80, 0xc0, 0x23, 6, 1, 0, 0, 6, 0, 0})
	f.Add([]byte{0x80, 0xc2, 0x23, 6, 1, 1, 0, 6, 1, 2, 0xc2, 0x23, 6, 2, 1, 0, 6, 1, 2})
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, v []byte) {
		p := parsePCO(ie.ProtocolConfigurationOptions, v)
		if c := p.CHAP; c != nil && (len(c.Challenge) == 0 || len(c.Response) == 0) {
			t.Fatalf("%+v", c)
		}
		o := p.Answer(PCOValues{DNS: []netip.Addr{netip.MustParseAddr("10.90.0.1"), netip.MustParseAddr("2001:db8::1")}, MTU: 1400}).octets()
		if len(o) > maxPCO {
			t.Fatalf("%d octets", len(o))
		}
		if o == nil {
			return
		}
		read := 1
		for _, content := range containers(o[1:]).all {
			read += 3 + len(content)
		}
		if read != len(o) {
			t.Fatalf("can't be read: % x", o)
		}
	})
}

// FuzzParseUser: nothing panics, and a payload lies within the datagram.
func FuzzParseUser(f *testing.F) {
	f.Add([]byte{0x34, 255, 0, 13, 0, 0, 0, 1, 0, 0, 0, 0x40, 1, 0, 0, 0x85, 1, 0, 0x3f, 0, 9})
	f.Add(AppendUserEchoResponse(nil, 1))
	f.Add([]byte{0x30, 26, 0, 12, 0, 0, 0, 0, 16, 1, 2, 3, 4, 133, 0, 4, 127, 0, 10, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseUser(b)
		if err != nil {
			return
		}
		if len(h.Payload) > len(b)-UserHeaderLen {
			t.Fatal("payload beyond the datagram")
		}
		if teid, addr, err := ParseUserErrorIndication(h.Payload); err == nil {
			again, err := ParseUser(AppendUserErrorIndication(nil, 1, teid, addr))
			if err != nil {
				t.Fatal(err)
			}
			if teid2, addr2, err := ParseUserErrorIndication(again.Payload); err != nil || teid2 != teid || addr2 != addr {
				t.Fatalf("round trip: %x %s, %x %s, %v", teid, addr, teid2, addr2, err)
			}
		}
	})
}
