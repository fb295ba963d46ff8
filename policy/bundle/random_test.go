package bundle

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

// dice make documents and requests out of so few values that they meet.
type dice struct{ *rand.Rand }

func newDice(seed uint64) dice { return dice{rand.New(rand.NewPCG(seed, 7))} }

func must[T any](parse func(string) (T, error), values ...string) []T {
	var out []T
	for _, s := range values {
		v, err := parse(s)
		if err != nil {
			panic(err)
		}
		out = append(out, v)
	}
	return out
}

var (
	someIMSIs  = []string{"460010000000001", "460010000000002", "460020000000001", "310410000000001"}
	someGroups = []string{"finance", "staff", "visitors"}
	someTACs   = []string{"35693803", "35693804"}
	someAPNs   = must(ident.ParseAPN, "seal.corp", "seal.test")
	somePLMNs  = must(ident.ParsePLMN, "46001", "46002", "310410")
	someRATs   = []policy.RAT{6, 10}
	someKinds  = []string{"company", "finance"}
	barrelIDs  = []string{"SB-0001", "SB-0002", "SB-0003"}
	someMACs   = must(ident.ParseMAC, "02:00:5e:10:00:01", "02:00:5e:10:00:02", "02:00:5e:10:00:03")
	somePlaces = []policy.Place{
		{},
		{TAI: must(ident.ParseTAI, "46001-0001")[0]},
		{TAI: must(ident.ParseTAI, "46001-0001")[0], ECGI: must(ident.ParseECGI, "46001-0000001")[0]},
		{TAI: must(ident.ParseTAI, "46001-0002")[0], ECGI: must(ident.ParseECGI, "46001-0000002")[0]},
		{ECGI: must(ident.ParseECGI, "46001-0000003")[0]},
	}
	someLocations = []map[string]policy.Location{
		{"office": {TAIs: []string{"46001-0001"}}, "branch": {ECGIs: []string{"46001-0000002", "46001-0000003"}}},
		{"office": {TAIs: []string{"46001-0001", "46001-0002"}}, "branch": {ECGIs: []string{"46001-0000003"}, TAIs: []string{"46001-0002"}}},
	}
	someAges = []time.Duration{0, 6 * time.Hour, 12 * time.Hour}
	sunday   = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
)

// some are a few of the values, perhaps none.
func some[T any](d dice, often int, values []T) []T {
	if d.IntN(often) > 0 {
		return nil
	}
	var out []T
	for _, v := range values {
		if d.IntN(2) == 0 {
			out = append(out, v)
		}
	}
	return out
}

func one[T any](d dice, values []T) T { return values[d.IntN(len(values))] }

func (d dice) hours() *policy.Hours {
	if d.IntN(4) > 0 {
		return nil
	}
	h := &policy.Hours{From: 60 * d.IntN(24), To: 60 * (1 + d.IntN(24))}
	for i := range h.Days {
		h.Days[i] = d.IntN(3) > 0
	}
	if d.IntN(4) == 0 {
		h.NotBefore = sunday.Add(time.Duration(d.IntN(20)) * 12 * time.Hour)
	}
	if d.IntN(4) == 0 {
		h.NotAfter = sunday.Add(time.Duration(d.IntN(20)) * 12 * time.Hour)
	}
	return h
}

func (d dice) rule(id string) policy.Rule {
	r := policy.Rule{ID: id, Action: policy.Action(1 + d.IntN(3)), Permit: d.IntN(3) > 0}
	r.Match = policy.Match{
		IMSIs: some(d, 6, someIMSIs), IMSIPrefixes: some(d, 6, []string{"46001", "46002", "4600100"}), Groups: some(d, 3, someGroups),
		TACs: some(d, 6, someTACs), APNs: some(d, 6, someAPNs), Paths: some(d, 6, []policy.PathKind{policy.PathGTP, policy.PathWireGuard}),
		PLMNs: some(d, 6, somePLMNs), RATs: some(d, 6, someRATs), Locations: some(d, 5, []string{"office", "branch"}), Hours: d.hours(),
	}
	if r.Action != policy.ActionAttach {
		r.Match.SealTypes, r.Match.Barrels = some(d, 3, someKinds), some(d, 6, barrelIDs)
	}
	if r.Action == policy.ActionHotspot {
		r.Match.Roles, r.Match.MACs = some(d, 4, []string{policy.RoleBarrel, "router"}), some(d, 4, someMACs)
	}
	if r.Permit && d.IntN(3) == 0 {
		switch r.Action {
		case policy.ActionAttach:
			r.Require = policy.Require{Handset: policy.HandsetBinding(d.IntN(5)), Credentials: policy.Credentials(d.IntN(2))}
		case policy.ActionUse:
			r.Require = policy.Require{
				Credentials: policy.Credentials(4 * d.IntN(2)), Methods: policy.Methods(d.IntN(3)), Level: d.IntN(3), MaxCount: uint32(3 * d.IntN(2)),
				MaxWindow: time.Duration(d.IntN(2)) * 12 * time.Hour, EvidenceWithin: time.Duration(d.IntN(2)) * time.Minute,
			}
		}
	}
	return r
}

