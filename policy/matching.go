package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// condition is one field of a Match.
type condition uint8

const (
	onIMSI condition = iota
	onIMSIPrefix
	onGroup
	onTAC
	onAPN
	onPath
	onPLMN
	onRAT
	onLocation
	onHours
	onSealType
	onBarrel
	onRole
	onMAC
	conditions // how many there are
)

// conditionKeys are their keys in documents.
var conditionKeys = [conditions]string{
	"imsis", "imsiPrefixes", "groups", "tacs", "apns", "paths", "plmns", "rats", "locations", "hours", "sealTypes", "barrels", "roles", "macs",
}

// asked tells whether the condition is one of the match.
func (c condition) asked(m *Match) bool {
	switch c {
	case onIMSI:
		return len(m.IMSIs) > 0
	case onIMSIPrefix:
		return len(m.IMSIPrefixes) > 0
	case onGroup:
		return len(m.Groups) > 0
	case onTAC:
		return len(m.TACs) > 0
	case onAPN:
		return len(m.APNs) > 0
	case onPath:
		return len(m.Paths) > 0
	case onPLMN:
		return len(m.PLMNs) > 0
	case onRAT:
		return len(m.RATs) > 0
	case onLocation:
		return len(m.Locations) > 0
	case onHours:
		return m.Hours != nil
	case onSealType:
		return len(m.SealTypes) > 0
	case onBarrel:
		return len(m.Barrels) > 0
	case onRole:
		return len(m.Roles) > 0
	case onMAC:
		return len(m.MACs) > 0
	}
	return true
}

// holds tells whether the condition holds; one that isn't known doesn't.
func (c condition) holds(r *Rules, m *Match, f *facts) bool {
	switch c {
	case onIMSI:
		return f.imsi != "" && slices.Contains(m.IMSIs, f.imsi)
	case onIMSIPrefix:
		return slices.ContainsFunc(m.IMSIPrefixes, func(p string) bool { return p != "" && strings.HasPrefix(f.imsi, p) })
	case onGroup:
		return slices.ContainsFunc(f.groups, func(g string) bool { return g != "" && slices.Contains(m.Groups, g) })
	case onTAC:
		return !f.access.IMEI.IsZero() && slices.Contains(m.TACs, f.access.IMEI.TAC())
	case onAPN:
		return !f.apn.IsZero() && slices.Contains(m.APNs, f.apn)
	case onPath:
		return f.path != 0 && slices.Contains(m.Paths, f.path)
	case onPLMN:
		return !f.access.PLMN.IsZero() && slices.Contains(m.PLMNs, f.access.PLMN)
	case onRAT:
		return f.access.RAT != 0 && slices.Contains(m.RATs, f.access.RAT)
	case onLocation:
		return slices.ContainsFunc(m.Locations, func(name string) bool { return r.Locations[name].has(f.access.Place) })
	case onHours:
		return m.Hours.At(f.now, r.Zone)
	case onSealType:
		return f.sealType != "" && slices.Contains(m.SealTypes, f.sealType)
	case onBarrel:
		return f.barrel != "" && slices.Contains(m.Barrels, f.barrel)
	case onRole:
		return f.role != "" && slices.Contains(m.Roles, f.role)
	case onMAC:
		return !f.mac.IsZero() && slices.Contains(m.MACs, f.mac)
	}
	return false
}

// has are the words for what the request has.
func (c condition) has(r *Rules, f *facts) string {
	switch c {
	case onIMSI, onIMSIPrefix:
		return "the IMSI is " + orUnknown(f.imsi)
	case onGroup:
		return "the terminal's groups are " + orNone(strings.Join(f.groups, ", "))
	case onTAC:
		return "the handset's model is " + orUnknown(f.access.IMEI.TAC())
	case onAPN:
		return "the APN is " + orUnknown(f.apn.String())
	case onPath:
		return "the path is " + f.path.String()
	case onPLMN:
		return "the serving network is " + orUnknown(f.access.PLMN.String())
	case onRAT:
		if f.access.RAT == 0 {
			return "the radio access is not known"
		}
		return "the radio access is " + f.access.RAT.String()
	case onLocation:
		return r.whereabouts(&f.access)
	case onHours:
		if f.now.IsZero() {
			return "the time is not known"
		}
		return "it is " + f.now.In(r.zone()).Format("Mon 2006-01-02 15:04 MST")
	case onSealType:
		return "the seal is " + orUnknown(f.sealType)
	case onBarrel:
		return "the barrel is " + orUnknown(f.barrel)
	case onRole:
		return "the device's role is " + orUnknown(f.role)
	case onMAC:
		return "the device's MAC is " + orUnknown(f.mac.String())
	}
	return "it isn't known"
}

// matches tells whether a rule is for what is asked.
func (r *Rules) matches(rule *Rule, f *facts) bool {
	for c := range conditions {
		if c.asked(&rule.Match) && !c.holds(r, &rule.Match, f) {
			return false
		}
	}
	return rule.Action == f.action
}

// missed are the words for the conditions of a rule that don't hold.
func (r *Rules) missed(rule *Rule, f *facts) []string {
	var out []string
	for c := range conditions {
		if !c.asked(&rule.Match) || c.holds(r, &rule.Match, f) {
			continue
		}
		where := ""
		if s := r.Sources["spec/rules/"+rule.ID+"/match/"+conditionKeys[c]]; s != "" {
			where = " (" + s + ")"
		}
		out = append(out, fmt.Sprintf("%s%s: %s", conditionKeys[c], where, c.has(r, f)))
	}
	return out
}

// has tells whether a place is one of the location's.
func (l Location) has(p Place) bool {
	return !p.TAI.IsZero() && slices.Contains(l.TAIs, p.TAI.String()) || !p.ECGI.IsZero() && slices.Contains(l.ECGIs, p.ECGI.String())
}

// whereabouts names the place of a terminal, and the locations that have it.
func (r *Rules) whereabouts(a *Access) string {
	p, told := a.Place, a.Told.UTC().Format(time.RFC3339)
	switch {
	case p == Place{} && a.Told.IsZero():
		return "where the terminal is isn't known"
	case p == Place{}:
		return fmt.Sprintf("where the terminal is isn't known: its carrier told it last at %s, and it counts for %s (placeAge)", told, r.Fallback.PlaceAge)
	}
	var at []string
	for name, l := range r.Locations {
		if l.has(p) {
			at = append(at, name)
		}
	}
	slices.Sort(at)
	words := fmt.Sprintf("%s (tracking area %s, cell %s)", orNone(strings.Join(at, ", ")), orUnknown(p.TAI.String()), orUnknown(p.ECGI.String()))
	if !a.Told.IsZero() {
		return fmt.Sprintf("the terminal was at %s, as its carrier told last at %s", words, told)
	}
	return "the terminal is at " + words
}

// zone is that of the rules' hours.
func (r *Rules) zone() *time.Location {
	if r.Zone == nil {
		return time.UTC
	}
	return r.Zone
}

func orUnknown(s string) string {
	if s == "" {
		return "not known"
	}
	return s
}
