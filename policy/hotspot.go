package policy

import (
	"fmt"

	"github.com/sealedge/sealedge/policy/ident"
)

// HotspotRequest asks whether a device may stay on a terminal's hotspot.
type HotspotRequest struct {
	MAC      ident.MAC
	Barrel   Barrel     // that has this MAC; zero when none has
	Terminal Subscriber // whose hotspot it is
}

// AllowHotspot decides on a device that joined a hotspot: only an active
// barrel may, and only with the terminal that it is checked out with.
func (r *Rules) AllowHotspot(q HotspotRequest) Decision {
	if r == nil {
		return noPolicy()
	}
	listed := q.Barrel.Found && !q.MAC.IsZero()

	var t tally
	t.judge(rulePolicy, true)
	t.judge(ruleTerminalListed, q.Terminal.Found)
	t.judgeIf(q.Terminal.Found, ruleTerminalActive, q.Terminal.State == StateActive)
	t.judge(ruleBarrelListed, listed)
	t.judgeIf(listed, ruleBarrelActive, q.Barrel.State == StateActive)
	t.judgeIf(listed, ruleBarrelCheckedOut, q.Barrel.with(q.Terminal))
	return r.decide(t, "", func(id ruleID) (Code, string) { return q.whyNot(id) })
}

func (q HotspotRequest) whyNot(id ruleID) (Code, string) {
	switch id {
	case ruleTerminalListed:
		return CodeTerminalUnknown, "the terminal is not on the allow-list"
	case ruleTerminalActive:
		return CodeTerminalUnknown, fmt.Sprintf("the terminal is %s", q.Terminal.State)
	case ruleBarrelListed:
		return CodeMACNotAllowed, fmt.Sprintf("no barrel on the allow-list has MAC %s", orNone(q.MAC.String()))
	case ruleBarrelActive:
		return CodeMACNotAllowed, fmt.Sprintf("barrel %s is %s", q.Barrel.ID, q.Barrel.State)
	case ruleBarrelCheckedOut:
		return CodeBarrelNotBound, q.Barrel.notWith()
	}
	return CodeNoPolicy, "refused"
}

// with tells whether the barrel is in the hands of the terminal.
func (b Barrel) with(s Subscriber) bool {
	return b.CheckedOutTo != "" && b.CheckedOutTo == s.IMSI
}

// notWith says that the barrel is elsewhere, without naming who has it.
func (b Barrel) notWith() string {
	if b.CheckedOutTo == "" {
		return fmt.Sprintf("barrel %s is not checked out; check it out with \"sealctl device checkout\"", b.ID)
	}
	return fmt.Sprintf("barrel %s is checked out with another terminal", b.ID)
}
