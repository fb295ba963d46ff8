package gtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv1/ie"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

// requestsV1 are one of each request that there is a type for, and of those that
// are not carried out.
func requestsV1() map[string][]byte {
	s := gtptest.NewSGSN()
	return map[string][]byte{
		"create": s.Create(), "update": s.Update(9), "delete": s.Delete(9), "inform": s.Inform(9), "echo": s.Echo(),
		"MBMS": s.Request(typeCreateMBMSContextRequest, 0, ie.NewTEIDCPlane(3), ie.NewGSNAddress("127.0.20.1")),
	}
}

// The flags of the header: version, protocol type, and those that bring the
// optional fields.
func TestV1HeaderFlags(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/header", "version-protocol-type-flags", "gtp", "sequence-number-missing", "n-pdu-number")
	for name, b := range requestsV1() {
		for flags := range byte(32) {
			x := slices.Clone(b)
			x[0] = 1<<5 | flags
			m, err := Parse(x)
			var e *Error
			errors.As(err, &e)
			switch {
			case flags&0x10 == 0:
				if m != nil || e == nil || e.Reason != ReasonPrime {
					t.Errorf("%s, protocol type 0: %T, %v", name, m, err)
				}
			case flags&0x02 == 0:
				if m != nil || e == nil || e.Reason != ReasonNoSequence {
					t.Errorf("%s without sequence number: %T, %v", name, m, err)
				}
			default: // the N-PDU number isn't interpreted (8.2), of the spare bit nobody takes notice
				if err != nil || m.Head().Seq != uint32(gtptest.NewSGSN().Seq) || m.Head().Version != 1 {
					t.Errorf("%s, flags %02x: %T, %v", name, flags, m, err)
				}
			}
		}
	}
}

func TestV1SequenceAndTEID(t *testing.T) {
	b := gtptest.NewSGSN().Delete(0xfedcba98)
	binary.BigEndian.PutUint16(b[8:], 0xffff)
	b[10] = 0xee // N-PDU number without its flag
	if m := mustParse[*DeletePDPContextRequest](t, b); m.Seq != 0xffff || m.TEID != 0xfedcba98 || !m.HasTEID {
		t.Errorf("%+v", m.Header)
	}
}

// withExtension puts an extension header into a message.
func withExtension(b []byte, typ byte, header ...byte) []byte {
	out := slices.Concat(b[:12], header, b[12:])
	out[0] |= 0x04
	out[11] = typ
	binary.BigEndian.PutUint16(out[2:], uint16(len(out)-8))
	return out
}

