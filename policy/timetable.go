package policy

import (
	"slices"
	"time"
)

const minutesOfWeek = 7 * 24 * 60

// timetable has the rules whose hours hold, by the minute of the week and by what
// days they are bounded to.
type timetable struct {
	used  bool
	never bitset   // rules without hours: all that hold at an unknown time
	slots []uint16 // of the week from Sunday on, in weekly
	weeks []bitset
	// dates are when dated rules begin and end, in their order; spans[i] are the
	// rules that hold before dates[i], the last one those after all of them.
	dates []time.Time
	spans []bitset
}

func timetableOf(match []*Match) timetable {
	words := (len(match) + 63) / 64
	t := timetable{never: make(bitset, words)}
	edge := map[int]bool{0: true}
	for n, m := range match {
		if m.Hours == nil {
			t.never.set(n)
			continue
		}
		t.used = true
		for day := range 7 {
			edge[day*24*60] = true
			edge[(day*24*60+m.Hours.From)%minutesOfWeek] = true
			edge[(day*24*60+m.Hours.To)%minutesOfWeek] = true
		}
		for _, date := range []time.Time{m.Hours.NotBefore, m.Hours.NotAfter} {
			if !date.IsZero() {
				t.dates = append(t.dates, date)
			}
		}
	}
	if !t.used {
		return timetable{}
	}
	t.slots = make([]uint16, minutesOfWeek)
	for minute := range minutesOfWeek {
		if edge[minute] {
			t.weeks = append(t.weeks, rulesAt(match, func(h *Hours) bool { return h.inWeek(minute/(24*60), minute%(24*60)) }))
		}
		t.slots[minute] = uint16(len(t.weeks) - 1)
	}
	slices.SortFunc(t.dates, time.Time.Compare)
	t.dates = slices.CompactFunc(t.dates, time.Time.Equal)
	for i := range len(t.dates) + 1 {
		t.spans = append(t.spans, rulesAt(match, func(h *Hours) bool {
			begun := h.NotBefore.IsZero() || i > 0 && !t.dates[i-1].Before(h.NotBefore)
			over := !h.NotAfter.IsZero() && i > 0 && !t.dates[i-1].Before(h.NotAfter)
			return begun && !over
		}))
	}
	return t
}

// rulesAt are the rules without hours, and those whose hours hold.
func rulesAt(match []*Match, holds func(*Hours) bool) bitset {
	s := make(bitset, (len(match)+63)/64)
	for n, m := range match {
		if m.Hours == nil || holds(m.Hours) {
			s.set(n)
		}
	}
	return s
}

// at returns the rules that hold by the week and those that hold by the date.
func (t *timetable) at(now time.Time, zone *time.Location) (weekly, dated bitset) {
	if now.IsZero() {
		return t.never, t.never
	}
	if zone == nil {
		zone = time.UTC
	}
	local := now.In(zone)
	slot := t.slots[int(local.Weekday())*24*60+local.Hour()*60+local.Minute()]
	low, high := 0, len(t.dates) // spans[low] is the one to be found
	for low < high {
		if mid := (low + high) / 2; now.Before(t.dates[mid]) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return t.weeks[slot], t.spans[low]
}
