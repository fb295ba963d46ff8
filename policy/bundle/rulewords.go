package bundle

import (
	"fmt"
	"strings"
	"time"

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
		b.WriteString(" hours " + hoursWords(m.Hours))
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

func hoursWords(h *policy.Hours) string {
	var days []string
	for d, on := range h.Days {
		if on {
			days = append(days, time.Weekday(d).String()[:3])
		}
	}
	out := fmt.Sprintf("%s %02d:%02d-%02d:%02d", strings.Join(days, ","), h.From/60, h.From%60, h.To/60, h.To%60)
	if !h.NotBefore.IsZero() {
		out += " from " + h.NotBefore.Format(time.RFC3339)
	}
	if !h.NotAfter.IsZero() {
		out += " until " + h.NotAfter.Format(time.RFC3339)
	}
	return out
}

func requireWords(q *policy.Require) string {
	var parts []string
	if q.Handset != 0 {
		parts = append(parts, "handset "+bindingName(q.Handset))
	}
	if q.Credentials != 0 {
		parts = append(parts, "credentials "+credentialNames(q.Credentials))
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

var bindingNames = [...]string{"listed", "listed", "exact", "pool", "first-use", "any"}

// bindingName is the binding's name in documents; what isn't said is "listed".
func bindingName(b policy.HandsetBinding) string {
	if int(b) < len(bindingNames) {
		return bindingNames[b]
	}
	return fmt.Sprintf("binding %d", b)
}

var credentialWords = [...]string{"sim", "wireguard", "certificate", "password", "pre-shared-key", "barrel-psk", "barrel-certificate"}

func credentialNames(c policy.Credentials) string {
	var out []string
	for i, name := range credentialWords {
		if c&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return "[" + strings.Join(out, ", ") + "]"
}