func (d dice) rules() *policy.Rules {
	r := &policy.Rules{
		APNs: map[ident.APN]policy.APN{someAPNs[0]: {Name: someAPNs[0]}}, Levels: map[int]policy.Level{1: {Methods: 3}, 2: {Methods: policy.Methods(1 + 2*d.IntN(2))}},
		SealTypes: map[string]policy.SealType{
			"company": {Level: 1, MaxCount: 10, MaxWindow: 24 * time.Hour, GrantLifetime: 15 * time.Minute, EvidenceSeconds: 300},
			"finance": {Level: 1 + d.IntN(2), MaxCount: 5, MaxWindow: 24 * time.Hour, GrantLifetime: 15 * time.Minute, EvidenceSeconds: 120},
		},
		Servers: must(policy.ParseServer, "seal.example:8443"), ClockTolerance: time.Minute,
		Admission: policy.Admission{PLMNs: some(d, 3, somePLMNs), Handset: policy.HandsetBinding(1 + d.IntN(5)), TACs: some(d, 2, someTACs)},
		Fallback:  policy.Fallback{Allowed: d.IntN(3) > 0, ForbidLevels: some(d, 3, []int{1, 2}), PlaceAge: one(d, someAges)},
		Locations: someLocations[0], Control: DefaultControl(),
	}
	if d.IntN(2) == 0 {
		r.Hotspot = []policy.HotspotDevice{{MAC: someMACs[2], Role: "router"}}
	}
	for i := range d.IntN(6) {
		r.Table = append(r.Table, d.rule(string(rune('a'+i))))
	}
	return r
}

// edit changes a document here and there, as people do.
func (d dice) edit(old *policy.Rules) *policy.Rules {
	n := *old
	n.Table = slices.Clone(old.Table)
	n.APNs, n.SealTypes, n.Levels = maps.Clone(old.APNs), maps.Clone(old.SealTypes), maps.Clone(old.Levels)
	for range 1 + d.IntN(2) {
		i := 0
		if len(n.Table) > 0 {
			i = d.IntN(len(n.Table))
		}
		switch d.IntN(18) {
		case 0:
			n.Table = slices.Insert(n.Table, i, d.rule("new"))
		case 1, 2, 3:
			if len(n.Table) > 0 {
				n.Table = slices.Delete(n.Table, i, i+1)
			}
		case 4:
			if len(n.Table) > 0 {
				n.Table[i].Permit = !n.Table[i].Permit
				n.Table[i].Require = policy.Require{}
			}
		case 5, 6:
			if len(n.Table) > 0 {
				n.Table[i] = d.rule(n.Table[i].ID)
			}
		case 7:
			n.Locations = someLocations[1]
		case 8:
			n.Admission.PLMNs = some(d, 2, somePLMNs)
		case 9:
			n.Admission.Handset = policy.HandsetBinding(1 + d.IntN(5))
		case 10:
			n.Fallback = policy.Fallback{Allowed: d.IntN(2) == 0, ForbidLevels: some(d, 2, []int{1, 2}), PlaceAge: old.Fallback.PlaceAge}
		case 11:
			k := n.SealTypes["company"]
			k.Level, k.MaxCount = 1+d.IntN(2), uint32(1+d.IntN(12))
			n.SealTypes["company"] = k
		case 12:
			k := n.SealTypes["finance"]
			k.MaxWindow, k.EvidenceSeconds = time.Duration(1+d.IntN(48))*time.Hour, uint32(60*(1+d.IntN(3)))
			n.SealTypes["finance"] = k
		case 13:
			n.Levels[2] = policy.Level{Methods: policy.Methods(1 + 2*d.IntN(2))}
		case 14:
			if j := d.IntN(max(1, len(n.Table))); len(n.Table) > 0 {
				n.Table[i], n.Table[j] = n.Table[j], n.Table[i]
			}
		case 15:
			delete(n.SealTypes, "finance")
		case 16, 17:
			n.Fallback.PlaceAge = one(d, someAges)
		}
	}
	return &n
}

