package gtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv2/ie"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

// mustParse reads a request that is in order.
func mustParse[T Message](t testing.TB, b []byte) T {
	t.Helper()
	m, err := Parse(b)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	typed, ok := m.(T)
	if !ok {
		t.Fatalf("Parse gave a %T", m)
	}
	return typed
}

// fault parses and returns why the request is refused; nil: it is not.
func fault(t testing.TB, b []byte) *Error {
	t.Helper()
	m, err := Parse(b)
	if err == nil {
		return nil
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("Parse: %v is no *Error", err)
	}
	if e.Reason == ReasonPanic {
		t.Fatalf("the parser panicked over % x", b)
	}
	if (m == nil) != (e.Cause == 0) {
		t.Fatalf("cause %d with message %T", e.Cause, m)
	}
	return e
}

func TestCreateSessionRequest(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/create-session-request",
		"imsi", "msisdn", "me-identity-mei", "user-location-information-uli", "serving-network", "rat-type", "indication-flags",
		"sender-f-teid-for-control-plane", "access-point-name-apn", "pdn-address-allocation-paa", "aggregate-maximum-bit-rate-apn-ambr",
		"protocol-configuration-options-pco", "bearer-context-eps-bearer-id", "bearer-context-bearer-level-qos", "bearer-context-s5-s8-u-sgw-f-teid",
		"recovery")
	s := gtptest.New()
	m := mustParse[*CreateSessionRequest](t, s.Create())
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"type", m.Type, TypeCreateSessionRequest},
		{"sequence", m.Seq, s.Seq},
		{"IMSI", m.IMSI.String(), s.IMSI},
		{"MSISDN", m.MSISDN.String(), s.MSISDN},
		{"IMEI, first 14 digits", m.IMEI.String(), s.IMEI[:14]},
		{"APN without operator identifier", m.APN.String(), "seal.corp"},
		{"PLMN", m.ServingNetwork.String(), "46001"},
		{"RAT", m.RAT, s.RAT},
		{"sender", m.Sender, FTEID{6, s.ControlTEID, s.Addr}},
		{"PDN type", m.PDNType, PDNTypeIPv4},
		{"DAF", m.DualAddress, true},
		{"AMBR up", m.AMBRUpKbps, uint32(100000)},
		{"AMBR down", m.AMBRDownKbps, uint32(200000)},
		{"recovery", *m.Recovery, s.Restarts},
		{"EBI", m.Bearer.EBI, s.EBI},
		{"QCI", m.Bearer.QCI, uint8(9)},
		{"ARP", m.Bearer.ARP, uint8(0x40 | 8<<2 | 1)},
		{"user plane", m.Bearer.User, FTEID{4, s.UserTEID, s.Addr}},
		{"PCO", *m.PCO, PCO{element: ie.ProtocolConfigurationOptions, DNS: true, MTU: true, IPCP: &IPCP{ID: 3, PrimaryDNS: true, SecondaryDNS: true}}},
		{"ULI", len(m.UserLocation), 13},
		{"surplus bearers", len(m.Surplus), 0},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, c.got, c.want)
		}
	}
	b := s.Create()
	m = mustParse[*CreateSessionRequest](t, b)
	clear(b)
	if len(m.UserLocation) == 0 || m.UserLocation[0] == 0 {
		t.Error("the message shares memory with the datagram")
	}
}

// Identities of even and odd length: go-gtp cuts the last digit of one.
func TestDigits(t *testing.T) {
	for _, c := range []struct {
		v    []byte
		want string
		ok   bool
	}{
		{[]byte{0x64, 0x00, 0x11, 0x32, 0x54, 0x76, 0x98, 0xf0}, "460011234567890", true},
		{[]byte{0x64, 0x00, 0x11, 0x32, 0x54, 0x76, 0x98}, "46001123456789", true},
		{[]byte{0xf4}, "4", true},
		{[]byte{0xf4, 0x21}, "", false}, // filler before the end
		{[]byte{0x4f}, "", false},       // filler in the low half
		{[]byte{0xa1}, "", false},       // no digit
		{nil, "", false},
		{bytes.Repeat([]byte{0x11}, 64), "", false},
	} {
		if got, ok := digits(c.v); ok != c.ok || ok && got != c.want {
			t.Errorf("% x: %q, %v; want %q, %v", c.v, got, ok, c.want, c.ok)
		}
	}
}

