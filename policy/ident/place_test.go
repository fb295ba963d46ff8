package ident

import (
	"strings"
	"testing"
)

func TestPlaces(t *testing.T) {
	for _, c := range []struct{ in, tai, ecgi string }{
		{"46001-1a2b", "46001-1a2b", ""},
		{"310410-00FF", "310410-00ff", ""},
		{"46001-1a2b3c4", "", "46001-1a2b3c4"},
		{"310410-FFFFFFF", "", "310410-fffffff"},
		{"46001-1a2", "", ""},
		{"46001-1a2g", "", ""},
		{"460-01-1a2b", "", ""},
		{"4600-1a2b", "", ""},
		{"46001", "", ""},
		{"46001--001", "", ""},
		{"", "", ""},
	} {
		tai, err := ParseTAI(c.in)
		if tai.String() != c.tai || (err == nil) != (c.tai != "") || tai.IsZero() != (c.tai == "") {
			t.Errorf("tracking area %q: %s, %v", c.in, tai, err)
		}
		cell, err := ParseECGI(c.in)
		if cell.String() != c.ecgi || (err == nil) != (c.ecgi != "") || cell.IsZero() != (c.ecgi == "") {
			t.Errorf("cell %q: %s, %v", c.in, cell, err)
		}
	}
	plmn, _ := ParsePLMN("46001")
	if e := NewECGI(plmn, 0xf0000001); e.String() != "46001-0000001" || NewTAI(plmn, 1).PLMN() != plmn {
		t.Errorf("%s", e)
	}
	if got := NewTAI(plmn, 0x1a2b).LogValue().String(); strings.Contains(got, "1a2b") || !strings.HasPrefix(got, "46001") {
		t.Errorf("logged %s", got)
	}
}

func TestPlainName(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "head-office": true, strings.Repeat("a", 32): true, "7": true,
		"": false, "-a": false, "a-": false, "A": false, "a b": false, "a_b": false, "é": false, strings.Repeat("a", 33): false,
	} {
		if PlainName(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

func FuzzPlaces(f *testing.F) {
	for _, s := range []string{"46001-1a2b", "46001-1a2b3c4", "310410-ffff", "-", "46001-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := ParseTAI(s); err == nil {
			if b, err := ParseTAI(a.String()); err != nil || a != b {
				t.Fatalf("%q is %s, which is %s, %v", s, a, b, err)
			}
		}
		if a, err := ParseECGI(s); err == nil {
			if b, err := ParseECGI(a.String()); err != nil || a != b {
				t.Fatalf("%q is %s, which is %s, %v", s, a, b, err)
			}
		}
	})
}
