package bundle

import (
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/region"
)

// barrels tells which barrels may no longer be on the hotspot of the terminal that
// has them, in the sessions that it may have under both documents.
func (x *differ) barrels() {
	type holder struct {
		class    *class
		terminal *policy.Subscriber
	}
	byIMSI := map[string]holder{}
	for _, c := range x.classes {
		for _, m := range c.members {
			byIMSI[m.IMSI] = holder{c, m}
		}
	}
	type key struct {
		class *class
		kind  string
		id    int
		mac   int
	}
	sp := x.sides[0].spaces[policy.ActionHotspot]
	known := map[key][]changed{}
	for i := range x.population.Barrels {
		b := &x.population.Barrels[i]
		h := byIMSI[b.CheckedOutTo]
		if h.class == nil || b.State != policy.StateActive {
			continue
		}
		k := key{h.class, b.SealType, sp.barrels.of(b.ID), sp.macs.of(x.population.MACs[b.ID])}
		changes, done := known[k]
		if !done {
			var err error
			if changes, err = x.onHotspot(h.class, k.kind, k.id, k.mac); err != nil {
				x.effect(EffectUndecided, true, "what barrels of %s may do would take too long to compare").add(Affected{Kind: "barrel", ID: b.ID, Why: err.Error()})
			}
			known[k] = changes
		}
		for _, ch := range changes {
			x.tellBarrel(*b, h.terminal, ch)
		}
	}
}

var hotspotTexts = map[change]string{
	changeLost: "%s can no longer be on the hotspot of the terminal that has it", changeGained: "%s can be on the hotspot of the terminal that has it",
	changeNarrowed: "%s can be on the hotspot in fewer circumstances", changeWidened: "%s can be on the hotspot in more circumstances",
}

func (x *differ) tellBarrel(b policy.Barrel, m *policy.Subscriber, ch changed) {
	loses := ch.change == changeLost || ch.change == changeNarrowed
	e := x.effect(EffectHotspot, loses, hotspotTexts[ch.change])
	a := Affected{Kind: "barrel", ID: b.ID}
	if len(e.Who) < MostNamed {
		refuses := x.sides[0].rules
		if loses {
			refuses = x.sides[1].rules
		}
		a.Why, a.Where = refusal(refuses.AllowHotspot(x.hotspotRequest(ch.at, m, b)))
	}
	e.add(a)
}

// onHotspot compares when a barrel may be on a hotspot of a class of terminals.
func (x *differ) onHotspot(c *class, kind string, id, mac int) ([]changed, error) {
	sp := x.sides[0].spaces[policy.ActionHotspot]
	barrel := sp.All()
	for _, v := range []struct{ dim, value int }{
		{dimRole, sp.roles.of(policy.RoleBarrel)}, {dimSealType, sp.sealTypes.of(kind)}, {dimBarrel, id}, {dimMAC, mac},
	} {
		sp.Match(barrel, v.dim, region.Of(sp.Dims[v.dim].Size, v.value))
	}
	var parts [2][]part
	for i := range x.sides {
		var err error
		if parts[i], err = x.sides[i].in(policy.ActionHotspot, barrel, c.common); err != nil {
			return nil, err
		}
	}
	return compare(sp, parts)
}
