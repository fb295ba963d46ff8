package gtp

import (
	"bytes"
	"encoding/binary"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

// samples are one of each message that is read, commands and responses included,
// with every element that it can have.
func samples(t testing.TB) map[string][]byte {
	t.Helper()
	s := gtptest.New()
	all := s.Requests(9)
	cause := ie.NewCause(uint8(CauseAcceptedPartially), 0, 0, 0, nil)
	bearer := ie.NewGroupedIE(ie.BearerContext, ie.NewEPSBearerID(5), ie.NewCause(uint8(CauseNoResources), 0, 0, 0, nil))
	all["update-response"] = s.Request(TypeUpdateBearerResponse, 9, cause, bearer, ie.NewRecovery(1))
	all["delete-response"] = s.Request(TypeDeleteBearerResponse, 9, cause, ie.NewEPSBearerID(5), bearer, ie.NewRecovery(1))
	all["resource-command"] = s.Request(typeBearerResourceCommand, 9, ie.NewEPSBearerID(5), ie.NewProcedureTransactionID(1))
	all["delete-command"] = s.Request(typeDeleteBearerCommand, 9, ie.NewGroupedIE(ie.BearerContext, ie.NewEPSBearerID(6)))
	all["create-dependent"] = s.Request(TypeCreateSessionRequest, 0, append(s.CreateElements(), s.ConnectionSet(0, 1), s.ConnectionSet(1, 2))...)
	all["modify-all"] = s.Request(TypeModifyBearerRequest, 9,
		ie.NewMobileEquipmentIdentity(s.IMEI), gtptest.Location(), ie.NewServingNetwork(s.MCC, s.MNC), ie.NewRATType(6),
		ie.NewIndicationFromOctets(0, 0x40, 0, 0x20), ie.NewFullyQualifiedTEID(6, 7, "127.0.20.1", ""), ie.NewAggregateMaximumBitRate(1, 2),
		ie.NewGroupedIE(ie.BearerContext, ie.NewEPSBearerID(5), ie.NewFullyQualifiedTEID(4, 8, "127.0.20.1", "").WithInstance(1)),
		ie.NewGroupedIE(ie.BearerContext, ie.NewEPSBearerID(6)).WithInstance(1), ie.NewRecovery(1), ie.NewUETimeZone(8*3600e9, 0),
		s.ConnectionSet(0, 1), s.ConnectionSet(1, 2), ie.New(ie.UserLocationInformation, 1, []byte{0}), ie.NewIMSI(s.IMSI), gtptest.PCO(),
		ie.New(ie.SecondaryRATUsageDataReport, 0, make([]byte, 27)), ie.New(ie.SecondaryRATUsageDataReport, 0, make([]byte, 27)))
	return all
}

// cut takes a message apart: header and whole elements.
func cut(t testing.TB, b []byte) (head []byte, list [][]byte) {
	t.Helper()
	n := 8
	if b[0]&0x08 != 0 {
		n = 12
	}
	e, err := splitElements(b[n:])
	if err != nil {
		t.Fatal(err)
	}
	for el := range e.all {
		list = append(list, raw(el.typ, el.instance, el.value))
	}
	return b[:n:n], list
}

func bodyOf(t testing.TB, b []byte) []byte {
	t.Helper()
	head, _ := cut(t, b)
	return b[len(head):]
}

// raw is an element, whatever go-gtp would make of it.
func raw(typ, instance uint8, value []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{typ}, uint16(len(value)))
	return append(append(b, instance), value...)
}

// join puts a message together again, its length made right.
func join(head []byte, list ...[]byte) []byte {
	b := slices.Concat(head, slices.Concat(list...))
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-4))
	return b
}

// withoutDigest is what a message says, to compare it with another.
func withoutDigest(m Message) Message {
	if m == nil {
		return nil
	}
	v := reflect.New(reflect.TypeOf(m).Elem())
	v.Elem().Set(reflect.ValueOf(m).Elem())
	v.Elem().FieldByName("Header").FieldByName("Digest").SetZero()
	return v.Interface().(Message)
}

