package gtp

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"slices"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv1/ie"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

// appendV1 puts octets behind a message and corrects its length field.
func appendV1(b []byte, more ...byte) []byte {
	b = append(slices.Clone(b), more...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-8))
	return b
}

// The size of every type: those without a length field have the one of TS 29.060
// table 37, of the others nothing is known beforehand.
func TestV1Sizes(t *testing.T) {
	without := map[byte]int{
		1: 1, 2: 8, 3: 6, 4: 4, 5: 4, 8: 1, 9: 28, 11: 1, 12: 3, 13: 1, 14: 1, 15: 1, 16: 4, 17: 4, 18: 5, 19: 1, 20: 1,
		21: 1, 22: 9, 23: 1, 24: 1, 25: 2, 26: 2, 27: 2, 28: 2, 29: 1, 127: 4,
	}
	for typ := range 256 {
		b := append([]byte{byte(typ), 0, 7}, make([]byte, 60)...)
		head, size := sizeV1(b)
		n, known := without[byte(typ)]
		switch {
		case typ >= 128 && typ != 141 && (head != 3 || size != 10):
			t.Errorf("type %d: %d %d, want 3 10", typ, head, size)
		case typ == 141 && (head != 2 || size != 2): // length field of one octet
			t.Errorf("type %d: %d %d, want 2 2", typ, head, size)
		case typ < 128 && known && (head != 1 || size != 1+n):
			t.Errorf("type %d: %d %d, want 1 %d", typ, head, size, 1+n)
		case typ < 128 && !known && size != 0:
			t.Errorf("type %d is of unknown size, and got %d", typ, size)
		}
	}
}

// Every element twice: the first counts, whatever the second says. An NSAPI more
// is a Linked NSAPI, addresses more are those of the other family.
func TestV1FirstOfRepeated(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/error-handling", "repeated-element")
	s := gtptest.NewSGSN()
	for typ, all := range map[uint8][]*ie.IE{
		TypeCreatePDPContextRequest: s.CreateElements(), TypeUpdatePDPContextRequest: s.UpdateElements(),
		TypeDeletePDPContextRequest:  {ie.NewTeardownInd(true), ie.NewNSAPI(5)},
		TypeMSInfoChangeNotification: s.InformElements(),
	} {
		b := s.Request(typ, 9, all...)
		want, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			if e.Type == ie.NSAPI && typ == TypeCreatePDPContextRequest || e.Type == ie.GSNAddress && typ == TypeUpdatePDPContextRequest {
				continue
			}
			second, err := ie.New(e.Type, bytes.Repeat([]byte{0xee}, len(e.Payload))).Marshal()
			if err != nil {
				t.Fatal(err)
			}
			got, err := Parse(appendV1(b, second...))
			if err != nil {
				t.Errorf("type %d, IE %d repeated: %v", typ, e.Type, err)
				continue
			}
			if !reflect.DeepEqual(withoutDigest(got), withoutDigest(want)) {
				t.Errorf("type %d, IE %d repeated:\n got %+v\nwant %+v", typ, e.Type, got, want)
			}
		}
	}
}

// Elements that nobody expects are passed over, wherever they are: unknown ones,
// those that belong in other messages, and private ones.
func TestV1UnexpectedElements(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/error-handling", "unexpected-element")
	s := gtptest.NewSGSN()
	want := mustParse[*CreatePDPContextRequest](t, s.Create())
	all := s.CreateElements()
	strange := []*ie.IE{
		ie.New(254, []byte{1, 2, 3}), ie.New(240, nil), ie.NewPrivateExtension(1, []byte{1, 2}), ie.New(ie.ExtensionHeaderTypeList, []byte{1, 2, 3}),
		ie.New(ie.AuthenticationTriplet, make([]byte, 28)), ie.New(ie.RABContext, make([]byte, 9)), ie.NewMSValidated(true),
	}
	teid2 := []byte{ie.TEIDDataII, 5, 0, 0, 0, 1} // go-gtp gives it four octets
	for i := range len(all) + 1 {
		before, after := s.Request(TypeCreatePDPContextRequest, 0, all[:i]...), s.Request(TypeCreatePDPContextRequest, 0, append(slices.Clone(strange), all[i:]...)...)
		m := mustParse[*CreatePDPContextRequest](t, appendV1(before, append(teid2, after[12:]...)...))
		if !reflect.DeepEqual(withoutDigest(m), withoutDigest(want)) {
			t.Errorf("unexpected elements at %d change the request", i)
		}
	}
}

