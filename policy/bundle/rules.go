package bundle

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/document"
	"github.com/sealedge/sealedge/policy/ident"
)

// maxRules bounds the table.
const maxRules = 10_000

// table reads the rules in their order. What they name is read before.
func (p *parser) table(v document.Value) {
	p.source(v, "spec", "rules")
	items := v.List()
	if len(items) > maxRules {
		v.Report(fmt.Sprintf("keep it at %d", maxRules), "there are %d rules", len(items))
		return
	}
	ids := map[string]int{}
	for _, item := range items {
		m := item.Map()
		at := m.Need("id", "id: finance-by-day")
		id, named := document.Parse(at, ruleName)
		if line, twice := ids[id]; named && twice {
			at.Report("name them apart", "rule %s is there twice, first in line %d", id, line)
		}
		ids[id] = item.Line()
		p.source(item, "spec", "rules", id)

		r := policy.Rule{ID: id, Why: m.Get("why").Text()}
		action, known := document.Parse(m.Need("action", "action: use"), policy.ParseAction)
		r.Action = action
		r.Permit, _ = document.Parse(m.Need("effect", "effect: permit"), effect)
		match, require := m.Get("match"), m.Get("require")
		m.Close()
		if known { // else what may stand there isn't known
			p.match(match, &r)
			p.require(require, &r)
		}
		p.rules.Table = append(p.rules.Table, r)
	}
}

func ruleName(s string) (string, error) {
	if !ident.PlainName(s) {
		return "", fmt.Errorf(`%q can't name a rule; use up to 32 lower-case letters, digits and dashes, such as "finance-by-day"`, s)
	}
	return s, nil
}

func effect(s string) (permit bool, err error) {
	switch s {
	case "permit":
		return true, nil
	case "forbid":
		return false, nil
	}
	return false, fmt.Errorf(`want permit or forbid, have %q`, s)
}

// require reads what a rule that permits asks for besides.
func (p *parser) require(v document.Value, r *policy.Rule) {
	if !v.Present() {
		return
	}
	p.source(v, "spec", "rules", r.ID, "require")
	m := v.Map()
	get := func(key string) document.Value {
		item := m.Get(key)
		p.source(item, "spec", "rules", r.ID, "require", key)
		return item
	}
	switch {
	case !r.Permit:
		v.Report("remove it, or write effect: permit", "a rule that forbids requires nothing")
		return
	case r.Action == policy.ActionHotspot:
		v.Report("remove it", "a device that joins a hotspot has nothing to show")
		return
	case r.Action == policy.ActionAttach:
		if handset := get("handset"); handset.Present() {
			r.Require.Handset, _ = document.Parse(handset, policy.ParseHandset)
			p.pool(handset, r.Require.Handset)
			if r.Require.Handset == policy.HandsetAny {
				handset.Report("remove it", "any handset is no requirement")
			}
		}
	case r.Action == policy.ActionUse:
		for _, set := range document.Each(get("methods"), method) {
			r.Require.Methods |= set
		}
		level, count, window := get("level"), get("maxCount"), get("maxWindow")
		evidence := get("evidenceWithin")
		r.Require.Level = p.level(level)
		r.Require.MaxCount = uint32(count.Int(1, 10_000, 0))
		r.Require.MaxWindow = window.Duration(time.Minute, math.MaxInt64, 0)
		r.Require.EvidenceWithin = evidence.Duration(10*time.Second, 24*time.Hour, 0)
		if r.Require.EvidenceWithin%time.Second != 0 {
			evidence.Report("write whole seconds", "%s is finer than it is kept", r.Require.EvidenceWithin)
		}
		q := r.Require
		p.adds(level, r, func(k policy.SealType) bool { return q.Level <= k.Level })
		p.adds(count, r, func(k policy.SealType) bool { return q.MaxCount <= k.MaxCount })
		p.adds(window, r, func(k policy.SealType) bool { return q.MaxWindow <= k.MaxWindow })
		p.adds(evidence, r, func(k policy.SealType) bool { return q.EvidenceWithin <= time.Duration(k.EvidenceSeconds)*time.Second })
	}
	var possible policy.Credentials
	paths := r.Match.Paths
	if len(paths) == 0 {
		paths = []policy.PathKind{policy.PathGTP, policy.PathWireGuard}
	}
	for _, path := range paths {
		if r.Action == policy.ActionAttach {
			possible |= path.Attaching()
		} else {
			possible |= path.Possible()
		}
	}
	r.Require.Credentials = credentials(get("credentials"), possible, "where this rule matches")
	m.Close()
	if r.Require == (policy.Require{}) {
		v.Report("remove it", "nothing is required")
	}
}

// adds reports a requirement that is weaker than what a seal type that the rule
// names asks for already; of a rule that names none, weaker than all of them.
func (p *parser) adds(v document.Value, r *policy.Rule, atLeast func(policy.SealType) bool) {
	if !v.Present() {
		return
	}
	if named := r.Match.SealTypes; len(named) > 0 {
		for _, name := range named {
			if k, ok := p.rules.SealTypes[name]; ok && !atLeast(k) {
				v.Report("make it stronger, or remove it", "seal type %s asks for more than this already; a rule only adds", name)
				return
			}
		}
		return
	}
	if kinds := p.rules.SealTypes; len(kinds) > 0 && !slices.ContainsFunc(slices.Collect(maps.Values(kinds)), atLeast) {
		v.Report("make it stronger, or remove it", "every seal type asks for more than this already; a rule only adds")
	}
}
