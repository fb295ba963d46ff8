package bundle

import (
	"fmt"
	"strings"

	"github.com/sealedge/sealedge/policy"
)

// ruleWords says what a rule says, in the document's own words.
func ruleWords(r *policy.Rule) string {
	var b strings.Builder
	if r.Permit {
		b.WriteString("permit ")
	} else {
		b.WriteString("forbid ")
	}
	b.WriteString(r.Action.String())
	m := &r.Match
	add := func(name string, n int, list string) {
		if n > 0 {
			b.WriteString(" " + name + " " + list)
		}
	}
	add("imsis", len(m.IMSIs), words(m.IMSIs))
	add("imsiPrefixes", len(m.IMSIPrefixes), words(m.IMSIPrefixes))
	add("groups", len(m.Groups), words(m.Groups))
	add("tacs", len(m.TACs), words(m.TACs))
	add("apns", len(m.APNs), words(m.APNs))
	add("paths", len(m.Paths), words(m.Paths))
	add("plmns", len(m.PLMNs), words(m.PLMNs))
	add("rats", len(m.RATs), words(m.RATs))
	add("locations", len(m.Locations), words(m.Locations))
	if m.Hours != nil {
		b.WriteString(" hours " + m.Hours.String())
	}
	add("sealTypes", len(m.SealTypes), words(m.SealTypes))
	add("barrels", len(m.Barrels), words(m.Barrels))
	add("roles", len(m.Roles), words(m.Roles))
	add("macs", len(m.MACs), words(m.MACs))
	if r.Require != (policy.Require{}) {
		b.WriteString(" require " + requireWords(&r.Require))
	}
	return b.String()
}

func requireWords(q *policy.Require) string {
	var parts []string
	if q.Handset != 0 {
		parts = append(parts, "handset "+q.Handset.String())
	}
	if q.Credentials != 0 {
		parts = append(parts, "credentials "+q.Credentials.String())
	}
	if q.Methods != 0 {
		parts = append(parts, "methods "+q.Methods.String())
	}
	if q.Level != 0 {
		parts = append(parts, fmt.Sprintf("level %d", q.Level))
	}
	if q.MaxCount != 0 {
		parts = append(parts, fmt.Sprintf("maxCount %d", q.MaxCount))
	}
	if q.MaxWindow != 0 {
		parts = append(parts, "maxWindow "+q.MaxWindow.String())
	}
	if q.EvidenceWithin != 0 {
		parts = append(parts, "evidenceWithin "+q.EvidenceWithin.String())
	}
	return strings.Join(parts, ", ")
}
