package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/sealedge/sealedge/policy/ident"
)

// HotspotRequest asks whether a device may stay on a terminal's hotspot.
type HotspotRequest struct {
	MAC      ident.MAC
	Barrel   Barrel     // that has this MAC; zero when none has
	Terminal Subscriber // whose hotspot it is
	// How the terminal is attached, for rules; zero: not known.
	Now    time.Time // by the cluster's clock
	Path   PathKind
	APN    ident.APN
	Access Access
}

// AllowHotspot decides on a device that joined a hotspot: only an active
// barrel may, and only with the terminal that it is checked out with; and the other
// devices that the document lists, with any.
func (r *Rules) AllowHotspot(q HotspotRequest) Decision {
	if r == nil {
		return noPolicy()
	}
	listed := q.Barrel.Found && !q.MAC.IsZero()
	f := q.facts(r)
	role, device := r.device(&q)
	if device {
		f.role = role
	}
	by := r.rule(&f)

	var t tally
	t.judge(rulePolicy, true)
	t.judge(ruleTerminalListed, q.Terminal.Found)
	t.judgeIf(q.Terminal.Found, ruleTerminalActive, q.Terminal.State == StateActive)
	t.judgeIf(device, ruleDeviceListed, true)
	t.judgeIf(!device, ruleBarrelListed, listed)
	t.judgeIf(listed, ruleBarrelActive, q.Barrel.State == StateActive)
	t.judgeIf(listed, ruleBarrelCheckedOut, q.Barrel.with(q.Terminal))
	t.judgeIf(by.any, rulePermits, r.permits(by))
	return r.decide(t, "", f, by, func(id ruleID) (Code, string) { return q.whyNot(id) })
}

// device finds the role of a device that is no barrel. A barrel's MAC is a
// barrel's, whatever the document says of it.
func (r *Rules) device(q *HotspotRequest) (role string, ok bool) {
	if q.Barrel.Found || q.MAC.IsZero() {
		return "", false
	}
	if x := r.index; x.current(r) && len(x.devices) == len(r.Hotspot) {
		i, ok := x.devices[q.MAC]
		if !ok {
			return "", false
		}
		return r.Hotspot[i].Role, true
	}
	i := slices.IndexFunc(r.Hotspot, func(d HotspotDevice) bool { return d.MAC == q.MAC })
	if i < 0 {
		return "", false
	}
	return r.Hotspot[i].Role, true
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
