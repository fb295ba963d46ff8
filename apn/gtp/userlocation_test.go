package gtp

import (
	"slices"
	"testing"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/policy/ident"
)

var (
	tai  = []byte{0x64, 0xf0, 0x10, 0x1a, 0x2b}
	ecgi = []byte{0x13, 0x00, 0x14, 0xf1, 0xa2, 0xb3, 0xc4} // the top four bits of the cell are spare
	area = []byte{0x64, 0xf0, 0x10, 1, 2, 3, 4}             // of CGI, SAI and RAI
)

func TestParseUserLocation(t *testing.T) {
	for _, c := range []struct {
		name      string
		in        []byte
		tai, ecgi string
	}{
		{"nothing", nil, "", ""},
		{"no flags", []byte{0}, "", ""},
		{"tracking area", slices.Concat([]byte{8}, tai), "46001-1a2b", ""},
		{"cell", slices.Concat([]byte{16}, ecgi), "", "310410-1a2b3c4"},
		{"both", slices.Concat([]byte{0x18}, tai, ecgi), "46001-1a2b", "310410-1a2b3c4"},
		{"after CGI, SAI and RAI, before LAI and eNodeBs", slices.Concat([]byte{0xff}, area, area, area, tai, ecgi, area[:5], area[:6], area[:6]), "46001-1a2b", "310410-1a2b3c4"},
		{"after RAI", slices.Concat([]byte{0x1c}, area, tai, ecgi), "46001-1a2b", "310410-1a2b3c4"},
		{"none of them", slices.Concat([]byte{0x07}, area, area, area), "", ""},
		{"network that is none", []byte{8, 0xff, 0xff, 0xff, 1, 2}, "", ""},
		{"cut in the area before", slices.Concat([]byte{0x0c}, area[:6]), "", ""},
		{"cut in the tracking area", slices.Concat([]byte{8}, tai[:4]), "", ""},
		{"cut in the cell", slices.Concat([]byte{0x18}, tai, ecgi[:6]), "", ""},
	} {
		got := ParseUserLocation(c.in)
		if got.TAI.String() != c.tai || got.ECGI.String() != c.ecgi {
			t.Errorf("%s: %s, %s", c.name, got.TAI, got.ECGI)
		}
	}
	value, err := gtptest.Location().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	plmn, _ := ident.ParsePLMN("46001")
	if got := ParseUserLocation(value[4:]); got != (UserLocation{ident.NewTAI(plmn, 1), ident.NewECGI(plmn, 1)}) {
		t.Errorf("%+v", got)
	}
}

func FuzzParseUserLocation(f *testing.F) {
	f.Add(slices.Concat([]byte{0x18}, tai, ecgi))
	f.Add(slices.Concat([]byte{0xff}, area, area, area, tai, ecgi))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		whole := ParseUserLocation(b)
		for i := range b {
			// Cut short there is nothing known, or what was known before the cut.
			cut := ParseUserLocation(b[:i])
			if !cut.TAI.IsZero() && cut.TAI != whole.TAI || !cut.ECGI.IsZero() && cut.ECGI != whole.ECGI {
				t.Fatalf("%+v cut at %d is %+v", whole, i, cut)
			}
		}
	})
}