func TestV1ExtensionHeaders(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/header",
		"extension-headers-that-need-not-be-comprehended", "extension-header-that-must-be-comprehended", "mbms-support-ms-info-change-reporting-support")
	s := gtptest.NewSGSN()
	create := s.Create()
	want := mustParse[*CreatePDPContextRequest](t, create)
	for _, c := range []struct {
		name string
		b    []byte
	}{
		{"MBMS support", withExtension(create, 0x01, 1, 0xff, 0xff, 0)},
		{"change reporting", withExtension(create, 0x02, 1, 0xff, 0xff, 0)},
		{"two", withExtension(withExtension(create, 0x02, 1, 0xff, 0xff, 0), 0x01, 1, 0xff, 0xff, 0x02)},
		{"unknown, not to be comprehended", withExtension(create, 0x3f, 2, 1, 2, 3, 4, 5, 6, 0)},
		{"unknown, to be discarded by others", withExtension(create, 0x7f, 1, 0, 0, 0)},
		{"flag without header", withExtension(create, 0)},
	} {
		m := mustParse[*CreatePDPContextRequest](t, c.b)
		m.Digest = want.Digest
		if !reflect.DeepEqual(m, want) {
			t.Errorf("%s changes the request: %+v", c.name, m)
		}
	}
	for _, c := range []struct {
		name   string
		b      []byte
		reason string
		cause  uint8
		sender uint32
	}{
		{"length 0", withExtension(create, 0x01, 0, 0, 0, 0), "extension-header-length", 193, 0},
		{"longer than the message", withExtension(create, 0x01, 255, 0, 0, 0), "extension-header-length", 193, 0},
		{"no octet left", withExtension(create[:12], 0x01), "extension-header-length", 193, 0},
		{"never ending", withExtension(create[:12], 0x01, 1, 0, 0, 1, 1, 0, 0, 1), "extension-header-length", 193, 0},
		{"PDCP PDU number", withExtension(create, 0xc0, 1, 0, 0, 0), ReasonExtensionHeader, 214, s.ControlTEID},
		{"to be comprehended by the endpoint", withExtension(create, 0x81, 1, 0, 0, 0), ReasonExtensionHeader, 214, s.ControlTEID},
		{"behind one that needn't", withExtension(create, 0x01, 1, 0, 0, 0xc1, 1, 0xff, 0xff, 0), ReasonExtensionHeader, 214, s.ControlTEID},
	} {
		m, _ := Parse(c.b)
		f, ok := m.(*Faulty)
		if !ok || f.Err.Reason != c.reason || SenderTEID(f) != c.sender {
			t.Errorf("%s: %T, %v", c.name, m, f)
			continue
		}
		if a := gtptest.ReadV1(Refusal{TEID: SenderTEID(f), Reason: f.Err}.Marshal(f)); a.Cause() != c.cause || a.Type != 17 || a.TEID != c.sender {
			t.Errorf("%s is answered with %+v", c.name, a)
		}
	}
	// A response is not answered, but its sender is told.
	if e := fault(t, withExtension(s.Deleted(1, 128), 0xc0, 1, 0, 0, 0)); e == nil || e.Cause != 0 || e.Reason != ReasonExtensionHeader {
		t.Errorf("response: %v", e)
	}
	// What tells must not be told, or two nodes would tell each other for ever.
	told := (&SupportedExtensionHeaders{}).Marshal()
	if _, err := Parse(withExtension(told, 0xc0, 1, 0, 0, 0)); err != nil {
		t.Errorf("notification: %v", err)
	}
}

// Truncation at every byte: silence while not even the header is there, then
// "invalid message format", and a response that ends with "missing" where the
// length field fits what is left.
func TestV1Truncation(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/error-handling", "message-shorter-than-its-header", "message-of-inconsistent-length")
	for name, b := range requestsV1() {
		for n := range b {
			e := fault(t, b[:n:n])
			switch {
			case e == nil:
				t.Errorf("%s cut to %d is taken for whole", name, n)
			case n < 12 && (e.Cause != 0 || e.Reason != ReasonShort):
				t.Errorf("%s cut to %d: %v, want silence", name, n, e)
			case n >= 12 && (e.Cause != CauseInvalidMessageFormat || e.Cause.V1() != 193):
				t.Errorf("%s cut to %d: %v, want invalid message format", name, n, e)
			}
			if n >= 12 {
				short := slices.Clone(b[:n])
				binary.BigEndian.PutUint16(short[2:], uint16(n-8))
				if e := fault(t, short); e != nil && e.Cause == 0 {
					t.Errorf("%s shortened to %d: silence (%v)", name, n, e)
				}
			}
		}
		if e := fault(t, append(slices.Clone(b), 0)); e == nil || e.Cause != CauseInvalidMessageFormat {
			t.Errorf("%s with an octet too many: %v", name, e)
		}
		// A length field that doesn't even cover the optional fields.
		x := slices.Clone(b)
		binary.BigEndian.PutUint16(x[2:], 3)
		if e := fault(t, x); e == nil || e.Cause != CauseInvalidMessageFormat {
			t.Errorf("%s of length 3: %v", name, e)
		}
	}
}

