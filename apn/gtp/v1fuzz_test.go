package gtp

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv1/ie"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

// FuzzParseV1: whatever comes over GTPv1, Parse doesn't panic, keeps to its word
// about nil messages, and what is granted or refused gets an answer that can be
// read.
func FuzzParseV1(f *testing.F) {
	for _, b := range requestsV1() {
		f.Add(b)
	}
	s := gtptest.NewSGSN()
	for _, b := range [][]byte{
		s.Deleted(1, 128), withExtension(s.Create(), 0xc0, 1, 0, 0, 0), withExtension(s.Create(), 1, 1, 0xff, 0xff, 0),
		(&SupportedExtensionHeaders{}).Marshal(),
		{0x32, 3, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0},
		{0x30, 1, 0, 0, 0, 0, 0, 0},
		{0x20, 1, 0, 0, 0, 0},
		s.Request(TypeCreatePDPContextRequest, 9, ie.NewTEIDDataI(1), ie.NewNSAPI(6), ie.NewNSAPI(5), ie.NewGSNAddress("::1"), ie.NewGSNAddress("::1"), ie.NewQoSProfile(s.QoS)),
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 0 {
			b[0] = b[0]&0x1f | 1<<5
		}
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
		switch m := m.(type) {
		case nil, *VersionNotSupported, *SupportedExtensionHeaders, *EchoRequest, *EchoResponse, *DeletePDPContextResponse:
			return
		case *CreatePDPContextRequest:
			within := m.QoS.Within(1000, 1000)
			if up, down := within.MaxKbps(); up > 1000 || down > 1000 {
				t.Fatalf("% x within 1000: %d %d", m.QoS.Data, up, down)
			}
			readableV1(t, (&CreatePDPContextResponse{
				TEID: m.Control.TEID, Seq: m.Seq, Cause: CauseAccepted, Outer: m.Control.Addr, NSAPI: m.NSAPI,
				PAA: PAA{IPv4: netip.AddrFrom4([4]byte{10, 90, 0, 2})}, QoS: within, PCO: m.PCO.Answer(PCOValues{MTU: 1400}),
			}).Marshal())
		case *ChangeNotificationRequest:
			readableV1(t, (&ChangeNotificationResponse{Version: 1, Seq: m.Seq, Cause: CauseAccepted, IMSI: m.IMSI, MEI: m.MEI, EBI: m.LinkedEBI}).Marshal())
		}
		if e == nil {
			e = &Error{Cause: CauseServiceNotSupported}
		}
		if r := (Refusal{TEID: SenderTEID(m), Reason: e}).Marshal(m); m.Head().Type != TypeEchoRequest || r != nil {
			readableV1(t, r)
		}
	})
}

func readableV1(t *testing.T, b []byte) {
	t.Helper()
	if len(b) < 12 || int(binary.BigEndian.Uint16(b[2:]))+8 != len(b) {
		t.Fatalf("length field and message disagree: % x", b)
	}
	if _, unreadable, err := splitElementsV1(b[12:]); err != nil || unreadable {
		t.Fatalf("%v in % x", err, b)
	}
}