// Every element of a Create Session Request left out once.
func TestCreateWithoutElement(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/error-handling", "mandatory-element-missing", "conditional-element-missing")
	gtptest.ShowsIn(t, "29.274/create-session-request", "imsi-missing")
	want := map[uint8]Cause{
		ie.IMSI:               CauseConditionalMissing,
		ie.ServingNetwork:     CauseConditionalMissing,
		ie.RATType:            CauseMandatoryMissing,
		ie.FullyQualifiedTEID: CauseMandatoryMissing,
		ie.AccessPointName:    CauseMandatoryMissing,
		ie.BearerContext:      CauseMandatoryMissing,
	}
	s := gtptest.New()
	all := s.CreateElements()
	for i, left := range all {
		b := s.Request(TypeCreateSessionRequest, 0, slices.Delete(slices.Clone(all), i, i+1)...)
		e := fault(t, b)
		cause, refused := want[left.Type]
		switch {
		case !refused && e != nil:
			t.Errorf("without IE %d: %v", left.Type, e)
		case refused && (e == nil || e.Cause != cause || e.IE != left.Type):
			t.Errorf("without IE %d: %v, want %v", left.Type, e, cause)
		}
	}
	// The PDN type can be in the PAA or the PDN Type element; without both it is
	// missing.
	rest := slices.DeleteFunc(slices.Clone(all), func(e *ie.IE) bool { return e.Type == ie.PDNType || e.Type == ie.PDNAddressAllocation })
	if e := fault(t, s.Request(TypeCreateSessionRequest, 0, rest...)); e == nil || e.Cause != CauseConditionalMissing || e.IE != ie.PDNAddressAllocation {
		t.Errorf("without any PDN type: %v", e)
	}
	for i, c := range []struct {
		left  []*ie.IE
		cause Cause
		typ   uint8
	}{
		{[]*ie.IE{all[14].ChildIEs[1], all[14].ChildIEs[2]}, CauseMandatoryMissing, ie.EPSBearerID},
		{[]*ie.IE{all[14].ChildIEs[0], all[14].ChildIEs[2]}, CauseConditionalMissing, ie.FullyQualifiedTEID},
		{[]*ie.IE{all[14].ChildIEs[0], all[14].ChildIEs[1]}, CauseMandatoryMissing, ie.BearerQoS},
	} {
		ies := slices.Clone(all)
		ies[14] = ie.NewGroupedIE(ie.BearerContext, c.left...)
		e := fault(t, s.Request(TypeCreateSessionRequest, 0, ies...))
		if e == nil || e.Cause != c.cause || e.IE != c.typ || e.Group != ie.BearerContext {
			t.Errorf("bearer context without child %d: %v, want %v of IE %d", i, e, c.cause, c.typ)
		}
	}
}

// Every element twice: the first counts, whatever the second says.
func TestFirstOfRepeated(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/error-handling", "repeated-element")
	s := gtptest.New()
	all := s.CreateElements()
	want := mustParse[*CreateSessionRequest](t, s.Create())
	for _, e := range all {
		second := ie.New(e.Type, e.Instance(), bytes.Repeat([]byte{0xee}, len(e.Payload)))
		raw := slices.Clone(s.Create())
		v, err := ie.New(250, 0, second.Payload).Marshal() // as an unknown type, then renamed: go-gtp would parse a grouped one
		if err != nil {
			t.Fatal(err)
		}
		v[0], v[3] = e.Type, e.Instance()
		if e.Type == ie.BearerContext {
			v = bearerOf(t, 6) // repetition is foreseen: a further bearer
		}
		raw = appendElement(raw, v)
		m := mustParse[*CreateSessionRequest](t, raw)
		m.Digest, m.Surplus = want.Digest, nil
		if !reflect.DeepEqual(m, want) {
			t.Errorf("IE %d repeated:\n got %+v\nwant %+v", e.Type, m, want)
		}
	}
}