func (d dice) subscriber() policy.Subscriber {
	s := policy.Subscriber{
		Found: true, IMSI: one(d, someIMSIs), APNs: []string{"seal.corp", "seal.test"}, State: policy.StateActive, HasWireGuard: d.IntN(2) == 0,
		Groups: some(d, 1, someGroups),
	}
	for range d.IntN(3) {
		s.IMEIs = append(s.IMEIs, one(d, someTACs)+"000001")
	}
	return s
}

// told is when a carrier told a place: now, or some time ago.
func (d dice) told(now time.Time) time.Time {
	if d.IntN(3) == 0 || now.IsZero() {
		return time.Time{}
	}
	return now.Add(-time.Duration(d.IntN(7)) * 3 * time.Hour)
}

func (d dice) access(now time.Time) policy.Access {
	a := policy.Access{PLMN: one(d, somePLMNs), RAT: one(d, someRATs), Place: one(d, somePlaces), Told: d.told(now)}
	if d.IntN(4) > 0 {
		a.IMEI = must(ident.ParseIMEI, one(d, append([]string{"35693899"}, someTACs...))+"000001")[0]
	}
	return a
}

func (d dice) now() time.Time {
	if d.IntN(20) == 0 {
		return time.Time{}
	}
	return sunday.Add(time.Duration(d.IntN(14*48)) * 30 * time.Minute)
}

func (d dice) path() policy.PathKind {
	return one(d, []policy.PathKind{policy.PathGTP, policy.PathWireGuard})
}

func (d dice) admit() policy.AdmitRequest {
	s, now := d.subscriber(), d.now()
	a := d.access(now)
	return policy.AdmitRequest{
		IMSI: must(ident.ParseIMSI, s.IMSI)[0], Subscriber: s, IMEI: a.IMEI, APN: one(d, someAPNs), PLMN: a.PLMN, RAT: a.RAT, Place: a.Place, Told: a.Told,
		Path: d.path(), Now: now, Shown: policy.Credentials(d.IntN(4)),
	}
}

func (d dice) barrel(s policy.Subscriber) policy.Barrel {
	return policy.Barrel{Found: true, ID: one(d, barrelIDs), State: policy.StateActive, SealType: one(d, someKinds), CheckedOutTo: s.IMSI}
}

func (d dice) hotspot() policy.HotspotRequest {
	s, now := d.subscriber(), d.now()
	q := policy.HotspotRequest{MAC: one(d, someMACs), Terminal: s, Now: now, Path: d.path(), APN: one(d, someAPNs), Access: d.access(now)}
	if d.IntN(3) > 0 {
		q.Barrel = d.barrel(s)
	}
	return q
}

func (d dice) use() policy.UseRequest {
	s, now := d.subscriber(), d.now()
	q := policy.UseRequest{
		Now: now, Path: d.path(), Terminal: s, SessionAddress: gatewayOf("10.90.0.9"), TerminalAddress: gatewayOf("10.90.0.9"), ServerAddress: "seal.example:8443", Time: now,
		Barrel: d.barrel(s), BarrelAlive: true, APN: one(d, someAPNs), Access: d.access(now), Shown: policy.Credentials(d.IntN(8)),
	}
	q.Answer = policy.Answer{
		Pass: true, SealType: q.Barrel.SealType, Level: 1 + d.IntN(2), Methods: policy.Methods(1 + d.IntN(3)).Names(), Count: uint32(1 + d.IntN(12)),
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Duration(1+d.IntN(30)) * time.Hour),
	}
	return q
}
