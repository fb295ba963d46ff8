package bundle

import (
	"fmt"
	"slices"

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
// Whether a change of them widens depends on the rules: action judges that.
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

// table compares the rules of each action. When they let anything through that
// was refused, or ask for less, each of them that differs is what did it.
func (c *comparison) table() {
	for _, a := range []policy.Action{policy.ActionAttach, policy.ActionHotspot, policy.ActionUse} {
		touch := unless(tightens(c.old, c.new, a), touchOf(a))
		was, is := byID(rulesOf(c.old, a)), byID(rulesOf(c.new, a))
		before := len(c.out)
		for _, id := range keysOf(was, is) {
			c.note(touch, was[id], is[id], "spec", "rules", id)
		}
		if before == len(c.out) && touch != policy.TouchTightening {
			c.note(touch, "what the "+a.String()+" rules name", "others by the same name", "spec", "rules")
		}
	}
}

// byID has the rules in words, with their place in the table.
func byID(rules []policy.Rule) map[string]string {
	m := map[string]string{}
	for i := range rules {
		m[rules[i].ID] = fmt.Sprintf("%d. %s", i+1, ruleWords(&rules[i]))
	}
	return m
}

// rulesOf are the rules for an action, in their order.
func rulesOf(r *policy.Rules, a policy.Action) []policy.Rule {
	return slices.DeleteFunc(slices.Clone(r.Table), func(rule policy.Rule) bool { return rule.Action != a })
}
