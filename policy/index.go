package policy

import (
	"math/bits"
	"slices"
	"time"

	"github.com/sealedge/sealedge/policy/ident"
)

// index finds the first rule of a table that matches, without walking it: for each
// value of each dimension there is a set of the rules that it satisfies, and what
// they have in common are the rules that match. It is made once, and read by any
// number of readers.
type index struct {
	table   *Rule // what it was made of: the first rule, and how many
	size    int
	actions [ActionUse + 1]*lookup
	devices map[ident.MAC]int // in Rules.Hotspot
}

// bitset is a set of the rules of one action, by their order.
type bitset []uint64

func (b bitset) set(i int) { b[i/64] |= 1 << (i % 64) }

// dimension has the rules that a value satisfies.
type dimension[K comparable] struct {
	used bool         // a rule asks for it
	any  bitset       // rules that don't ask
	by   map[K]bitset // rules that name the value
}

// of is the set of one value, with those that don't ask; for dimensions of which a
// request has one value.
func (d *dimension[K]) of(value K) bitset {
	if s, ok := d.by[value]; ok {
		return s
	}
	return d.any
}

// lookup is the index of one action.
type lookup struct {
	rules []int // in the table
	words int
	every bitset

	imsi, group, tac       dimension[string]
	prefix                 dimension[string]
	lengths                []int // of prefixes
	apn                    dimension[ident.APN]
	path                   dimension[PathKind]
	plmn                   dimension[ident.PLMN]
	rat                    dimension[RAT]
	tai                    dimension[ident.TAI]
	ecgi                   map[ident.ECGI]bitset // beside tai
	week                   timetable
	sealType, barrel, role dimension[string]
	mac                    dimension[ident.MAC]
}

// Index makes the tables that decisions are looked up in. Rules without them, or
// whose Table is another by now, decide alike, by walking. Call it before others
// read the rules.
func (r *Rules) Index() {
	r.index = nil
	if len(r.Table) == 0 && len(r.Hotspot) == 0 {
		return
	}
	x := &index{size: len(r.Table), devices: map[ident.MAC]int{}}
	for i := len(r.Hotspot) - 1; i >= 0; i-- { // of two the first counts
		x.devices[r.Hotspot[i].MAC] = i
	}
	if len(r.Table) > 0 {
		x.table = &r.Table[0]
	}
	for a := ActionAttach; a <= ActionUse; a++ {
		x.actions[a] = r.indexAction(a)
	}
	r.index = x
}

// current tells whether the index is of the table that there is.
func (x *index) current(r *Rules) bool {
	return x != nil && x.size == len(r.Table) && (x.size == 0 || x.table == &r.Table[0])
}

func (r *Rules) indexAction(a Action) *lookup {
	x := &lookup{}
	for i := range r.Table {
		if r.Table[i].Action == a {
			x.rules = append(x.rules, i)
		}
	}
	if len(x.rules) == 0 {
		return nil
	}
	x.words = (len(x.rules) + 63) / 64
	x.every = make(bitset, x.words)
	match := make([]*Match, len(x.rules))
	for n, i := range x.rules {
		x.every.set(n)
		match[n] = &r.Table[i].Match
	}
	x.imsi = dimensionOf(match, func(m *Match) []string { return m.IMSIs }, single)
	x.prefix = dimensionOf(match, func(m *Match) []string { return m.IMSIPrefixes }, several)
	for p := range x.prefix.by {
		if !slices.Contains(x.lengths, len(p)) {
			x.lengths = append(x.lengths, len(p))
		}
	}
	slices.Sort(x.lengths)
	x.group = dimensionOf(match, func(m *Match) []string { return m.Groups }, several)
	x.tac = dimensionOf(match, func(m *Match) []string { return m.TACs }, single)
	x.apn = dimensionOf(match, func(m *Match) []ident.APN { return m.APNs }, single)
	x.path = dimensionOf(match, func(m *Match) []PathKind { return m.Paths }, single)
	x.plmn = dimensionOf(match, func(m *Match) []ident.PLMN { return m.PLMNs }, single)
	x.rat = dimensionOf(match, func(m *Match) []RAT { return m.RATs }, single)
	x.sealType = dimensionOf(match, func(m *Match) []string { return m.SealTypes }, single)
	x.barrel = dimensionOf(match, func(m *Match) []string { return m.Barrels }, single)
	x.role = dimensionOf(match, func(m *Match) []string { return m.Roles }, single)
	x.mac = dimensionOf(match, func(m *Match) []ident.MAC { return m.MACs }, single)
	x.places(r, match)
	x.week = timetableOf(match)
	return x
}

