package drill

import (
	"slices"
	"time"
)

// probe is one echo that a session sent.
type probe struct {
	session  int
	sent     time.Duration // since the canary began
	answered time.Duration // likewise; 0: not answered
}

// Gap is what a canary noticed of a fault.
type Gap struct {
	// Silence is the longest time in which no session got an answer.
	Silence time.Duration
	// Recovered is the time from the fault to the end of Silence: to the first
	// packet of an existing session that was forwarded again.
	Recovered time.Duration
	// All is the time from the fault until every session had got an answer after
	// Silence.
	All time.Duration
	// Sent and Lost count probes from the fault on. The last ones are not among
	// them: their answers may be under way.
	Sent, Lost int
	// Late counts answers that took longer than a leader's lease: who gave them
	// may have been fenced when he got the question.
	Late int
}

const (
	tooLate  = 250 * time.Millisecond // when an answer counts as late
	underWay = 50 * time.Millisecond  // for an answer
)

// measure looks at the probes around a fault. Probes come in the order in which
// they were sent; what was answered after the end of the watch counts as lost.
func measure(probes []probe, sessions int, fault, end time.Duration) Gap {
	var g Gap
	answers := make([][]time.Duration, sessions)
	var all []time.Duration
	for _, p := range probes {
		answered := p.answered != 0 && p.answered <= end
		if p.sent >= fault && p.sent < end-underWay {
			g.Sent++
			if !answered {
				g.Lost++
			}
		}
		if !answered {
			continue
		}
		if p.answered-p.sent > tooLate {
			g.Late++
		}
		all = append(all, p.answered)
		answers[p.session] = append(answers[p.session], p.answered)
	}
	began, ended := longest(all, fault, end)
	g.Silence, g.Recovered = ended-began, max(0, ended-fault)
	for _, a := range answers {
		back := end
		if i := slices.IndexFunc(a, func(at time.Duration) bool { return at >= ended }); i >= 0 {
			back = a[i]
		}
		g.All = max(g.All, back-fault)
	}
	return g
}

// longest finds the longest time without an answer that ends after the fault.
// Before the first answer and after the last it is silent, too: from the fault,
// and until the end.
func longest(answers []time.Duration, fault, end time.Duration) (from, to time.Duration) {
	slices.Sort(answers)
	last := fault
	from, to = fault, fault
	for _, a := range append(answers, end) {
		if a <= fault {
			last = a
			continue
		}
		if a-last > to-from {
			from, to = last, a
		}
		last = a
	}
	return from, to
}

// Quantile is the least value that a share q of all is not above (nearest rank);
// 0 of none.
func Quantile(all []float64, q float64) float64 {
	if len(all) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(all))
	rank := int(q * float64(len(s)))
	if float64(rank) < q*float64(len(s)) {
		rank++
	}
	return s[min(max(rank, 1), len(s))-1]
}
