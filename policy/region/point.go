package region

import "math/bits"

// Empty tells whether no request is in the box.
func (s *Space) Empty(b Box) bool { return s.Witness(b) == nil }

// Point is a request: its values by dimension.
type Point [][]int

// Witness is a request that is in the box, or nil.
func (s *Space) Witness(b Box) Point {
	p := make(Point, len(b))
	linked := make([]bool, len(b)) // decided together with another
	for _, l := range s.Links {
		linked[l.From], linked[l.To] = true, true
	}
	for d := range b {
		if linked[d] {
			continue
		}
		v, ok := s.pick(d, b[d], nil)
		if !ok {
			return nil
		}
		p[d] = v
	}
	for _, l := range s.Links {
		if p[l.From] == nil && !s.star(p, b, l.From) {
			return nil
		}
	}
	return p
}

// star decides a dimension and all that depend on it.
func (s *Space) star(p Point, b Box, from int) bool {
next:
	for v := range s.Dims[from].Size {
		if !b[from].Within.Has(v) {
			continue
		}
		for _, l := range s.Links {
			if l.From != from {
				continue
			}
			values, ok := s.pick(l.To, b[l.To], l.Allowed[v])
			if !ok {
				continue next
			}
			p[l.To] = values
		}
		p[from] = []int{v}
		return true
	}
	return false
}

// pick chooses values of a dimension that hold a condition, within what else is
// allowed.
func (s *Space) pick(d int, c Condition, allowed Set) ([]int, bool) {
	dim := s.Dims[d]
	switch {
	case dim.Kind == One:
		v, ok := first(c.Within, allowed, nil, dim.Size)
		return []int{v}, ok
	case dim.Kind == Pair:
		return pair(dim, c, c.Within.And(allowed))
	}
	out := []int{}
	for _, h := range c.Hits {
		v, ok := first(c.Within, allowed, h, dim.Size)
		if !ok {
			return nil, false
		}
		out = append(out, v)
	}
	return out, true
}

// first is the lowest value in all three sets.
func first(a, b, c Set, size int) (int, bool) {
	for i := range (size + 63) / 64 {
		w := ^uint64(0)
		if rest := size - 64*i; rest < 64 {
			w = 1<<rest - 1
		}
		for _, s := range [...]Set{a, b, c} {
			if s != nil {
				w &= s[i]
			}
		}
		if w != 0 {
			return 64*i + bits.TrailingZeros64(w), true
		}
	}
	return 0, false
}

// pair chooses at most one value of either half so that all is hit.
func pair(dim Dim, c Condition, within Set) ([]int, bool) {
	if len(c.Hits) == 0 {
		return []int{}, true
	}
	for _, v := range c.Hits[0].And(within).All(dim.Size) {
		// What v doesn't hit has to be hit by one value of the other half.
		rest, missing := within, false
		for _, h := range c.Hits {
			if !h.Has(v) {
				rest, missing = rest.And(h), true
			}
		}
		if !missing {
			return []int{v}, true
		}
		for _, w := range rest.All(dim.Size) {
			if (w < dim.Half) != (v < dim.Half) {
				return []int{v, w}, true
			}
		}
	}
	return nil, false
}

// Holds tells whether a request is in the box. Links are the request's own
// business.
func (s *Space) Holds(b Box, p Point) bool {
	for d := range b {
		for _, v := range p[d] {
			if !b[d].Within.Has(v) {
				return false
			}
		}
		for _, h := range b[d].Hits {
			hit := false
			for _, v := range p[d] {
				hit = hit || h.Has(v)
			}
			if !hit {
				return false
			}
		}
	}
	return true
}
