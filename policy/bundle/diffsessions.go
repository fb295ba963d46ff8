package bundle

import (
	"fmt"
	"strconv"

	"github.com/sealedge/sealedge/policy"
)

// sessions tells which sessions the new rules would not admit where they are.
func (d *Difference) sessions(old, now *policy.Rules, list []Session) {
	e := Effect{Kind: "session-ended", Loses: true}
	for _, s := range list {
		after := now.Admit(s.Request)
		if after.Allowed || !old.Admit(s.Request).Allowed {
			continue
		}
		e.add("session", strconv.FormatUint(s.ID, 10), after)
	}
	d.keep(e, "live session is no longer admitted", "live sessions are no longer admitted")
}

// add counts one more, and names it with what refuses it, if there is room.
func (e *Effect) add(kind, id string, after policy.Decision) {
	e.Count++
	if len(e.Who) < MostNamed {
		why, where := refusal(after)
		e.Who = append(e.Who, Affected{Kind: kind, ID: id, Why: why, Where: where})
	}
}

// refusal is the first thing that a decision says against something.
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

// keep adds an effect that is on anything. The words follow its count.
func (d *Difference) keep(e Effect, one, several string) {
	switch e.Count {
	case 0:
		return
	case 1:
		e.Text = "1 " + one
	default:
		e.Text = fmt.Sprintf("%d %s", e.Count, several)
	}
	d.Effects = append(d.Effects, e)
}