func bearerOf(t testing.TB, ebi uint8) []byte {
	t.Helper()
	s := gtptest.New()
	s.EBI = ebi
	b, err := s.Bearer().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func appendElement(b, element []byte) []byte {
	b = append(slices.Clone(b), element...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-4))
	return b
}

func TestSeveralBearers(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/create-session-request", "bearer-contexts-to-be-created", "linked-eps-bearer-id")
	s := gtptest.New()
	b := appendElement(s.Create(), bearerOf(t, 7))
	if m := mustParse[*CreateSessionRequest](t, b); m.Bearer.EBI != 5 || !slices.Equal(m.Surplus, []uint8{7}) {
		t.Errorf("default %d, surplus %v", m.Bearer.EBI, m.Surplus)
	}
	linked, _ := ie.NewEPSBearerID(7).Marshal()
	if m := mustParse[*CreateSessionRequest](t, appendElement(b, linked)); m.Bearer.EBI != 7 || !slices.Equal(m.Surplus, []uint8{5}) {
		t.Errorf("with Linked EBI 7: default %d, surplus %v", m.Bearer.EBI, m.Surplus)
	}
	for range 20 {
		b = appendElement(b, bearerOf(t, 8))
	}
	if m := mustParse[*CreateSessionRequest](t, b); len(m.Surplus) != 10 {
		t.Errorf("%d surplus bearers taken, there can't be more than 10", len(m.Surplus))
	}
}

// Elements that nobody knows are passed over, wherever they are.
func TestUnknownElements(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/error-handling", "unknown-or-unexpected-element")
	s := gtptest.New()
	want := mustParse[*CreateSessionRequest](t, s.Create())
	all := s.CreateElements()
	strange := []*ie.IE{ie.New(254, 0, []byte{1, 2, 3}), ie.New(240, 3, nil), ie.New(ie.FullyQualifiedTEID, 9, []byte{1})}
	for i := range len(all) + 1 {
		m := mustParse[*CreateSessionRequest](t, s.Request(TypeCreateSessionRequest, 0, slices.Insert(slices.Clone(all), i, strange...)...))
		m.Digest = want.Digest
		if !reflect.DeepEqual(m, want) {
			t.Errorf("unknown elements at %d change the request", i)
		}
	}
}