// A fault is answered to the sender, whose TEID is found where it can be.
func TestV1FaultyKeepsSender(t *testing.T) {
	s := gtptest.NewSGSN()
	b := s.Create()
	m, err := Parse(append(b, 0))
	f, ok := m.(*Faulty)
	if !ok || err == nil || f.Sender != (FTEID{TEID: s.ControlTEID, Addr: s.Addr}) || SenderTEID(f) != s.ControlTEID || f.Version != 1 {
		t.Errorf("%T %+v, %v", m, f, err)
	}
}

// Every message type: what it is answered with, or why it is not.
func TestV1EveryType(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/message-types", "every-type-answered-or-discarded")
	gtptest.ShowsIn(t, "29.060/error-handling", "unknown-message", "unexpected-message")
	answered := []uint8{1, 16, 18, 20, 29, 98, 100, 102, 104, 112, 114, 128}
	s := gtptest.NewSGSN()
	for typ := range 256 {
		b := s.Request(uint8(typ), 9)
		m, err := Parse(b)
		isRequest := slices.Contains(answered, uint8(typ))
		var e *Error
		errors.As(err, &e)
		switch {
		case typ == 3:
			if v, ok := m.(*VersionNotSupported); !ok || v.Version != 1 {
				t.Errorf("type 3: %T, %v", m, err)
			}
		case typ == 31:
			if _, ok := m.(*SupportedExtensionHeaders); !ok {
				t.Errorf("type 31: %T, %v", m, err)
			}
		case typ == 21:
			if _, ok := m.(*DeletePDPContextResponse); !ok {
				t.Errorf("type 21: %T, %v", m, err)
			}
		case isRequest && m == nil:
			t.Errorf("type %d: no message (%v)", typ, err)
		case typ == 1:
			if (Refusal{Reason: &Error{Cause: CauseSystemFailure}}).Marshal(m) != nil {
				t.Error("an Echo Request is refused; there is no cause in its answer")
			}
		case isRequest:
			if e == nil {
				e = &Error{Cause: CauseServiceNotSupported}
			}
			a := gtptest.ReadV1(Refusal{TEID: 77, Reason: e}.Marshal(m))
			if a.Type != uint8(typ)+1 || a.TEID != 77 || a.Seq != s.Seq || a.Cause() != e.Cause.V1() {
				t.Errorf("type %d answered with %+v", typ, a)
			}
		case m != nil || e == nil || e.Cause != 0:
			t.Errorf("type %d: %T, %v; want silence", typ, m, err)
		}
	}
	for typ, reason := range map[uint8]string{
		0: ReasonUnknownType, 8: ReasonUnknownType, 24: ReasonUnknownType, 130: ReasonUnknownType, 252: ReasonUnknownType,
		2:  ReasonBadResponse,
		17: ReasonUnexpectedType, 19: ReasonUnexpectedType, 22: ReasonUnexpectedType, 23: ReasonUnexpectedType, // answers to nothing asked, or for an SGSN
		27: ReasonUnexpectedType, 28: ReasonUnexpectedType, 33: ReasonUnexpectedType, 48: ReasonUnexpectedType, 50: ReasonUnexpectedType,
		70: ReasonUnexpectedType, 96: ReasonUnexpectedType, 116: ReasonUnexpectedType, 129: ReasonUnexpectedType,
		4: ReasonUnexpectedType, 26: ReasonUnexpectedType, 240: ReasonUnexpectedType, 255: ReasonUnexpectedType, // of GTP' and GTP-U
	} {
		if e := fault(t, s.Request(typ, 0)); e == nil || e.Reason != reason {
			t.Errorf("type %d: %v, want %s", typ, e, reason)
		}
	}
}

