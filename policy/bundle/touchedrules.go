package bundle

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/sealedge/sealedge/policy"
)

// touchOf says which touch widening the rules for an action is.
func touchOf(a policy.Action) policy.Touch {
	if a == policy.ActionUse {
		return policy.TouchSeals
	}
	return policy.TouchReach
}

// places compares the named locations and the time zone that rules refer to.
// Whether a change of them widens depends on the rules: table judges that.
func (c *comparison) places() {
	for _, name := range keysOf(c.old.Locations, c.new.Locations) {
		old, was := c.old.Locations[name]
		now, is := c.new.Locations[name]
		c.note(policy.TouchTightening, placeWords(old, was), placeWords(now, is), "spec", "locations", name)
	}
	c.note(policy.TouchTightening, zoneName(c.old.Zone), zoneName(c.new.Zone), "spec", "timeZone")
}

func placeWords(l policy.Location, there bool) string {
	if !there {
		return ""
	}
	return fmt.Sprintf("tais %s ecgis %s", words(l.TAIs), words(l.ECGIs))
}

func zoneName(z *time.Location) string {
	if z == nil {
		return "UTC"
	}
	return z.String()
}

// table compares the rules of each action.
func (c *comparison) table() {
	for _, a := range []policy.Action{policy.ActionAttach, policy.ActionHotspot, policy.ActionUse} {
		c.action(a, c.sameRules(a))
	}
}

// action notes each rule of an action that differs. tightens tells that the
// rules as a whole allow nothing that they refused.
func (c *comparison) action(a policy.Action, tightens bool) {
	touch := unless(tightens, touchOf(a))
	old, now := rulesOf(c.old, a), rulesOf(c.new, a)
	byID := func(rules []policy.Rule) map[string]string {
		m := map[string]string{}
		for i, r := range rules {
			m[r.ID] = fmt.Sprintf("%d. %s", i+1, ruleWords(&r))
		}
		return m
	}
	was, is := byID(old), byID(now)
	before := len(c.out)
	for _, id := range keysOf(was, is) {
		c.note(touch, was[id], is[id], "spec", "rules", id)
	}
	if before == len(c.out) && !tightens {
		c.note(touch, "what the "+a.String()+" rules refer to", "wider", "spec", "rules")
	}
}

// sameRules tells whether the rules of an action and all that they refer to are
// the same, or there are rules now where there were none.
func (c *comparison) sameRules(a policy.Action) bool {
	old, now := rulesOf(c.old, a), rulesOf(c.new, a)
	if len(old) == 0 {
		return true // without rules all is allowed that the rest of the document allows
	}
	if len(old) != len(now) {
		return false
	}
	for i := range old {
		x, y := old[i], now[i]
		x.ID, x.Why, y.ID, y.Why = "", "", "", ""
		if !reflect.DeepEqual(x, y) {
			return false
		}
		for _, l := range x.Match.Locations {
			if !reflect.DeepEqual(c.old.Locations[l], c.new.Locations[l]) {
				return false
			}
		}
		if x.Match.Hours != nil && zoneName(c.old.Zone) != zoneName(c.new.Zone) {
			return false
		}
	}
	return true
}

// rulesOf are the rules for an action, in their order.
func rulesOf(r *policy.Rules, a policy.Action) []policy.Rule {
	return slices.DeleteFunc(slices.Clone(r.Table), func(rule policy.Rule) bool { return rule.Action != a })
}
