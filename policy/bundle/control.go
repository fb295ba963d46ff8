package bundle

import (
	"fmt"
	"time"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/document"
)

// maxApprovals bounds how many people are asked for one change.
const maxApprovals = 9

// DefaultControl is how the policy is changed where no policy says how.
func DefaultControl() policy.ChangeControl {
	return policy.ChangeControl{
		Approvals: map[policy.Touch]uint32{
			policy.TouchTightening: 0, policy.TouchDevices: 0, policy.TouchReach: 1, policy.TouchSeals: 1, policy.TouchLevels: 2, policy.TouchControl: 2,
		},
		Lifetime:     24 * time.Hour,
		ReviewWithin: 72 * time.Hour,
	}
}

// control reads how the policy and the allow-list are changed.
func (p *parser) control(v document.Value) {
	p.source(v, "spec", "changeControl")
	c := DefaultControl()
	m := v.Map()
	approvals := m.Get("approvals")
	p.source(approvals, "spec", "changeControl", "approvals")
	a := approvals.Map()
	for _, touch := range policy.Touches() {
		item := a.Get(string(touch))
		p.source(item, "spec", "changeControl", "approvals", string(touch))
		c.Approvals[touch] = uint32(item.Int(0, maxApprovals, int64(c.Approvals[touch])))
	}
	a.Close()
	for _, touch := range policy.Touches() {
		if n := c.Approvals[touch]; n > c.Approvals[policy.TouchControl] {
			a.Get(string(policy.TouchControl)).Report(fmt.Sprintf("write control: %d or more", n),
				"who may change how many approve would need fewer than %s, which needs %d", touch, n)
			break
		}
	}
	lifetime, review, glass := m.Get("lifetime"), m.Get("reviewWithin"), m.Get("breakGlass")
	p.source(lifetime, "spec", "changeControl", "lifetime")
	p.source(review, "spec", "changeControl", "reviewWithin")
	p.source(glass, "spec", "changeControl", "breakGlass")
	c.Lifetime = lifetime.Duration(time.Minute, 30*24*time.Hour, c.Lifetime)
	c.ReviewWithin = review.Duration(time.Minute, 30*24*time.Hour, c.ReviewWithin)
	c.BreakGlass = glass.Bool()
	m.Close()
	p.rules.Control = c
}