// Values that make no sense.
func TestIncorrectElements(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/error-handling", "semantically-incorrect-element", "semantically-incorrect-optional-element", "element-of-invalid-length")
	s := gtptest.New()
	bearer := func(children ...*ie.IE) *ie.IE { return ie.NewGroupedIE(ie.BearerContext, children...) }
	b := s.Bearer().ChildIEs
	for _, c := range []struct {
		name    string
		replace *ie.IE
		cause   Cause
	}{
		{"IMSI with letters", ie.New(ie.IMSI, 0, []byte{0xba, 0xdc}), CauseMandatoryIncorrect},
		{"IMSI empty", ie.New(ie.IMSI, 0, nil), CauseMandatoryIncorrect},
		{"IMSI of 16 digits", ie.New(ie.IMSI, 0, bytes.Repeat([]byte{0x11}, 8)), CauseMandatoryIncorrect},
		{"MSISDN with letters", ie.New(ie.MSISDN, 0, []byte{0x1c, 0x11, 0x11}), CauseMandatoryIncorrect},
		{"MSISDN empty: none", ie.New(ie.MSISDN, 0, nil), 0},
		{"IMEI of 2 digits", ie.New(ie.MobileEquipmentIdentity, 0, []byte{0x11}), CauseMandatoryIncorrect},
		{"serving network short", ie.New(ie.ServingNetwork, 0, []byte{0x64, 0xf0}), CauseInvalidLength},
		{"serving network with letters", ie.New(ie.ServingNetwork, 0, []byte{0xa4, 0xf0, 0x10}), CauseMandatoryIncorrect},
		{"RAT empty", ie.New(ie.RATType, 0, nil), CauseInvalidLength},
		{"F-TEID short", ie.New(ie.FullyQualifiedTEID, 0, []byte{0x86, 0, 0, 0, 1, 127}), CauseInvalidLength},
		{"F-TEID without address", ie.New(ie.FullyQualifiedTEID, 0, []byte{0x06, 0, 0, 0, 1}), CauseMandatoryIncorrect},
		{"F-TEID of an MME", ie.New(ie.FullyQualifiedTEID, 0, []byte{0x8a, 0, 0, 0, 1, 127, 0, 20, 1}), CauseMandatoryIncorrect},
		{"TEID 0", ie.New(ie.FullyQualifiedTEID, 0, []byte{0x86, 0, 0, 0, 0, 127, 0, 20, 1}), CauseMandatoryIncorrect},
		{"address 0.0.0.0", ie.New(ie.FullyQualifiedTEID, 0, []byte{0x86, 0, 0, 0, 1, 0, 0, 0, 0}), CauseMandatoryIncorrect},
		{"address 224.0.0.1", ie.New(ie.FullyQualifiedTEID, 0, []byte{0x86, 0, 0, 0, 1, 224, 0, 0, 1}), CauseMandatoryIncorrect},
		{"address 255.255.255.255", ie.New(ie.FullyQualifiedTEID, 0, []byte{0x86, 0, 0, 0, 1, 255, 255, 255, 255}), CauseMandatoryIncorrect},
		{"APN empty", ie.New(ie.AccessPointName, 0, nil), CauseMandatoryIncorrect},
		{"APN label too long", ie.New(ie.AccessPointName, 0, []byte{9, 's', 'e', 'a', 'l'}), CauseMandatoryIncorrect},
		{"APN rest", ie.New(ie.AccessPointName, 0, []byte{4, 's', 'e', 'a', 'l', 0}), CauseMandatoryIncorrect},
		{"APN with a dot in a label", ie.New(ie.AccessPointName, 0, []byte{5, 's', '.', 'e', 'a', 'l'}), CauseMandatoryIncorrect},
		{"APN with a space", ie.New(ie.AccessPointName, 0, []byte{5, 's', ' ', 'e', 'a', 'l'}), CauseMandatoryIncorrect},
		{"PAA empty", ie.New(ie.PDNAddressAllocation, 0, nil), CauseInvalidLength},
		{"PAA short", ie.New(ie.PDNAddressAllocation, 0, []byte{1, 10}), CauseInvalidLength},
		{"PAA of no type", ie.New(ie.PDNAddressAllocation, 0, []byte{7, 0, 0, 0, 0}), CauseMandatoryIncorrect},
		{"AMBR short", ie.New(ie.AggregateMaximumBitRate, 0, []byte{1, 2, 3}), CauseInvalidLength},
		{"recovery empty: none", ie.New(ie.Recovery, 0, nil), 0},
		{"indication empty: none", ie.New(ie.Indication, 0, nil), 0},
		{"PCO cut short: ignored", ie.New(ie.ProtocolConfigurationOptions, 0, []byte{0x80, 0x80, 0x21, 99, 1}), 0},
		{"EBI 4", bearer(ie.NewEPSBearerID(4), b[1], b[2]), CauseMandatoryIncorrect},
		{"EBI empty", bearer(ie.New(ie.EPSBearerID, 0, nil), b[1], b[2]), CauseInvalidLength},
		{"QoS short", bearer(b[0], b[1], ie.New(ie.BearerQoS, 0, make([]byte, 21))), CauseInvalidLength},
		{"user plane TEID 0", bearer(b[0], ie.NewFullyQualifiedTEID(4, 0, "127.0.20.1", "").WithInstance(2), b[2]), CauseMandatoryIncorrect},
		{"user plane of another instance", bearer(b[0], ie.NewFullyQualifiedTEID(4, 9, "127.0.20.1", "").WithInstance(1), b[2]), CauseConditionalMissing},
	} {
		all := s.CreateElements()
		for i := range all {
			if all[i].Type == c.replace.Type {
				all[i] = c.replace
			}
		}
		e := fault(t, s.Request(TypeCreateSessionRequest, 0, all...))
		switch {
		case c.cause == 0 && e != nil, c.cause != 0 && (e == nil || e.Cause != c.cause):
			t.Errorf("%s: %v, want %v", c.name, e, c.cause)
		case e != nil && e.IE == 0:
			t.Errorf("%s: the offending element is not named", c.name)
		}
	}
}

