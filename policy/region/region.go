// Package region computes with sets of requests: which requests one rule is for
// that no earlier one is for, and whether there are any. The dimensions of a
// request (who, where, when, with what) have finitely many values each, so that
// the answers are exact; a Budget bounds the work.
//
// A set of requests is a list of Boxes, products of conditions on the
// dimensions, that have nothing in common with one another.
package region

import "errors"

// Kind is how many values of a dimension a request has.
type Kind uint8

// The kinds of dimensions.
const (
	One  Kind = iota // exactly one
	Many             // any number, none too
	Pair             // at most one of the first half, up to Dim.Half, and one of the others
)

// Dim is a dimension. Its values are numbered from 0 to Size-1.
type Dim struct {
	Name string
	Size int
	Kind Kind
	Half int // of a Pair: the first value of the second half
}

// Link says that two dimensions depend on each other: a request with value v of
// From has only values out of Allowed[v] of To. A dimension that is To in one
// link is From in none, and To in no other.
type Link struct {
	From, To int
	Allowed  []Set
}

// Space is what the requests of one kind are points of.
type Space struct {
	Dims  []Dim
	Links []Link
}

// Box is a product of conditions, one for each dimension of its space.
type Box []Condition

// Condition is on the values of a request on one dimension: all of them are in
// Within, and at least one of them is in each of Hits.
type Condition struct {
	Within Set
	Hits   []Set
}

// ErrBudget is returned where the work was more than allowed: the answer is not
// known.
var ErrBudget = errors.New("too much to compute")

// Budget is how many steps may still be made: boxes compared, or made. It has one
// owner.
type Budget int

// spend takes a step.
func (b *Budget) spend() error {
	if *b--; *b < 0 {
		return ErrBudget
	}
	return nil
}

// All is the whole space.
func (s *Space) All() Box { return make(Box, len(s.Dims)) }

// Match puts a condition of a rule on a dimension of a box that is being made:
// the request has a value out of the set.
func (s *Space) Match(b Box, dim int, set Set) {
	if s.Dims[dim].Kind == One {
		b[dim].Within = b[dim].Within.And(set)
		return
	}
	b[dim].Hits = append(b[dim].Hits[:len(b[dim].Hits):len(b[dim].Hits)], set)
}

// And is what is in both boxes. ok is false when that is nothing.
func (s *Space) And(a, b Box) (Box, bool) {
	if s.apart(a, b) {
		return nil, false
	}
	out := make(Box, len(a))
	for d := range a {
		out[d] = Condition{a[d].Within.And(b[d].Within), s.join(d, a[d].Hits, b[d].Hits)}
	}
	return out, !s.Empty(out)
}

// apart tells, for most boxes that have nothing in common, that they haven't.
func (s *Space) apart(a, b Box) bool {
	for d := range a {
		if s.Dims[d].Kind == One && !a[d].Within.meets(b[d].Within, nil) {
			return true
		}
		for _, h := range b[d].Hits {
			if !a[d].Within.meets(h, nil) {
				return true
			}
		}
	}
	return false
}

// join collects what is to be hit, leaving out what follows from another.
func (s *Space) join(dim int, a, b []Set) []Set {
	if len(b) == 0 {
		return a
	}
	out := append([]Set(nil), a...)
	for _, h := range b {
		if !s.implied(dim, out, h) {
			out = append(out, h)
		}
	}
	return out
}

func (s *Space) implied(dim int, have []Set, h Set) bool {
	for _, x := range have {
		if h.covers(x, s.Dims[dim].Size) {
			return true
		}
	}
	return false
}

// Minus is what of a box is not in another, in boxes that are apart.
func (s *Space) Minus(a, b Box, budget *Budget) ([]Box, error) {
	if err := budget.spend(); err != nil {
		return nil, err
	}
	if s.Empty(a) {
		return nil, nil
	}
	if _, ok := s.And(a, b); !ok {
		return []Box{a}, nil
	}
	var out []Box
	rest := append(Box(nil), a...)
	// Piece by piece: what breaks this condition of b and holds those before it.
	piece := func(d int, c Condition) error {
		p := append(Box(nil), rest...)
		p[d] = c
		if s.Empty(p) {
			return nil
		}
		out = append(out, p)
		return budget.spend()
	}
	for d := range b {
		size := s.Dims[d].Size
		if w := b[d].Within; w != nil && !w.covers(rest[d].Within, size) {
			broken := Condition{Within: rest[d].Within.without(w, size)}
			if s.Dims[d].Kind != One {
				broken = Condition{rest[d].Within, s.join(d, rest[d].Hits, []Set{Set(nil).without(w, size)})}
			}
			if err := piece(d, broken); err != nil {
				return nil, err
			}
			rest[d].Within = rest[d].Within.And(w)
		}
		for _, h := range b[d].Hits {
			if err := piece(d, Condition{rest[d].Within.without(h, size), rest[d].Hits}); err != nil {
				return nil, err
			}
			rest[d].Hits = s.join(d, rest[d].Hits, []Set{h})
		}
	}
	return out, nil
}

// Without takes boxes out of boxes.
func (s *Space) Without(from []Box, take []Box, budget *Budget) ([]Box, error) {
	for _, t := range take {
		if len(from) == 0 {
			return nil, nil
		}
		var next []Box
		for _, f := range from {
			pieces, err := s.Minus(f, t, budget)
			if err != nil {
				return nil, err
			}
			next = append(next, pieces...)
		}
		from = next
	}
	return from, nil
}