// places indexes locations by what carriers tell.
func (x *lookup) places(r *Rules, match []*Match) {
	named := dimensionOf(match, func(m *Match) []string { return m.Locations }, several)
	x.tai = dimension[ident.TAI]{used: named.used, any: named.any, by: map[ident.TAI]bitset{}}
	x.ecgi = map[ident.ECGI]bitset{}
	for name, rules := range named.by {
		for _, s := range r.Locations[name].TAIs {
			if tai, err := ident.ParseTAI(s); err == nil {
				x.tai.by[tai] = union(x.tai.by[tai], rules)
			}
		}
		for _, s := range r.Locations[name].ECGIs {
			if ecgi, err := ident.ParseECGI(s); err == nil {
				x.ecgi[ecgi] = union(x.ecgi[ecgi], rules)
			}
		}
	}
}

func union(a, b bitset) bitset {
	out := slices.Clone(b)
	for i := range a {
		out[i] |= a[i]
	}
	return out
}

// Whether a request has one value of a dimension, or several.
const (
	single  = true
	several = false
)

// dimensionOf indexes one field of the rules. Zero values match nothing.
func dimensionOf[K comparable](match []*Match, field func(*Match) []K, one bool) dimension[K] {
	words := (len(match) + 63) / 64
	d := dimension[K]{any: make(bitset, words), by: map[K]bitset{}}
	var zero K
	for n, m := range match {
		values := field(m)
		if len(values) == 0 {
			d.any.set(n)
			continue
		}
		d.used = true
		for _, v := range values {
			if v == zero {
				continue
			}
			if d.by[v] == nil {
				d.by[v] = make(bitset, words)
			}
			d.by[v].set(n)
		}
	}
	if one {
		for _, s := range d.by {
			for i := range s {
				s[i] |= d.any[i]
			}
		}
	}
	return d
}

// first returns the place in the table of the first rule that matches; -1: none.
func (x *lookup) first(f *facts, zone *time.Location) int {
	if x == nil {
		return -1
	}
	var room [48]bitset
	var stops [16]int
	sets, ends := room[:0], stops[:0]
	end := func() { ends = append(ends, len(sets)) }
	if x.imsi.used {
		sets = append(sets, x.imsi.of(f.imsi))
		end()
	}
	if x.prefix.used {
		sets = append(sets, x.prefix.any)
		for _, n := range x.lengths {
			if len(f.imsi) >= n {
				if s, ok := x.prefix.by[f.imsi[:n]]; ok {
					sets = append(sets, s)
				}
			}
		}
		end()
	}
	if x.group.used {
		sets = append(sets, x.group.any)
		for _, g := range f.groups {
			if s, ok := x.group.by[g]; ok {
				sets = append(sets, s)
			}
		}
		end()
	}
	if x.tac.used {
		sets = append(sets, x.tac.of(f.access.IMEI.TAC()))
		end()
	}
	if x.apn.used {
		sets = append(sets, x.apn.of(f.apn))
		end()
	}
	if x.path.used {
		sets = append(sets, x.path.of(f.path))
		end()
	}
	if x.plmn.used {
		sets = append(sets, x.plmn.of(f.access.PLMN))
		end()
	}
	if x.rat.used {
		sets = append(sets, x.rat.of(f.access.RAT))
		end()
	}
	if x.tai.used {
		sets = append(sets, x.tai.any)
		if s, ok := x.tai.by[f.access.Place.TAI]; ok {
			sets = append(sets, s)
		}
		if s, ok := x.ecgi[f.access.Place.ECGI]; ok {
			sets = append(sets, s)
		}
		end()
	}
	if x.sealType.used {
		sets = append(sets, x.sealType.of(f.sealType))
		end()
	}
	if x.barrel.used {
		sets = append(sets, x.barrel.of(f.barrel))
		end()
	}
	if x.role.used {
		sets = append(sets, x.role.of(f.role))
		end()
	}
	if x.mac.used {
		sets = append(sets, x.mac.of(f.mac))
		end()
	}
	if x.week.used {
		weekly, dated := x.week.at(f.now, zone)
		sets = append(sets, weekly)
		end()
		sets = append(sets, dated)
		end()
	}
	for w := range x.words {
		all, i := x.every[w], 0
		for _, stop := range ends {
			if all == 0 {
				break
			}
			some := sets[i][w]
			for i++; i < stop; i++ {
				some |= sets[i][w]
			}
			all &= some
		}
		if all != 0 {
			return x.rules[w*64+bits.TrailingZeros64(all)]
		}
	}
	return -1
}
