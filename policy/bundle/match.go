package bundle

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/document"
	"github.com/sealedge/sealedge/policy/ident"
)

// match reads what a rule is for.
func (p *parser) match(v document.Value, r *policy.Rule) {
	p.source(v, "spec", "rules", r.ID, "match")
	m := v.Map()
	get := func(key string) document.Value {
		item := m.Get(key)
		p.source(item, "spec", "rules", r.ID, "match", key)
		if item.Present() && key != "hours" && len(item.List()) == 0 {
			item.Report("remove the key to match all, or list values", "an empty list would match nothing")
		}
		return item
	}
	r.Match = policy.Match{
		IMSIs:        texts(document.Each(get("imsis"), ident.ParseIMSI)),
		IMSIPrefixes: document.Each(get("imsiPrefixes"), rulePrefix),
		Groups:       document.Each(get("groups"), groupName),
		TACs:         document.Each(get("tacs"), parseTAC),
		APNs:         document.Each(get("apns"), p.servedAPN),
		Paths:        document.Each(get("paths"), policy.ParsePath),
		PLMNs:        document.Each(get("plmns"), ident.ParsePLMN),
		RATs:         document.Each(get("rats"), policy.ParseRAT),
		Locations:    document.Each(get("locations"), oneOf("location", "spec.locations", maps.Keys(p.rules.Locations))),
		Hours:        p.hours(get("hours"), r.ID),
	}
	if r.Action != policy.ActionAttach {
		r.Match.SealTypes = document.Each(get("sealTypes"), oneOf("seal type", "spec.sealTypes", maps.Keys(p.rules.SealTypes)))
		r.Match.Barrels = texts(document.Each(get("barrels"), ident.ParseBarrelID))
	}
	if r.Action == policy.ActionHotspot {
		roles := []string{policy.RoleBarrel}
		for _, d := range p.rules.Hotspot {
			roles = append(roles, d.Role)
		}
		r.Match.Roles = document.Each(get("roles"), oneOf("role", "spec.hotspot.devices", slices.Values(roles)))
		r.Match.MACs = document.Each(get("macs"), ident.ParseMAC)
	}
	m.Close()
}

// oneOf reads a name that stands elsewhere in the document.
func oneOf(what, where string, known iter.Seq[string]) func(string) (string, error) {
	names := slices.Compact(slices.Sorted(known))
	return func(s string) (string, error) {
		if slices.Contains(names, s) {
			return s, nil
		}
		guess := ""
		if near := document.Nearest(s, names); near != "" {
			guess = fmt.Sprintf("; did you mean %q?", near)
		}
		return "", fmt.Errorf("%s has no %s %q%s", where, what, s, guess)
	}
}

// servedAPN reads an access point that the document serves.
func (p *parser) servedAPN(s string) (ident.APN, error) {
	apn, err := ident.ParseAPN(s)
	if err != nil {
		return apn, err
	}
	_, err = oneOf("APN", "spec.apns", maps.Keys(p.apnNames()))(apn.String())
	return apn, err
}

func (p *parser) apnNames() map[string]bool {
	out := map[string]bool{}
	for name := range p.rules.APNs {
		out[name.String()] = true
	}
	return out
}

// rulePrefix reads the leading digits of IMSIs; the whole goes into imsis.
func rulePrefix(s string) (string, error) {
	if len(s) < 5 || len(s) > 14 || strings.Trim(s, "0123456789") != "" {
		return "", fmt.Errorf("want the 5 to 14 leading digits of IMSIs, such as 46001, have %q", s)
	}
	return s, nil
}

func groupName(s string) (string, error) {
	if !ident.PlainName(s) {
		return "", fmt.Errorf(`%q can't name a group; use lower-case letters, digits and dashes, such as "head-office"`, s)
	}
	return s, nil
}

// hours reads spans of a week.
func (p *parser) hours(v document.Value, rule string) *policy.Hours {
	if !v.Present() {
		return nil
	}
	m := v.Map()
	days, from, to := m.Get("days"), m.Get("from"), m.Get("to")
	h := policy.Hours{To: 24 * 60}
	for _, day := range document.Each(days, policy.ParseDay) {
		h.Days[day] = true
	}
	if !days.Present() {
		h.Days = [7]bool{true, true, true, true, true, true, true}
	} else if len(days.List()) == 0 {
		days.Report("remove the key for all days, or list some", "no day would match")
	}
	if n, ok := document.Parse(from, policy.ParseClock); ok {
		h.From = n
	}
	if n, ok := document.Parse(to, policy.ParseClock); ok {
		h.To = n
	}
	if h.To == 0 && h.From != 0 {
		h.To = 24 * 60 // midnight, as a span ends with it
	}
	if h.From == h.To || h.From == 24*60 {
		from.Report(`write another time, or leave both out for the whole day`, "no time is from %02d:%02d to %02d:%02d", h.From/60, h.From%60, h.To/60, h.To%60)
	}
	begin, end := m.Get("notBefore"), m.Get("notAfter")
	h.NotBefore, _ = document.Parse(begin, p.day(0))
	h.NotAfter, _ = document.Parse(end, p.day(1))
	if !h.NotBefore.IsZero() && !h.NotAfter.IsZero() && !h.NotBefore.Before(h.NotAfter) {
		end.Report("write a later one", "it is over before it begins")
	}
	bounded := false
	for _, item := range []document.Value{days, from, to, begin, end} {
		bounded = bounded || item.Present()
		p.source(item, "spec", "rules", rule, "match", "hours", item.Key())
	}
	m.Close()
	if !bounded {
		v.Report("remove the key, or add from, to, days, notBefore or notAfter", "these hours are always")
	}
	return &h
}

// day reads an instant, or a day as such: its beginning, or with more 1 its end.
func (p *parser) day(more int) func(string) (time.Time, error) {
	return func(s string) (time.Time, error) {
		if t, err := time.Parse(time.RFC3339, s); err == nil {
			return t, nil
		}
		t, err := time.ParseInLocation(time.DateOnly, s, p.rules.Zone)
		if err != nil {
			return t, fmt.Errorf(`want a day such as "2026-12-31" or an instant such as "2026-12-31T18:00:00+08:00", have %q`, s)
		}
		return t.AddDate(0, 0, more), nil
	}
}
