package bundle

import (
	"fmt"
	"slices"
	"time"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/region"
)

// The dimensions of what rules look at. A value that no rule names is one of
// "the others", which are one value together: no rule tells them apart. So is
// what isn't known of a request.
const (
	dimIMSI = iota
	dimGroups
	dimTAC
	dimAPN
	dimPath
	dimPLMN
	dimRAT
	dimPlace
	dimWeek
	dimDate
	dimSealType
	dimBarrel
	dimMAC
	dimRole
	dims
)

// space is the space of the requests for one action, as far as the rules of some
// documents tell requests apart.
type space struct {
	region.Space
	action policy.Action
	docs   []*policy.Rules

	subscribers subscriberAtoms
	groups      names
	tacs        names
	apns        names
	plmns       names
	rats        names
	places      placeAtoms
	times       timeAtoms
	sealTypes   names
	barrels     names
	macs        names
	roles       names
}

// The values of dimPath.
const (
	pathCarrier = iota
	pathFallback
	// pathLate is the fallback when the carrier told the place so long ago that of the
	// documents only those with the longest placeAge know it yet.
	pathLate
	paths
)

// names numbers the values of a dimension that documents name; the others are 0.
type names struct {
	number map[string]int
	list   []string // by number; the first is ""
}

func newNames() names { return names{map[string]int{}, []string{""}} }

func (n *names) add(values ...string) {
	for _, v := range values {
		if _, ok := n.number[v]; !ok {
			n.number[v] = len(n.list)
			n.list = append(n.list, v)
		}
	}
}

// of is the number of a value; 0 when no rule names it.
func (n *names) of(v string) int { return n.number[v] }

// set is the set of some values, nil for none given, which is no condition.
func (n *names) set(values []string) region.Set {
	if len(values) == 0 {
		return nil
	}
	s := region.Of(len(n.list))
	for _, v := range values {
		s.Add(n.of(v))
	}
	return s
}

// newSpace numbers all that the documents name.
func newSpace(action policy.Action, docs ...*policy.Rules) (*space, error) {
	s := &space{
		action: action, docs: docs, groups: newNames(), tacs: newNames(), apns: newNames(), plmns: newNames(), rats: newNames(),
		sealTypes: newNames(), barrels: newNames(), macs: newNames(), roles: newNames(),
	}
	s.roles.add(policy.RoleBarrel)
	var rules []policy.Rule
	for _, doc := range docs {
		if err := s.sameZone(doc); err != nil {
			return nil, err
		}
		rules = append(rules, doc.Table...) // of all actions: their spaces are alike then
		s.addBase(doc)
	}
	for i := range rules {
		m := &rules[i].Match
		s.groups.add(m.Groups...)
		s.tacs.add(m.TACs...)
		s.apns.add(texts(m.APNs)...)
		s.plmns.add(texts(m.PLMNs)...)
		s.rats.add(texts(m.RATs)...)
		s.sealTypes.add(m.SealTypes...)
		s.barrels.add(m.Barrels...)
		s.macs.add(texts(m.MACs)...)
		s.roles.add(m.Roles...)
	}
	s.subscribers = newSubscriberAtoms(rules)
	s.places = newPlaceAtoms(docs)
	s.times = newTimeAtoms(rules, docs[0].Zone)
	s.Dims = make([]region.Dim, dims)
	for d, size := range map[int]int{
		dimIMSI: s.subscribers.size(), dimTAC: 2 * len(s.tacs.list), dimAPN: len(s.apns.list), dimPath: paths, dimPLMN: len(s.plmns.list),
		dimRAT: len(s.rats.list), dimWeek: len(s.times.week) + 1, dimDate: len(s.times.dates) + 1, dimSealType: len(s.sealTypes.list),
		dimBarrel: len(s.barrels.list), dimMAC: len(s.macs.list), dimRole: len(s.roles.list),
	} {
		s.Dims[d] = region.Dim{Size: size}
	}
	s.Dims[dimGroups] = region.Dim{Size: len(s.groups.list), Kind: region.Many}
	s.Dims[dimPlace] = region.Dim{Size: s.places.size, Kind: region.Pair, Half: s.places.half}
	s.Links = []region.Link{
		{From: dimDate, To: dimWeek, Allowed: s.times.weekOf},
		{From: dimMAC, To: dimRole, Allowed: s.rolesOf()},
	}
	return s, nil
}

