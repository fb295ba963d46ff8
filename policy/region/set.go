package region

import "math/bits"

// Set is a set of values of one dimension, by their numbers. nil is all of them.
// Sets are shared between boxes and never changed once they are in one.
type Set []uint64

// Of makes the set of some values of a dimension that has size of them.
func Of(size int, values ...int) Set {
	s := make(Set, (size+63)/64)
	for _, v := range values {
		s.Add(v)
	}
	return s
}

// Add puts a value into a set that is being made.
func (s Set) Add(v int) { s[v/64] |= 1 << (v % 64) }

// Has tells whether a value is in the set.
func (s Set) Has(v int) bool { return s == nil || s[v/64]&(1<<(v%64)) != 0 }

// empty tells whether there is nothing in it.
func (s Set) empty() bool {
	if s == nil {
		return false
	}
	for _, w := range s {
		if w != 0 {
			return false
		}
	}
	return true
}

// And is what is in both.
func (s Set) And(t Set) Set {
	switch {
	case s == nil:
		return t
	case t == nil:
		return s
	}
	out := make(Set, len(s))
	for i := range s {
		out[i] = s[i] & t[i]
	}
	return out
}

// Or is what is in either.
func (s Set) Or(t Set) Set {
	if s == nil || t == nil {
		return nil
	}
	out := make(Set, len(s))
	for i := range s {
		out[i] = s[i] | t[i]
	}
	return out
}

// meets tells whether anything is in all three.
func (s Set) meets(t, u Set) bool {
	switch {
	case s == nil && t == nil && u == nil:
		return true
	case s == nil:
		s, u = u, nil
		if s == nil {
			s, t = t, nil
		}
	}
	for i, w := range s {
		if t != nil {
			w &= t[i]
		}
		if u != nil {
			w &= u[i]
		}
		if w != 0 {
			return true
		}
	}
	return false
}

// without is what is in s and not in t, of a dimension that has size values.
func (s Set) without(t Set, size int) Set {
	out := make(Set, (size+63)/64)
	if t == nil {
		return out
	}
	for i := range out {
		w := ^uint64(0)
		if s != nil {
			w = s[i]
		} else if rest := size - 64*i; rest < 64 {
			w = 1<<rest - 1
		}
		out[i] = w &^ t[i]
	}
	return out
}

// covers tells whether all of t, of a dimension that has size values, is in s.
func (s Set) covers(t Set, size int) bool { return t.without(s, size).empty() }

// All lists the values in the set, of a dimension that has size values.
func (s Set) All(size int) []int {
	var out []int
	if s == nil {
		for v := range size {
			out = append(out, v)
		}
		return out
	}
	for i, w := range s {
		for ; w != 0; w &= w - 1 {
			out = append(out, 64*i+bits.TrailingZeros64(w))
		}
	}
	return out
}