// Every element of every message left out once: refused with the element's name,
// if it has to be there, and else understood.
func TestEveryMessageWithoutElement(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/error-handling", "mandatory-element-missing", "conditional-element-missing")
	gtptest.ShowsIn(t, "29.274/delete-session-request", "linked-eps-bearer-id-lbi-missing")
	type missing struct {
		name          string
		typ, instance uint8
	}
	want := map[missing]Cause{
		{"modify-command", ie.AggregateMaximumBitRate, 0}:  CauseMandatoryMissing,
		{"modify-command", ie.BearerContext, 0}:            CauseMandatoryMissing,
		{"change", ie.RATType, 0}:                          CauseMandatoryMissing,
		{"resume", ie.IMSI, 0}:                             CauseMandatoryMissing,
		{"lost-sets", ie.FullyQualifiedCSID, 1}:            CauseConditionalMissing,
		{"delete", ie.EPSBearerID, 0}:                      CauseConditionalMissing,
		{"resource-command", ie.EPSBearerID, 0}:            CauseMandatoryMissing,
		{"resource-command", ie.ProcedureTransactionID, 0}: CauseMandatoryMissing,
		{"delete-command", ie.BearerContext, 0}:            CauseMandatoryMissing,
	}
	for _, name := range []string{"create", "create-dependent"} {
		for typ, cause := range map[uint8]Cause{
			ie.IMSI: CauseConditionalMissing, ie.ServingNetwork: CauseConditionalMissing, ie.RATType: CauseMandatoryMissing,
			ie.FullyQualifiedTEID: CauseMandatoryMissing, ie.AccessPointName: CauseMandatoryMissing, ie.BearerContext: CauseMandatoryMissing,
		} {
			want[missing{name, typ, 0}] = cause
		}
	}
	for name, b := range samples(t) {
		head, list := cut(t, b)
		for i, left := range list {
			key := missing{name, left[0], left[3]}
			cause := want[key]
			delete(want, key)
			e := fault(t, join(head, slices.Delete(slices.Clone(list), i, i+1)...))
			switch {
			case cause == 0 && e != nil:
				t.Errorf("%s without IE %d instance %d: %v", name, left[0], left[3], e)
			case cause != 0 && (e == nil || e.Cause != cause || e.IE != left[0] || e.Instance != left[3]):
				t.Errorf("%s without IE %d instance %d: %v, want %v", name, left[0], left[3], e, cause)
			}
		}
	}
	if len(want) != 0 {
		t.Errorf("not in any sample: %v", slices.Collect(maps.Keys(want)))
	}
}

// Every element of every message twice: the first counts, whatever the second
// says. Where a list is foreseen, the second is one more.
func TestEveryMessageWithRepeatedElement(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/error-handling", "repeated-element")
	lists := map[uint8]bool{ie.BearerContext: true}
	for name, b := range samples(t) {
		want, err := Parse(b)
		if err != nil {
			t.Fatal(name, err)
		}
		head, list := cut(t, b)
		for _, e := range list {
			if lists[e[0]] || name == "lost-sets" {
				continue
			}
			second := raw(e[0], e[3], bytes.Repeat([]byte{0xee}, len(e)-4))
			m, err := Parse(join(head, append(slices.Clone(list), second)...))
			if err != nil || !reflect.DeepEqual(withoutDigest(m), withoutDigest(want)) {
				t.Errorf("%s, IE %d repeated: %v\n got %+v\nwant %+v", name, e[0], err, m, want)
			}
		}
		for _, strange := range [][]byte{raw(254, 0, []byte{1, 2}), raw(ie.FullyQualifiedTEID, 9, []byte{1}), raw(240, 3, nil)} {
			for i := range len(list) + 1 {
				m, err := Parse(join(head, slices.Insert(slices.Clone(list), i, strange)...))
				if err != nil || !reflect.DeepEqual(withoutDigest(m), withoutDigest(want)) {
					t.Errorf("%s, unknown IE %d at %d: %v, %+v", name, strange[0], i, err, m)
				}
			}
		}
	}
}

// Every length of every element of every message, 0 to 255, also within grouped
// elements: refused or understood, never worse; and what is refused is answered.
func TestEveryLength(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/error-handling", "element-of-invalid-length")
	for name, b := range samples(t) {
		head, list := cut(t, b)
		for i, e := range list {
			for n := range 256 {
				judge(t, name, with(head, list, i, resized(e, n)))
			}
			if e[0] != ie.BearerContext {
				continue
			}
			_, inner := cut(t, slices.Concat(head, e[4:]))
			for j, f := range inner {
				for n := range 256 {
					group := slices.Clone(inner)
					group[j] = resized(f, n)
					judge(t, name, with(head, list, i, raw(e[0], e[3], slices.Concat(group...))))
				}
			}
		}
	}
}

func resized(e []byte, n int) []byte {
	value := bytes.Repeat(append(slices.Clone(e[4:]), 0), 1+256/(len(e)-3))[:n]
	return raw(e[0], e[3], value)
}

