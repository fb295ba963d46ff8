package bundle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/region"
)

// placeAtoms are the places that rules tell apart: those that are in the same
// locations of all documents are one. The first half are tracking areas, the
// second cells. A place that is in no location has no number: a request that is
// there hits nothing.
type placeAtoms struct {
	size, half int
	tais       map[string]int
	ecgis      map[string]int
	example    []string // a place of each
}

func newPlaceAtoms(docs []*policy.Rules) placeAtoms {
	a := placeAtoms{tais: map[string]int{}, ecgis: map[string]int{}}
	a.half = a.number(a.tais, docs, 0, func(l policy.Location) []string { return l.TAIs })
	a.size = a.half + a.number(a.ecgis, docs, a.half, func(l policy.Location) []string { return l.ECGIs })
	return a
}

// number gives the places of one kind their numbers, and returns how many there
// are.
func (a *placeAtoms) number(to map[string]int, docs []*policy.Rules, from int, of func(policy.Location) []string) int {
	in := map[string][]string{} // which locations a place is in
	for i, doc := range docs {
		for _, name := range keysOf(doc.Locations, nil) {
			for _, place := range of(doc.Locations[name]) {
				in[place] = append(in[place], fmt.Sprintf("%d/%s", i, name))
			}
		}
	}
	numbers := map[string]int{}
	for _, place := range keysOf(in, nil) {
		key := strings.Join(slices.Compact(in[place]), " ")
		n, ok := numbers[key]
		if !ok {
			n = from + len(numbers)
			numbers[key] = n
			a.example = append(a.example, place)
		}
		to[place] = n
	}
	return len(numbers)
}

// set is the places of some locations of a document.
func (a *placeAtoms) set(doc *policy.Rules, locations []string) region.Set {
	s := region.Of(a.size)
	for _, name := range locations {
		for _, p := range doc.Locations[name].TAIs {
			s.Add(a.tais[p])
		}
		for _, p := range doc.Locations[name].ECGIs {
			s.Add(a.ecgis[p])
		}
	}
	return s
}