// Of what follows an unknown element without length field nothing can be read
// (TS 29.060 11.1.9): that is no harm when everything needed is there, and
// otherwise the message's format is at fault rather than an element missing.
func TestV1UnreadableRest(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/error-handling", "unknown-element", "unreadable-rest-of-a-message-that-lacks-something")
	s := gtptest.NewSGSN()
	want := mustParse[*CreatePDPContextRequest](t, s.Create())
	for _, typ := range []byte{0, 6, 7, 10, 30, 116, 117, 126} {
		m := mustParse[*CreatePDPContextRequest](t, appendV1(s.Create(), typ, 0x84, 0xff, 0xff))
		if !reflect.DeepEqual(withoutDigest(m), withoutDigest(want)) {
			t.Errorf("type %d at the end changes the request", typ)
		}
		b := s.Create()
		head := s.Request(TypeCreatePDPContextRequest, 0, s.CreateElements()[:6]...)
		e := fault(t, appendV1(appendV1(head, typ), b[len(head):]...))
		if e == nil || e.Cause != CauseInvalidMessageFormat || e.Cause.V1() != 193 {
			t.Errorf("type %d in the middle: %v", typ, e)
		}
	}
}

// Elements in the wrong order are understood (docs/divergences.md).
func TestV1OutOfOrder(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/error-handling", "elements-out-of-sequence")
	s := gtptest.NewSGSN()
	want := mustParse[*CreatePDPContextRequest](t, s.Create())
	all := s.CreateElements()
	slices.Reverse(all)
	m := mustParse[*CreatePDPContextRequest](t, s.Request(TypeCreatePDPContextRequest, 0, all...))
	if !reflect.DeepEqual(withoutDigest(m), withoutDigest(want)) {
		t.Errorf("%+v", m)
	}
}

// Every length of every element that has one, 0 to 255, in every request: refused
// or understood, never worse; and answered if refused.
func TestV1EveryElementLength(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/error-handling", "element-of-invalid-length")
	s := gtptest.NewSGSN()
	for typ, all := range map[uint8][]*ie.IE{
		TypeCreatePDPContextRequest: s.CreateElements(), TypeUpdatePDPContextRequest: s.UpdateElements(), TypeMSInfoChangeNotification: s.InformElements(),
	} {
		for i, e := range all {
			if e.Type < 128 {
				continue
			}
			head, tail := s.Request(typ, 9, all[:i]...), s.Request(typ, 9, all[i+1:]...)[12:]
			for n := range 256 {
				v := append([]byte{e.Type, 0, byte(n)}, bytes.Repeat(e.Payload, 1+256/max(1, len(e.Payload)))[:n]...)
				b := appendV1(head, append(v, tail...)...)
				f := fault(t, b)
				if f == nil {
					continue
				}
				m, _ := Parse(b)
				if f.Cause == 0 || f.IE != e.Type || len(Refusal{TEID: 1, Reason: f}.Marshal(m)) == 0 {
					t.Errorf("type %d, IE %d of length %d: %v", typ, e.Type, n, f)
				}
			}
			// A length that goes beyond the message.
			v := append([]byte{e.Type, 0xff, 0xff}, e.Payload...)
			if f := fault(t, appendV1(head, append(v, tail...)...)); f == nil || f.Cause != CauseInvalidMessageFormat || f.IE != e.Type {
				t.Errorf("type %d, IE %d of length 65535: %v", typ, e.Type, f)
			}
		}
	}
}

// Elements of which only a part of the header is left.
func TestV1ElementHeaderCut(t *testing.T) {
	for _, rest := range [][]byte{{128}, {128, 0}, {141}, {141, 1}, {2, 0x64}, {1}} {
		if f := fault(t, appendV1(gtptest.NewSGSN().Delete(1), rest...)); f == nil || f.Cause != CauseInvalidMessageFormat || f.IE != rest[0] {
			t.Errorf("% x: %v", rest, f)
		}
	}
}
