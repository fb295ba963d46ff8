package bundle

import (
	"slices"
	"time"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/region"
)

// weekMinutes is how many minutes a week has.
const weekMinutes = 7 * 24 * 60

// timeAtoms are the parts of the week, and the spans of dates, that rules tell
// apart. After the last of either comes the unknown time, at which no hours hold.
type timeAtoms struct {
	zone   *time.Location
	week   []int        // the minute since Sunday 00:00 at which each part begins
	dates  []time.Time  // when each span begins; the first is for ever before
	weekOf []region.Set // which parts of the week there are in each span, and at the unknown time
}

func newTimeAtoms(rules []policy.Rule, zone *time.Location) timeAtoms {
	if zone == nil {
		zone = time.UTC
	}
	t := timeAtoms{zone: zone, week: []int{0}, dates: []time.Time{{}}}
	for i := range rules {
		h := rules[i].Match.Hours
		if h == nil {
			continue
		}
		for _, at := range []time.Time{h.NotBefore, h.NotAfter} {
			if !at.IsZero() {
				t.dates = append(t.dates, at)
			}
		}
		spans(h, func(from, to int) { t.week = append(t.week, from, to%weekMinutes) })
	}
	slices.Sort(t.week)
	t.week = slices.Compact(t.week)
	slices.SortFunc(t.dates, time.Time.Compare)
	t.dates = slices.CompactFunc(t.dates, time.Time.Equal)
	whole := region.Of(len(t.week) + 1)
	for i := range t.week {
		whole.Add(i)
	}
	for range t.dates {
		t.weekOf = append(t.weekOf, whole)
	}
	t.weekOf = append(t.weekOf, region.Of(len(t.week)+1, len(t.week)))
	for i := 1; i+1 < len(t.dates); i++ {
		// A short span has only some parts of the week. Where clocks are changed a week
		// is an hour longer or shorter.
		if t.dates[i+1].Sub(t.dates[i]) < 8*24*time.Hour {
			t.weekOf[i] = t.between(t.dates[i], t.dates[i+1])
		}
	}
	return t
}

// between are the parts of the week that come between two instants.
func (t *timeAtoms) between(from, to time.Time) region.Set {
	s := region.Of(len(t.week) + 1)
	for at := from; at.Before(to); at = at.Truncate(time.Minute).Add(t.step(at)) {
		s.Add(t.part(at))
	}
	return s
}

// step is the time to where the next part of the week begins, or to the next hour,
// at which clocks are changed.
func (t *timeAtoms) step(at time.Time) time.Duration {
	local := at.In(t.zone)
	minutes := 60 - local.Minute()
	if n := t.part(at); n+1 < len(t.week) {
		minutes = min(minutes, t.week[n+1]-t.minute(local))
	}
	return time.Duration(minutes) * time.Minute
}

// minute is the minute of the week of a local time.
func (t *timeAtoms) minute(at time.Time) int {
	return int(at.Weekday())*24*60 + at.Hour()*60 + at.Minute()
}

// known is the set of all dates but the unknown time.
func (t *timeAtoms) known() region.Set {
	s := region.Of(len(t.dates) + 1)
	for i := range t.dates {
		s.Add(i)
	}
	return s
}

// part is the part of the week that an instant is in.
func (t *timeAtoms) part(at time.Time) int {
	n, found := slices.BinarySearch(t.week, t.minute(at.In(t.zone)))
	if found {
		return n
	}
	return n - 1
}

// date is the span that an instant is in.
func (t *timeAtoms) date(at time.Time) int {
	n, found := slices.BinarySearchFunc(t.dates, at, time.Time.Compare)
	if found {
		return n
	}
	return n - 1
}

// sets are the parts of the week and the dates that hours take.
func (t *timeAtoms) sets(h *policy.Hours) (week, dates region.Set) {
	if h == nil {
		return nil, nil
	}
	week, dates = region.Of(len(t.week)+1), region.Of(len(t.dates)+1)
	spans(h, func(from, to int) {
		for i, begin := range t.week {
			if begin >= from && begin < to {
				week.Add(i)
			}
		}
	})
	for i, begin := range t.dates {
		if !begin.Before(h.NotBefore) && (h.NotAfter.IsZero() || begin.Before(h.NotAfter)) {
			dates.Add(i)
		}
	}
	return week, dates
}

// spans are the minutes of the week that hours take: [from, to).
func spans(h *policy.Hours, yield func(from, to int)) {
	for d, on := range h.Days {
		if !on {
			continue
		}
		day := d * 24 * 60
		if h.From <= h.To {
			yield(day+h.From, day+h.To)
			continue
		}
		yield(day+h.From, day+24*60) // over midnight: the day is that on which it begins
		if next := (day + 24*60) % weekMinutes; h.To > 0 {
			yield(next, next+h.To)
		}
	}
}
