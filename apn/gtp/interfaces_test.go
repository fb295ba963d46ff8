package gtp

import (
	"slices"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv2/ie"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

// Every request on every interface of a PGW, by table 6.1-1.
func TestTypesByInterface(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/error-handling", "unexpected-message-or-on-the-wrong-interface")
	s := gtptest.New()
	s5, s2b, s2a := InterfaceS5S8SGWControl, InterfaceS2bControl, InterfaceS2aControl
	on := map[uint8][]uint8{
		1: {s5, s2b, s2a}, 32: {s5, s2b, s2a}, 34: {s5, s2b}, 36: {s5, s2b, s2a}, 38: {s5}, 40: {s5}, 64: {s5, s2b, s2a}, 66: {s5},
		68: {s5, s2b, s2a}, 101: {s5, s2b, s2a}, 162: {s5}, 164: {s5}, 200: {s5},
	}
	for typ := range uint8(255) {
		for _, access := range []uint8{s5, s2b, s2a} {
			want := slices.Contains(on[typ], access)
			if got := DefinedOn(typ, access); got != want {
				t.Errorf("type %d on interface %d: %v", typ, access, got)
			}
			if on[typ] == nil || want {
				continue
			}
			// What names itself as sent over the wrong interface is discarded.
			m, _ := Parse(s.Request(typ, 1, ie.NewFullyQualifiedTEID(access, 9, "127.0.20.1", ""), ie.NewIMSI(s.IMSI),
				ie.NewGroupedIE(ie.BearerContext, ie.NewEPSBearerID(5))))
			if _, faulty := m.(*Faulty); m != nil && !faulty && typ != 38 { // 38 has no F-TEID
				t.Errorf("type %d from interface %d gave a %T", typ, access, m)
			}
		}
	}
	if DefinedOn(32, InterfaceS5S8PGWControl) || DefinedOn(32, 10) {
		t.Error("a PGW and an MME are no peers of ours")
	}
}