// Truncation at every byte: silence while not even the header is there, then
// "invalid length".
func TestTruncation(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/error-handling", "message-shorter-than-its-header", "message-of-inconsistent-length")
	s := gtptest.New()
	for name, b := range s.Requests(9) {
		header := 12
		if name == "echo" {
			header = 8
		}
		for n := range b {
			e := fault(t, b[:n:n])
			switch {
			case e == nil:
				t.Errorf("%s cut to %d is taken for whole", name, n)
			case n < header && (e.Cause != 0 || e.Reason != ReasonShort):
				t.Errorf("%s cut to %d: %v, want silence", name, n, e)
			case n >= header && e.Cause != CauseInvalidLength:
				t.Errorf("%s cut to %d: %v, want invalid length", name, n, e)
			}
			// A length field that fits what is left: the elements are at fault.
			if n >= header {
				short := slices.Clone(b[:n])
				binary.BigEndian.PutUint16(short[2:], uint16(n-4))
				if e := fault(t, short); e != nil && e.Cause == 0 {
					t.Errorf("%s shortened to %d: silence (%v)", name, n, e)
				}
			}
		}
	}
}

// Versions 0 to 7: 1 and 2 are spoken; the others are told so, except their own
// Version Not Supported messages.
func TestVersions(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/error-handling", "other-versions-of-gtp")
	gtptest.ShowsIn(t, "29.274/version-not-supported-indication", "")
	b := gtptest.New().Create()
	for v := range uint8(8) {
		x := slices.Clone(b)
		x[0] = x[0]&0x1f | v<<5
		m, err := Parse(x)
		switch v {
		case 1: // its header is another
			if _, ok := m.(*OtherVersion); ok {
				t.Error("version 1 is not spoken")
			}
			continue
		case 2:
			if err != nil {
				t.Errorf("version 2: %v", err)
			}
			continue
		}
		other, ok := m.(*OtherVersion)
		if !ok || err != nil || other.Version != v {
			t.Errorf("version %d: %T, %v", v, m, err)
			continue
		}
		answer := other.Marshal()
		if len(answer) != 8 || answer[0] != 0x40 || answer[1] != 3 {
			t.Errorf("version %d answered with % x", v, answer)
		}
		x[1] = TypeVersionNotSupported
		if e := fault(t, x); e == nil || e.Reason != ReasonOtherVersion {
			t.Errorf("Version Not Supported of version %d: %v, want silence", v, e)
		}
	}
	// GTPv0 has its sequence number in octets 5 and 6: the indication repeats it.
	m, err := Parse([]byte{0x1e, 1, 0, 0, 0x12, 0x34, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0})
	if err != nil {
		t.Fatal(err)
	}
	if want := []byte{0x40, 3, 0, 4, 0, 0x12, 0x34, 0}; !bytes.Equal(m.(*OtherVersion).Marshal(), want) {
		t.Errorf("answer to a GTPv0 Echo Request: % x, want % x", m.(*OtherVersion).Marshal(), want)
	}
}

