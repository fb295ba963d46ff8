package policy

import "time"

// Touch names a part of what policy protects, that a change of it touches.
type Touch string

// The touches, from the one that needs the fewest people to the one that needs the
// most. A change may have several; the one that needs most decides.
const (
	TouchTightening Touch = "tightening" // nothing is allowed that was refused
	TouchDevices    Touch = "devices"    // terminals and barrels are added or bound anew
	TouchReach      Touch = "reach"      // who attaches from where is widened: APNs, carriers, admission, locations, fallback, hotspot, attach rules
	TouchSeals      Touch = "seals"      // what seals are used for is widened: seal types, counts, windows, times, servers, use rules
	TouchLevels     Touch = "levels"     // what a seal or a level asks for is weakened
	TouchControl    Touch = "control"    // fewer people are asked than before
)

// Touches lists them all, in their order.
func Touches() []Touch {
	return []Touch{TouchTightening, TouchDevices, TouchReach, TouchSeals, TouchLevels, TouchControl}
}

// ChangeControl says how the policy and the allow-list are changed.
type ChangeControl struct {
	// Approvals are how many other people have to agree, by touch.
	Approvals map[Touch]uint32
	// Lifetime is how long a proposal waits for them.
	Lifetime time.Duration
	// BreakGlass allows to do without them, for a reason.
	BreakGlass bool
	// ReviewWithin is how long broken glass may wait for its review.
	ReviewWithin time.Duration
}

// Needed is how many approvals a change of these touches needs. A touch that the
// document doesn't know needs as many as the strictest.
func (c ChangeControl) Needed(touches []Touch) uint32 {
	var strictest, n uint32
	for _, a := range c.Approvals {
		strictest = max(strictest, a)
	}
	for _, t := range touches {
		a, ok := c.Approvals[t]
		if !ok {
			a = strictest
		}
		n = max(n, a)
	}
	return n
}