func with(head []byte, list [][]byte, i int, e []byte) []byte {
	list = slices.Clone(list)
	list[i] = e
	return join(head, list...)
}

// judge reads a message that isn't as it should be: a request never meets
// silence, and what it is answered can be read.
func judge(t *testing.T, name string, b []byte) {
	t.Helper()
	e := fault(t, b)
	if e == nil {
		return
	}
	if e.Cause == 0 {
		t.Errorf("%s: silence (%v) to % x", name, e, b)
		return
	}
	m, _ := Parse(b)
	a := gtptest.Read(Refusal{TEID: SenderTEID(m), Reason: e}.Marshal(m))
	if a.Cause() != uint8(e.Cause) || a.Seq != m.Head().Seq {
		t.Errorf("%s: %v is answered with %+v", name, e, a)
	}
	if c := a.Find(ie.Cause, 0).Payload; e.IE != 0 && (len(c) != 6 || c[2] != e.IE || c[5] != e.Instance) {
		t.Errorf("%s: the offending element of %v is not named: % x", name, e, c)
	}
}

// The T bit taken away, the P bit set with and without a message behind, and
// every version, of every message.
func TestEveryHeader(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/header", "teid-flag-missing", "piggybacked-message", "message-priority-and-spare-bits")
	gtptest.ShowsIn(t, "29.274/error-handling", "other-versions-of-gtp")
	for name, b := range samples(t) {
		response := name == "update-response" || name == "delete-response"
		if name != "echo" {
			noTEID := slices.Concat(b[:4], b[8:])
			noTEID[0] &^= 0x08
			binary.BigEndian.PutUint16(noTEID[2:], uint16(len(noTEID)-4))
			e := fault(t, noTEID)
			if !response && (e == nil || e.Cause != CauseInvalidMessageFormat) || response && e != nil {
				t.Errorf("%s without TEID: %v", name, e)
			}
		}
		want, _ := Parse(b)
		for behind, more := range map[string][]byte{"nothing": nil, "another message": gtptest.New().Create(), "rubbish": {1, 2, 3}} {
			p := slices.Concat(b, more)
			p[0] |= 0x10
			m, err := Parse(p)
			if err != nil || !reflect.DeepEqual(withoutDigest(m), withoutDigest(want)) {
				t.Errorf("%s with P and %s behind: %+v, %v", name, behind, m, err)
			}
		}
		// A message priority (TS 29.274 5.5.1) and the spare bits change nothing.
		marked := slices.Clone(b)
		marked[0] |= 0x07
		marked[len(b)-len(bodyOf(t, b))-1] = 0x5f
		if m, err := Parse(marked); err != nil || !reflect.DeepEqual(withoutDigest(m), withoutDigest(want)) {
			t.Errorf("%s with a priority: %+v, %v", name, m, err)
		}
		for _, version := range []uint8{3, 4, 5, 6, 7} {
			other := slices.Clone(b)
			other[0] = other[0]&0x1f | version<<5
			if m, err := Parse(other); err != nil {
				t.Errorf("%s of version %d: %v", name, version, err)
			} else if _, ok := m.(*OtherVersion); !ok {
				t.Errorf("%s of version %d: %T", name, version, m)
			}
		}
	}
}

// Grouped elements within grouped elements, as deep as a datagram can hold:
// looked into no further than the message has them.
func TestNestedGroups(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/grouped-elements", "elements-nested-at-any-depth")
	s := gtptest.New()
	const depth = 15000
	nested := bytes.Repeat([]byte{ie.BearerContext, 0, 0, 0}, depth)
	for i := range depth {
		binary.BigEndian.PutUint16(nested[4*i+1:], uint16(4*(depth-i-1)))
	}
	for name, b := range samples(t) {
		head, list := cut(t, b)
		m, err := Parse(join(head, append(slices.Clone(list), nested)...))
		if _, faulty := m.(*Faulty); m == nil || !faulty && err != nil {
			t.Errorf("%s with %d levels of bearers: %T, %v", name, depth, m, err)
		}
		// The same inside the message's own group.
		for i, e := range list {
			if e[0] == ie.BearerContext {
				m, err := Parse(with(head, list, i, raw(e[0], e[3], slices.Concat(e[4:], nested))))
				if err != nil || m.Head().Seq&^0x800000 != s.Seq {
					t.Errorf("%s with bearers in its bearer: %T, %v", name, m, err)
				}
			}
		}
	}
	if _, err := Parse(s.Request(message.MsgTypeModifyBearerCommand, 1)); err == nil {
		t.Error("an empty command is accepted")
	}
}