// The T and P bits wrong, and datagrams longer than they say.
func TestHeaderBits(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/header", "teid-flag-missing", "message-length", "piggybacked-message")
	gtptest.ShowsIn(t, "29.274/echo-request", "recovery")
	s := gtptest.New()
	create := s.Create()

	noTEID := slices.Concat(create[:4], create[8:])
	noTEID[0] &^= 0x08
	binary.BigEndian.PutUint16(noTEID[2:], uint16(len(noTEID)-4))
	if e := fault(t, noTEID); e == nil || e.Cause != CauseInvalidMessageFormat {
		t.Errorf("Create without TEID field: %v", e)
	}
	echo := s.Request(TypeEchoRequest, 0, ie.NewRecovery(1))
	if m := mustParse[*EchoRequest](t, echo); m.Seq != s.Seq || *m.Recovery != 1 {
		t.Errorf("Echo with TEID field: %+v", m)
	}
	longer := append(slices.Clone(create), 0, 0)
	if e := fault(t, longer); e == nil || e.Cause != CauseInvalidLength {
		t.Errorf("two octets too many: %v", e)
	}
	longer[0] |= 0x10
	mustParse[*CreateSessionRequest](t, longer) // P: what follows is another message
	empty := []byte{0x48, TypeCreateSessionRequest, 0, 3, 0, 0, 0, 0, 0, 0, 1, 0}
	if e := fault(t, empty); e == nil || e.Cause != CauseInvalidLength {
		t.Errorf("length 3: %v", e)
	}
	if m := mustParse[*EchoRequest](t, []byte{0x40, 1, 0, 4, 0, 0, 9, 0}); m.Recovery != nil || m.Seq != 9 {
		t.Errorf("Echo Request without Recovery: %+v", m)
	}
}

// Every message type: what it is answered with, or why it is not.
func TestEveryType(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/trace-session-activation", "")
	gtptest.ShowsIn(t, "29.274/trace-session-deactivation", "")
	gtptest.ShowsIn(t, "29.274/message-types", "every-type-answered-or-discarded")
	gtptest.ShowsIn(t, "29.274/error-handling", "unknown-message")
	answered := map[uint8]uint8{1: 0, 32: 33, 34: 35, 36: 37, 38: 39, 40: 41, 64: 65, 66: 67, 68: 69, 101: 102, 162: 163, 164: 165, 200: 201}
	for typ := range 256 {
		b := gtptest.New().Request(uint8(typ), 9)
		m, err := Parse(b)
		reply, isRequest := answered[uint8(typ)]
		var e *Error
		errors.As(err, &e)
		switch {
		case typ == 3:
			if _, ok := m.(*VersionNotSupported); !ok {
				t.Errorf("type 3: %T, %v", m, err)
			}
		case isRequest && m == nil:
			t.Errorf("type %d: no message (%v)", typ, err)
		case isRequest && reply != 0:
			if e == nil {
				e = &Error{Cause: CauseServiceNotSupported}
			}
			r := Refusal{TEID: 77, Reason: e}.Marshal(m)
			if len(r) == 0 {
				t.Errorf("type %d: no answer", typ)
				continue
			}
			a := gtptest.Read(r)
			if a.Type != reply || a.TEID != 77 || a.Seq != gtptest.New().Seq || a.Cause() != uint8(e.Cause) {
				t.Errorf("type %d answered with %+v", typ, a)
			}
		case typ == int(TypeUpdateBearerResponse), typ == int(TypeDeleteBearerResponse): // without a Cause
			if m == nil {
				t.Errorf("type %d: %v; a response ends its transaction", typ, err)
			}
		case !isRequest && (m != nil || e == nil || e.Cause != 0):
			t.Errorf("type %d: %T, %v; want silence", typ, m, err)
		}
	}
	for typ, reason := range map[uint8]string{0: ReasonUnknownType, 45: ReasonUnknownType, 255: ReasonUnknownType, 95: ReasonUnexpectedType, 33: ReasonUnexpectedType, 70: ReasonUnexpectedType} {
		if e := fault(t, gtptest.New().Request(typ, 0)); e.Reason != reason {
			t.Errorf("type %d: %s, want %s", typ, e.Reason, reason)
		}
	}
}
