package policy

import (
	"time"

	"github.com/sealedge/sealedge/policy/ident"
)

// Place is where a terminal is, as far as its carrier tells (TS 29.274 8.21). What
// isn't told is zero.
type Place struct {
	TAI  ident.TAI
	ECGI ident.ECGI
}

// Access is what a carrier tells of a terminal that is attached. Over the fallback
// path nobody tells it; but the place counts there for a time (Fallback.PlaceAge).
type Access struct {
	IMEI  ident.IMEI
	PLMN  ident.PLMN // serving network
	RAT   RAT
	Place Place
	Told  time.Time // when the carrier told the place last; zero: it tells it now
}

// over is what is known of it on a path.
func (a Access) over(path PathKind, r *Rules, now time.Time) Access {
	switch {
	case path == PathGTP:
		return a
	case path != PathWireGuard || a.Place == Place{}:
		return Access{}
	case !r.Fallback.Knows(a.Told, now):
		return Access{Told: a.Told} // for the words
	}
	return Access{Place: a.Place, Told: a.Told}
}

// facts are what rules are matched against. What isn't known is zero, and matches
// no value.
type facts struct {
	action   Action
	now      time.Time
	imsi     string
	groups   []string
	apn      ident.APN
	path     PathKind
	access   Access
	sealType string
	barrel   string
	role     string
	mac      ident.MAC
}

func (q *AdmitRequest) facts(r *Rules) facts {
	access := Access{IMEI: q.IMEI, PLMN: q.PLMN, RAT: q.RAT, Place: q.Place, Told: q.Told}
	return facts{
		action: ActionAttach, now: q.Now, imsi: q.IMSI.String(), groups: q.Subscriber.Groups, apn: q.APN, path: q.Path,
		access: access.over(q.Path, r, q.Now),
	}
}

func (q *HotspotRequest) facts(r *Rules) facts {
	f := facts{
		action: ActionHotspot, now: q.Now, imsi: q.Terminal.IMSI, groups: q.Terminal.Groups, apn: q.APN, path: q.Path,
		sealType: q.Barrel.SealType, barrel: q.Barrel.ID, mac: q.MAC, access: q.Access.over(q.Path, r, q.Now),
	}
	if q.Barrel.Found {
		f.role = RoleBarrel
	}
	return f
}

func (q *UseRequest) facts(r *Rules) facts {
	return facts{
		action: ActionUse, now: q.Now, imsi: q.Terminal.IMSI, groups: q.Terminal.Groups, apn: q.APN, path: q.Path,
		sealType: q.Barrel.SealType, barrel: q.Barrel.ID, access: q.Access.over(q.Path, r, q.Now),
	}
}

// At tells whether an instant is within the hours. At an unknown time, the zero
// one, they don't hold. A span over midnight belongs to the day that it begins on.
func (h *Hours) At(now time.Time, zone *time.Location) bool {
	if now.IsZero() || !h.NotBefore.IsZero() && now.Before(h.NotBefore) || !h.NotAfter.IsZero() && !now.Before(h.NotAfter) {
		return false
	}
	if zone == nil {
		zone = time.UTC
	}
	local := now.In(zone)
	return h.inWeek(int(local.Weekday()), local.Hour()*60+local.Minute())
}

// inWeek tells whether a minute of a day of the week is within.
func (h *Hours) inWeek(day, minute int) bool {
	if h.From <= h.To {
		return h.Days[day] && h.From <= minute && minute < h.To
	}
	before := (day + len(h.Days) - 1) % len(h.Days)
	return h.Days[day] && minute >= h.From || h.Days[before] && minute < h.To
}