// addBase numbers what the rest of a document names.
func (s *space) addBase(doc *policy.Rules) {
	for name := range doc.APNs {
		s.apns.add(name.String())
	}
	s.tacs.add(doc.Admission.TACs...)
	s.plmns.add(texts(doc.Admission.PLMNs)...)
	s.rats.add(texts(doc.Admission.RATs)...)
	s.sealTypes.add(keysOf(doc.SealTypes, nil)...)
	for _, d := range doc.Hotspot {
		s.macs.add(d.MAC.String())
		s.roles.add(d.Role)
	}
}

// sameZone refuses to compare hours of two zones: a week has no common parts then.
func (s *space) sameZone(doc *policy.Rules) error {
	hours := slices.ContainsFunc(doc.Table, func(r policy.Rule) bool { return r.Match.Hours != nil })
	if hours && zoneName(doc.Zone) != zoneName(s.docs[0].Zone) {
		return fmt.Errorf("the hours of rules are of %s and of %s", zoneName(s.docs[0].Zone), zoneName(doc.Zone))
	}
	return nil
}

// box is what a rule of a document matches.
func (s *space) box(doc *policy.Rules, m *policy.Match) region.Box {
	b := s.All()
	s.Match(b, dimIMSI, s.subscribers.set(m))
	if len(m.Groups) > 0 {
		s.Match(b, dimGroups, s.groups.set(m.Groups))
	}
	s.Match(b, dimTAC, s.models(m.TACs))
	s.Match(b, dimAPN, s.apns.set(texts(m.APNs)))
	if len(m.Paths) > 0 {
		set := region.Of(paths)
		for _, p := range m.Paths {
			set = set.Or(pathSet(p))
		}
		s.Match(b, dimPath, set)
	}
	s.Match(b, dimPLMN, s.plmns.set(texts(m.PLMNs)))
	s.Match(b, dimRAT, s.rats.set(texts(m.RATs)))
	if len(m.Locations) > 0 {
		s.Match(b, dimPlace, s.places.set(doc, m.Locations))
		if oldest, _ := s.placeAges(); doc.Fallback.PlaceAge < oldest {
			s.Match(b, dimPath, region.Of(paths, pathCarrier, pathFallback))
		}
	}
	week, dates := s.times.sets(m.Hours)
	s.Match(b, dimWeek, week)
	s.Match(b, dimDate, dates)
	if s.action != policy.ActionAttach {
		s.Match(b, dimSealType, s.sealTypes.set(m.SealTypes))
		s.Match(b, dimBarrel, s.barrels.set(m.Barrels))
	}
	if s.action == policy.ActionHotspot {
		s.Match(b, dimMAC, s.macs.set(texts(m.MACs)))
		s.Match(b, dimRole, s.roles.set(m.Roles))
	}
	return b
}

// rolesOf are the roles that a device may have: that of barrels, and the one that
// it is listed with.
func (s *space) rolesOf() []region.Set {
	out := make([]region.Set, len(s.macs.list))
	for i := range out {
		out[i] = region.Of(len(s.roles.list), s.roles.of(policy.RoleBarrel))
	}
	for _, doc := range s.docs {
		for _, d := range doc.Hotspot {
			out[s.macs.of(d.MAC.String())].Add(s.roles.of(d.Role))
		}
	}
	out[0].Add(0) // of a device that isn't listed no role is known
	return out
}

// handsetAtom is the handsets of a model that a terminal is bound to, or the others of
// it.
func (s *space) handsetAtom(imei string, own bool) int {
	n := 2 * s.tacs.of(tacOf(imei))
	if own {
		n++
	}
	return n
}

// models is the set of all handsets of some models; nil for none given.
func (s *space) models(tacs []string) region.Set {
	if len(tacs) == 0 {
		return nil
	}
	set := region.Of(s.Dims[dimTAC].Size)
	for _, tac := range tacs {
		set.Add(s.handsetAtom(tac, false))
		set.Add(s.handsetAtom(tac, true))
	}
	return set
}

// pathSet is the requests over a path.
func pathSet(p policy.PathKind) region.Set {
	if p == policy.PathWireGuard {
		return region.Of(paths, pathFallback, pathLate)
	}
	return region.Of(paths, pathCarrier)
}

// placeAges are the longest and the shortest time for which the documents take a
// terminal to be where it was.
func (s *space) placeAges() (longest, shortest time.Duration) {
	longest, shortest = s.docs[0].Fallback.PlaceAge, s.docs[0].Fallback.PlaceAge
	for _, doc := range s.docs[1:] {
		longest, shortest = max(longest, doc.Fallback.PlaceAge), min(shortest, doc.Fallback.PlaceAge)
	}
	return longest, shortest
}
