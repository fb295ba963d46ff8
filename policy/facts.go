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
// path nobody tells it.
type Access struct {
	IMEI  ident.IMEI
	PLMN  ident.PLMN // serving network
	RAT   RAT
	Place Place
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

func (q *AdmitRequest) facts() facts {
	f := facts{action: ActionAttach, now: q.Now, imsi: q.IMSI.String(), groups: q.Subscriber.Groups, apn: q.APN, path: q.Path}
	if q.Path == PathGTP {
		f.access = Access{IMEI: q.IMEI, PLMN: q.PLMN, RAT: q.RAT, Place: q.Place}
	}
	return f
}

func (q *HotspotRequest) facts() facts {
	f := facts{
		action: ActionHotspot, now: q.Now, imsi: q.Terminal.IMSI, groups: q.Terminal.Groups, apn: q.APN, path: q.Path,
		sealType: q.Barrel.SealType, barrel: q.Barrel.ID, mac: q.MAC,
	}
	if q.Barrel.Found {
		f.role = RoleBarrel
	}
	if q.Path == PathGTP {
		f.access = q.Access
	}
	return f
}

func (q *UseRequest) facts() facts {
	f := facts{
		action: ActionUse, now: q.Now, imsi: q.Terminal.IMSI, groups: q.Terminal.Groups, apn: q.APN, path: q.Path,
		sealType: q.Barrel.SealType, barrel: q.Barrel.ID,
	}
	if q.Path == PathGTP {
		f.access = q.Access
	}
	return f
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
