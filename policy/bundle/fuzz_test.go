package bundle

import (
	"os"
	"slices"
	"testing"

	"github.com/sealedge/sealedge/policy"
)

// Whatever is a policy can be looked through and compared, and is no different from
// itself.
func FuzzAnalysis(f *testing.F) {
	for _, file := range []string{"every", "rules", "carriers"} {
		doc, err := os.ReadFile("testdata/" + file + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(doc)
	}
	f.Add(append(Default(Params{}), testedRules+"  - {name: t, action: attach, expect: {decision: permit}}\n"...))
	base, _, err := Parse("base", Default(Params{}))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		r, _, err := Parse("f", doc)
		if err != nil {
			return
		}
		p := town()
		for _, x := range Lint(r, &p) {
			if x.Text == "" || x.Kind == "" {
				t.Fatalf("a finding without words: %+v", x)
			}
		}
		if d := Diff(r, r, p); len(d.Settings)+len(d.Effects) > 0 || !slices.Equal(d.Touches, []policy.Touch{policy.TouchTightening}) {
			t.Fatalf("it differs from itself: %+v", d)
		}
		for _, d := range []Difference{Diff(base, r, p), Diff(r, base, p), Diff(nil, r, p), Diff(r, nil, p)} {
			if len(d.Touches) == 0 {
				t.Fatalf("it touches nothing: %+v", d)
			}
		}
	})
}
