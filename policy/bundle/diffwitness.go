package bundle

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/policy/region"
)

// everything is all that anybody can show.
const everything policy.Credentials = 1<<16 - 1

// circumstances are a request out of a box: what it says of a terminal and where it is.
type circumstances struct {
	now    time.Time
	path   policy.PathKind
	apn    ident.APN
	access policy.Access
	barrel string
}

// meet makes one, for a terminal in its own handset where that will do.
func (s *space) meet(b region.Box, m *policy.Subscriber, now time.Time) circumstances {
	p := s.Witness(b)
	if p == nil {
		return circumstances{}
	}
	e := circumstances{path: policy.PathGTP, now: s.times.instant(p[dimDate][0], p[dimWeek][0], now), barrel: s.barrels.list[p[dimBarrel][0]]}
	e.apn, _ = ident.ParseAPN(s.apns.list[p[dimAPN][0]])
	switch p[dimPath][0] {
	case pathCarrier:
		e.access.IMEI = s.handset(b, m)
		e.access.PLMN = s.network(p[dimPLMN][0])
		e.access.RAT = s.radio(p[dimRAT][0])
	case pathLate:
		_, shortest := s.placeAges()
		e.path, e.access.Told = policy.PathWireGuard, e.now.Add(-shortest)
	default:
		e.path = policy.PathWireGuard
	}
	for _, place := range p[dimPlace] {
		if place < s.places.half {
			e.access.Place.TAI, _ = ident.ParseTAI(s.places.example[place])
		} else {
			e.access.Place.ECGI, _ = ident.ParseECGI(s.places.example[place])
		}
	}
	return e
}

// handset is one of the terminal's own that is in the box, or another.
func (s *space) handset(b region.Box, m *policy.Subscriber) ident.IMEI {
	own := append(slices.Clone(m.IMEIs), m.AnnouncedIMEI)
	for _, text := range own {
		if imei, err := ident.ParseIMEI(text); err == nil && b[dimTAC].Within.Has(s.handsetAtom(text, true)) {
			return imei
		}
	}
	n := b[dimTAC].Within.All(s.Dims[dimTAC].Size)[0] // a box isn't empty
	tac := s.tacs.list[n/2]
	if tac == "" {
		tac = "00000000"
	}
	imei, _ := ident.ParseIMEI(tac + "999999")
	return imei
}

// network is a serving network by its number; of the others one that nobody names.
func (s *space) network(n int) ident.PLMN {
	text := s.plmns.list[n]
	for i := 1; text == ""; i++ {
		if candidate := fmt.Sprintf("001%02d", i%100); s.plmns.of(candidate) == 0 {
			text = candidate
		}
	}
	plmn, _ := ident.ParsePLMN(text)
	return plmn
}

func (s *space) radio(n int) policy.RAT {
	if n != 0 {
		rat, _ := policy.ParseRAT(s.rats.list[n])
		return rat
	}
	for _, name := range policy.RATNames() {
		if s.rats.of(name) == 0 {
			rat, _ := policy.ParseRAT(name)
			return rat
		}
	}
	return 0
}

// instant is a time in a span of dates and a part of the week: now, or the next one
// after it, where that can be.
func (t *timeAtoms) instant(date, week int, now time.Time) time.Time {
	if date >= len(t.dates) || week >= len(t.week) {
		return time.Time{}
	}
	at := now
	if now.IsZero() || t.date(now) != date {
		at = t.dates[date]
		if date == 0 && len(t.dates) > 1 {
			at = t.dates[1].Add(-8 * 24 * time.Hour)
		}
	}
	for end := at.Add(9 * 24 * time.Hour); at.Before(end); at = at.Truncate(time.Minute).Add(t.step(at)) {
		if t.part(at) == week && t.date(at) == date {
			return at
		}
	}
	return time.Time{}
}

func (x *differ) admitRequest(at region.Box, m *policy.Subscriber, apn string) policy.AdmitRequest {
	e := x.sides[0].spaces[policy.ActionAttach].meet(at, m, x.population.Now)
	imsi, _ := ident.ParseIMSI(m.IMSI)
	name, _ := ident.ParseAPN(apn)
	return policy.AdmitRequest{
		IMSI: imsi, Subscriber: *m, APN: name, Path: e.path, IMEI: e.access.IMEI, PLMN: e.access.PLMN, RAT: e.access.RAT,
		Place: e.access.Place, Told: e.access.Told, Now: e.now, Shown: everything,
	}
}

// useRequest is a use to which nothing can be said but by the document.
func (x *differ) useRequest(at region.Box, m *policy.Subscriber, kind string) policy.UseRequest {
	e := x.sides[0].spaces[policy.ActionUse].meet(at, m, x.population.Now)
	own := netip.AddrFrom4([4]byte{10, 0, 0, 1})
	q := policy.UseRequest{
		Now: e.now, Time: e.now, Path: e.path, SessionAddress: own, TerminalAddress: own, Terminal: *m, APN: e.apn, Access: e.access, Shown: everything,
		Barrel: policy.Barrel{Found: true, ID: x.sealOf(kind, e.barrel), State: policy.StateActive, SealType: kind, CheckedOutTo: m.IMSI}, BarrelAlive: true,
	}
	for _, s := range x.sides {
		if len(s.rules.Servers) > 0 {
			q.ServerAddress = s.rules.Servers[0].String()
		}
	}
	return q
}

// sealOf is a barrel of a seal type: the named one, or any that no rule names.
func (x *differ) sealOf(kind, id string) string {
	for i := range x.population.Barrels {
		if b := &x.population.Barrels[i]; id == "" && b.SealType == kind && x.sides[0].spaces[policy.ActionUse].barrels.of(b.ID) == 0 {
			return b.ID
		}
	}
	return id
}

// hotspotRequest is about a barrel on the hotspot of a terminal.
func (x *differ) hotspotRequest(at region.Box, m *policy.Subscriber, b policy.Barrel) policy.HotspotRequest {
	e := x.sides[0].spaces[policy.ActionHotspot].meet(at, m, x.population.Now)
	q := policy.HotspotRequest{Barrel: b, Terminal: *m, Now: e.now, Path: e.path, APN: e.apn, Access: e.access}
	q.MAC, _ = ident.ParseMAC(x.population.MACs[b.ID])
	if q.MAC.IsZero() {
		q.MAC, _ = ident.ParseMAC("02:00:00:00:00:01")
	}
	return q
}