func TestNamesSession(t *testing.T) {
	for _, c := range []struct {
		h    Header
		want bool
	}{
		{Header{Version: 1, Type: TypeCreatePDPContextRequest}, false},
		{Header{Version: 1, Type: TypeUpdatePDPContextRequest}, true},
		{Header{Version: 1, Type: TypeDeletePDPContextRequest}, true},
		{Header{Version: 1, Type: TypeMSInfoChangeNotification}, false},
		{Header{Version: 1, Type: TypeMSInfoChangeNotification, TEID: 1}, true},
		{Header{Version: 1, Type: typeCreateMBMSContextRequest, TEID: 1}, false},
		{Header{Version: 2, Type: TypeModifyBearerRequest}, true},
		{Header{Version: 2, Type: TypeCreateSessionRequest}, false},
		{Header{Version: 2, Type: TypeUpdatePDPContextRequest}, false},
	} {
		if c.h.NamesSession() != c.want {
			t.Errorf("%+v: %v", c.h, !c.want)
		}
	}
}

func TestV1Echo(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/echo-request", "")
	gtptest.ShowsIn(t, "29.060/echo-request-sent", "")
	gtptest.ShowsIn(t, "29.060/echo-response", "", "recovery")
	gtptest.ShowsIn(t, "29.060/echo-response-received", "recovery")
	s := gtptest.NewSGSN()
	// There is no restart counter in the request; one that comes all the same is
	// read (TS 29.060 7.2.1, 11.1.11).
	if m := mustParse[*EchoRequest](t, s.Echo()); m.Version != 1 || m.Recovery != nil || m.Seq != uint32(s.Seq) {
		t.Errorf("%+v", m)
	}
	if m := mustParse[*EchoRequest](t, s.Request(TypeEchoRequest, 0, ie.NewRecovery(4))); m.Recovery == nil || *m.Recovery != 4 {
		t.Errorf("%+v", m)
	}
	if m := mustParse[*EchoResponse](t, s.Request(TypeEchoResponse, 0, ie.NewRecovery(4), ie.New(ie.PrivateExtension, []byte{0, 1, 2}))); m.Recovery != 4 {
		t.Errorf("%+v", m)
	}
	header := Header{Version: 1, Seq: 0xabcd}
	restarts := uint8(3)
	if want := []byte{0x32, 1, 0, 4, 0, 0, 0, 0, 0xab, 0xcd, 0, 0}; !bytes.Equal((&EchoRequest{Header: header, Recovery: &restarts}).Marshal(), want) {
		t.Errorf("Echo Request % x, want % x", (&EchoRequest{Header: header, Recovery: &restarts}).Marshal(), want)
	}
	if want := []byte{0x32, 2, 0, 6, 0, 0, 0, 0, 0xab, 0xcd, 0, 0, 14, 3}; !bytes.Equal((&EchoResponse{Header: header, Recovery: 3}).Marshal(), want) {
		t.Errorf("Echo Response % x, want % x", (&EchoResponse{Header: header, Recovery: 3}).Marshal(), want)
	}
}

