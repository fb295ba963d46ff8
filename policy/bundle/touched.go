package bundle

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/sealedge/sealedge/policy"
)

// Setting is one difference between two documents.
type Setting struct {
	Key      string       `json:"key"`           // "spec/sealTypes/company/maxCount", as in policy.Rules.Sources
	Old      string       `json:"old,omitempty"` // for people; empty: it wasn't there
	New      string       `json:"new,omitempty"` // empty: it isn't there any more
	Touch    policy.Touch `json:"touch"`         // what the difference widens; TouchTightening: nothing
	Where    string       `json:"where,omitempty"`
	WhereOld string       `json:"where_old,omitempty"`
}

// String is the difference on one line.
func (s Setting) String() string {
	switch {
	case s.Old == "":
		return fmt.Sprintf("%s: %s is new (%s)", s.Key, s.New, s.Touch)
	case s.New == "":
		return fmt.Sprintf("%s: %s is gone (%s)", s.Key, s.Old, s.Touch)
	}
	return fmt.Sprintf("%s: %s, was %s (%s)", s.Key, s.New, s.Old, s.Touch)
}

// Touched tells what a change of the policy touches, in the order of
// policy.Touches. It errs on the side of asking more people: what can't be
// shown to tighten counts as widening. With TouchTightening alone everything
// that the new rules allow was allowed by the old ones. A nil old, no policy in
// force, is touched by everything.
func Touched(old, new *policy.Rules) []policy.Touch {
	return touches(Settings(old, new), new)
}

// touches are those of some settings. Without a policy nothing is allowed.
func touches(settings []Setting, new *policy.Rules) []policy.Touch {
	var out []policy.Touch
	for _, t := range policy.Touches() {
		if new != nil && t != policy.TouchTightening && slices.ContainsFunc(settings, func(s Setting) bool { return s.Touch == t }) {
			out = append(out, t)
		}
	}
	if len(out) == 0 {
		out = []policy.Touch{policy.TouchTightening}
	}
	return out
}

// Settings lists how two documents differ, by key. A nil one has nothing in it.
func Settings(old, new *policy.Rules) []Setting {
	if old == nil {
		old = &policy.Rules{}
		if new != nil { // who decides about changes is decided for the first time
			old.Control.Approvals = map[policy.Touch]uint32{policy.TouchControl: math.MaxUint32}
		}
	}
	if new == nil {
		new = &policy.Rules{Control: old.Control}
	}
	c := comparison{old: old, new: new}
	c.apns()
	c.carriers()
	c.admission()
	c.levels()
	c.sealTypes()
	c.servers()
	c.fallback()
	c.hotspot()
	c.places()
	c.table()
	c.control()
	slices.SortStableFunc(c.out, func(a, b Setting) int { return cmp.Compare(a.Key, b.Key) })
	return c.out
}

// comparison collects the differences of two documents.
type comparison struct {
	old, new *policy.Rules
	out      []Setting
}

// note keeps a difference, if there is one.
func (c *comparison) note(touch policy.Touch, old, new string, key ...string) {
	if old == new {
		return
	}
	k := strings.Join(key, "/")
	c.out = append(c.out, Setting{
		Key: k, Old: old, New: new, Touch: touch, Where: c.new.Sources[k], WhereOld: c.old.Sources[k],
	})
}

// unless gives TouchTightening where a difference was shown to be one.
func unless(tightens bool, touch policy.Touch) policy.Touch {
	if tightens {
		return policy.TouchTightening
	}
	return touch
}

// most compares a bound that widens as it rises.
func most[T cmp.Ordered](c *comparison, touch policy.Touch, old, new T, key ...string) {
	c.note(unless(new <= old, touch), fmt.Sprint(old), fmt.Sprint(new), key...)
}

// orNever compares a time after which something ends, where 0 is never.
func (c *comparison) orNever(touch policy.Touch, old, new time.Duration, key ...string) {
	word := func(d time.Duration) string {
		if d == 0 {
			return "never"
		}
		return d.String()
	}
	c.note(unless(new != 0 && (old == 0 || new <= old), touch), word(old), word(new), key...)
}

// anyOf compares lists of what is allowed, where an empty one allows all.
func anyOf[T comparable](c *comparison, touch policy.Touch, old, new []T, key ...string) {
	word := func(l []T) string {
		if len(l) == 0 {
			return "any"
		}
		return words(l)
	}
	c.note(unless(narrower(old, new), touch), word(old), word(new), key...)
}

// narrower tells whether new allows nothing that old doesn't, where an empty
// list allows all.
func narrower[T comparable](old, new []T) bool {
	return len(old) == 0 || len(new) > 0 && within(old, new)
}

// within tells whether all of new is in old.
func within[T comparable](old, new []T) bool {
	return !slices.ContainsFunc(new, func(t T) bool { return !slices.Contains(old, t) })
}

// words lists values for people, always in the same order.
func words[T any](l []T) string {
	out := make([]string, len(l))
	for i, t := range l {
		out[i] = fmt.Sprint(t)
	}
	slices.Sort(out)
	return "[" + strings.Join(out, ", ") + "]"
}

// keysOf lists the keys of two maps, each once, in their order.
func keysOf[K cmp.Ordered, V any](a, b map[K]V) []K {
	var out []K
	for k := range a {
		out = append(out, k)
	}
	for k := range b {
		if _, both := a[k]; !both {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}
