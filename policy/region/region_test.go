package region

import (
	"errors"
	"math/rand/v2"
	"testing"
)

// small is a space that can be walked point by point.
func small() *Space {
	return &Space{
		Dims: []Dim{{Name: "a", Size: 3}, {Name: "b", Size: 4}, {Name: "group", Size: 3, Kind: Many}, {Name: "place", Size: 4, Kind: Pair, Half: 2}},
		// With a = 2 there is no place, and b is 0.
		Links: []Link{
			{From: 0, To: 1, Allowed: []Set{nil, Of(4, 1, 2, 3), Of(4, 0)}},
			{From: 0, To: 3, Allowed: []Set{nil, nil, Of(4)}},
		},
	}
}

// points are all that there are.
func points(s *Space) []Point {
	var out []Point
	for a := range 3 {
		for b := range 4 {
			if !s.Links[0].Allowed[a].Has(b) {
				continue
			}
			for groups := range 8 {
				for _, place := range [][]int{{}, {0}, {1}, {2}, {3}, {0, 2}, {0, 3}, {1, 2}, {1, 3}} {
					if a == 2 && len(place) > 0 {
						continue
					}
					g := []int{}
					for i := range 3 {
						if groups&(1<<i) != 0 {
							g = append(g, i)
						}
					}
					out = append(out, Point{{a}, {b}, g, place})
				}
			}
		}
	}
	return out
}

func randomBox(s *Space, r *rand.Rand) Box {
	b := s.All()
	for d, dim := range s.Dims {
		for range r.IntN(3) {
			set := Of(dim.Size)
			for v := range dim.Size {
				if r.IntN(3) > 0 {
					set.Add(v)
				}
			}
			s.Match(b, d, set)
		}
	}
	return b
}

// What is computed with boxes is what walking all requests gives.
func TestAgainstAllPoints(t *testing.T) {
	s := small()
	all := points(s)
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 400 {
		from := randomBox(s, r)
		var take []Box
		for range 1 + r.IntN(3) {
			take = append(take, randomBox(s, r))
		}
		budget := Budget(100_000)
		rest, err := s.Without([]Box{from}, take, &budget)
		if err != nil {
			t.Fatal(err)
		}
		left := 0
		for _, p := range all {
			want := s.Holds(from, p)
			for _, x := range take {
				want = want && !s.Holds(x, p)
			}
			in := 0
			for _, x := range rest {
				if s.Holds(x, p) {
					in++
				}
			}
			if want != (in == 1) || in > 1 {
				t.Fatalf("round %d: %v is in %d boxes of what is left, want %t", round, p, in, want)
			}
			if want {
				left++
			}
		}
		if (left == 0) != (len(rest) == 0) {
			t.Fatalf("round %d: %d requests are left, in %d boxes", round, left, len(rest))
		}
		for _, x := range rest {
			w := s.Witness(x)
			if w == nil || !s.Holds(x, w) || !s.Links[0].Allowed[w[0][0]].Has(w[1][0]) {
				t.Fatalf("round %d: the witness %v isn't in %v", round, w, x)
			}
		}
		both, ok := s.And(from, take[0])
		some := false
		for _, p := range all {
			if want := s.Holds(from, p) && s.Holds(take[0], p); want != (ok && s.Holds(both, p)) {
				t.Fatalf("round %d: %v in both: %t", round, p, want)
			} else if want {
				some = true
			}
		}
		if ok != some {
			t.Fatalf("round %d: ok is %t", round, ok)
		}
	}
}

func TestBudget(t *testing.T) {
	s := small()
	hole := s.All()
	s.Match(hole, 0, Of(3, 1))
	s.Match(hole, 1, Of(4, 1))
	budget := Budget(1)
	if _, err := s.Without([]Box{s.All()}, []Box{hole}, &budget); !errors.Is(err, ErrBudget) {
		t.Errorf("two pieces on a budget of one: %v", err)
	}
}