func TestMSInfoChangeNotification(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/ms-info-change-notification-request", "imsi", "linked-nsapi", "rat-type", "user-location-information", "imei-sv")
	gtptest.ShowsIn(t, "29.060/ms-info-change-notification-response", "cause", "imsi", "linked-nsapi", "imei-sv")
	s := gtptest.NewSGSN()
	imei := ie.NewIMEISV(s.IMEI).Payload
	m := mustParse[*ChangeNotificationRequest](t, s.Inform(9))
	if m.Version != 1 || m.TEID != 9 || m.IMSI.String() != s.IMSI || m.LinkedEBI != 5 || m.RAT != 1 || len(m.UserLocation) != 8 || !bytes.Equal(m.MEI, imei) {
		t.Errorf("%+v", m)
	}
	// The identities are repeated (7.5B.1.2), in the answer as in the refusal.
	for name, c := range map[string]struct {
		b     []byte
		teid  uint32
		cause uint8
	}{
		"accepted":     {(&ChangeNotificationResponse{Version: 1, TEID: 8, Seq: m.Seq, Cause: CauseAccepted, IMSI: m.IMSI, MEI: m.MEI, EBI: m.LinkedEBI}).Marshal(), 8, 128},
		"refused":      {Refusal{TEID: 8, Reason: &Error{Cause: CauseSystemFailure}}.Marshal(m), 8, 204},
		"nobody known": {Refusal{TEID: 8, Reason: &Error{Cause: CauseContextNotFound}}.Marshal(m), 0, 194},
	} {
		a := gtptest.ReadV1(c.b)
		if a.Type != 129 || a.TEID != c.teid || a.Seq != s.Seq || a.Cause() != c.cause || !bytes.Equal(a.Find(ie.IMSI, 0), ie.NewIMSI(s.IMSI).Payload) ||
			!bytes.Equal(a.Find(ie.NSAPI, 0), []byte{5}) || !bytes.Equal(a.Find(ie.IMEISV, 0), imei) {
			t.Errorf("%s: %+v", name, a)
		}
	}
	// A faulty one too, as far as it has them.
	f, _ := Parse(s.Request(TypeMSInfoChangeNotification, 9, ie.NewIMSI(s.IMSI), ie.NewNSAPI(5), ie.NewIMEISV(s.IMEI)))
	a := gtptest.ReadV1(Refusal{TEID: 8, Reason: f.(*Faulty).Err}.Marshal(f))
	if a.Cause() != 202 || !bytes.Equal(a.Find(ie.IMSI, 0), ie.NewIMSI(s.IMSI).Payload) || a.Find(ie.NSAPI, 0) == nil || !bytes.Equal(a.Find(ie.IMEISV, 0), imei) {
		t.Errorf("faulty: %+v", a)
	}
	// An IMSI that makes no sense would make the answer malformed.
	for _, v := range [][]byte{{0xba, 0xdc, 1, 1, 1, 1, 1, 1}, bytes.Repeat([]byte{0xff}, 8), {0x64, 0x7d, 0x91, 0x99, 0x99, 0x99, 1, 1}} {
		f, _ := Parse(s.Request(TypeMSInfoChangeNotification, 9, ie.New(ie.IMSI, v), ie.NewNSAPI(5), ie.NewRATType(1)))
		a := gtptest.ReadV1(Refusal{TEID: 8, Reason: f.(*Faulty).Err}.Marshal(f))
		if a.Cause() != 201 || a.Find(ie.IMSI, 0) != nil || a.Find(ie.NSAPI, 0) == nil {
			t.Errorf("IMSI % x: %+v", v, a)
		}
	}
	bare := gtptest.ReadV1((&ChangeNotificationResponse{Version: 1, TEID: 8, Seq: 1, Cause: CauseAccepted}).Marshal())
	if len(bare.Elements) != 1 {
		t.Errorf("without identities: %+v", bare)
	}
	if e := fault(t, s.Request(TypeMSInfoChangeNotification, 9, ie.NewIMSI(s.IMSI), ie.NewRATType(0))); e == nil || e.Cause != CauseMandatoryIncorrect {
		t.Errorf("reserved RAT: %v", e)
	}
}

// An IMSI has eight octets in GTPv1, whatever its length.
func TestIMSIV1(t *testing.T) {
	for _, c := range []struct {
		digits string
		want   string
	}{
		{"", ""},
		{"460011234567890", "64001132547698f0"},
		{"46001123456789", "64001132547698ff"},
		{"460011", "640011ffffffffff"},
		{"12345678901234567", ""}, // there is none as long
	} {
		if got := fmt.Sprintf("%x", imsiV1(c.digits)); got != c.want {
			t.Errorf("%s: %s, want %s", c.digits, got, c.want)
		}
	}
}

// Which extension headers of a message are comprehended is told in octets that
// its receiver needs nothing to know for.
func TestSupportedExtensionHeadersV1(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/supported-extension-headers-notification", "extension-header-type-list")
	want := []byte{0x32, 31, 0, 7, 0, 0, 0, 0, 0xab, 0xcd, 0, 0, 141, 1, 2}
	if b := (&SupportedExtensionHeaders{Header{Version: 1, Seq: 0xabcd}}).Marshal(); !bytes.Equal(b, want) {
		t.Errorf("% x, want % x", b, want)
	}
}
