package bundle

import "github.com/sealedge/sealedge/policy"

// Diff says what putting new in the place of old means, over a population. The
// settings and the touches don't depend on it.
func Diff(old, new *policy.Rules, p Population) Difference {
	d := Difference{Touches: Touched(old, new), Settings: Settings(old, new), Effects: []Effect{}}
	if d.Settings == nil {
		d.Settings = []Setting{}
	}
	d.sessions(old, new, p.Sessions)
	return d
}
