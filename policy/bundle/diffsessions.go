package bundle

import (
	"fmt"
	"strconv"

	"github.com/sealedge/sealedge/policy"
)

// sessions tells which sessions the new rules would not admit where they are.
func (d *Difference) sessions(old, now *policy.Rules, list []Session) {
	e := Effect{Kind: EffectSession, Loses: true}
	for _, s := range list {
		after := now.Admit(s.Request)
		if after.Allowed || !old.Admit(s.Request).Allowed {
			continue
		}
		why, where := refusal(after)
		e.add(Affected{Kind: "session", ID: strconv.FormatUint(s.ID, 10), Why: why, Where: where})
	}
	if e.Count > 0 {
		e.Text = fmt.Sprintf("%s no longer admitted, and end", map[bool]string{true: "1 live session is", false: numbered(e.Count, "live session") + " are"}[e.Count == 1])
		d.keep(e)
	}
}

// add counts one more, and names it if there is room.
func (e *Effect) add(a Affected) {
	e.Count++
	if len(e.Who) < MostNamed {
		e.Who = append(e.Who, a)
	}
}

// refusal is the first thing that a decision says against something, of a rule of
// the document rather than of what follows from it.
func refusal(d policy.Decision) (why, where string) {
	if d.Allowed {
		return "", ""
	}
	for _, r := range d.Reasons() {
		if !r.OK && !r.Skipped {
			return r.Text, r.Source
		}
	}
	return string(d.Code), ""
}
