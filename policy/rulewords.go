package policy

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ActionNames lists the names that ParseAction reads.
func ActionNames() []string { return actionNames[1:] }

// ParseAction reads "attach", "hotspot" or "use".
func ParseAction(s string) (Action, error) {
	for i, name := range actionNames {
		if s == name && i > 0 {
			return Action(i), nil
		}
	}
	return 0, fmt.Errorf("unknown action %q: want one of %s", s, strings.Join(ActionNames(), ", "))
}

// pathNames are the words of documents for the paths.
var pathNames = [...]string{PathGTP: "carrier", PathWireGuard: "fallback"}

// PathNames lists the names that ParsePath reads.
func PathNames() []string { return pathNames[1:] }

// ParsePath reads "carrier" or "fallback".
func ParsePath(s string) (PathKind, error) {
	for i, name := range pathNames {
		if s == name && i > 0 {
			return PathKind(i), nil
		}
	}
	return 0, fmt.Errorf("unknown path %q: want one of %s", s, strings.Join(PathNames(), ", "))
}

var handsetNames = [...]string{HandsetListed: "listed", HandsetExact: "exact", HandsetPool: "pool", HandsetFirstUse: "first-use", HandsetAny: "any"}

// HandsetNames lists the names that ParseHandset reads.
func HandsetNames() []string { return handsetNames[1:] }

// ParseHandset reads a handset binding's name.
func ParseHandset(s string) (HandsetBinding, error) {
	for i, name := range handsetNames {
		if s == name && i > 0 {
			return HandsetBinding(i), nil
		}
	}
	return 0, fmt.Errorf("unknown handset binding %q: want one of %s", s, strings.Join(HandsetNames(), ", "))
}

// String is the binding's name in documents.
func (h HandsetBinding) String() string {
	if int(h) < len(handsetNames) && h != 0 {
		return handsetNames[h]
	}
	return "handset binding " + strconv.Itoa(int(h))
}

var credentialNames = [...]string{"sim", "wireguard", "certificate", "password", "pre-shared-key", "barrel-psk", "barrel-certificate"}

// CredentialNames lists the names that ParseCredential reads.
func CredentialNames() []string { return credentialNames[:] }

// ParseCredential reads one credential's name.
func ParseCredential(s string) (Credentials, error) {
	for i, name := range credentialNames {
		if s == name {
			return 1 << i, nil
		}
	}
	return 0, fmt.Errorf("unknown credential %q: want one of %s", s, strings.Join(CredentialNames(), ", "))
}

// Has tells whether c includes all of want.
func (c Credentials) Has(want Credentials) bool { return c&want == want }

// Names lists the set, always in the same order.
func (c Credentials) Names() []string {
	var out []string
	for i, name := range credentialNames {
		if c&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

// String joins the names for people.
func (c Credentials) String() string {
	if c == 0 {
		return "nothing"
	}
	return strings.Join(c.Names(), ", ")
}

// Attaching are the credentials that can be shown when a terminal attaches over a
// path: on the fallback by its key, and when it asks for that path, which it may do
// over the carrier. The others are shown when a seal is used.
func (p PathKind) Attaching() Credentials {
	switch p {
	case PathGTP:
		return CredentialSIM | CredentialPassword
	case PathWireGuard:
		return CredentialWireGuard | CredentialSIM | CredentialCertificate | CredentialPassword | CredentialPreSharedKey
	}
	return 0
}

// Possible are the credentials that can be shown over a path at all.
func (p PathKind) Possible() Credentials {
	const inside = CredentialCertificate | CredentialPassword | CredentialPreSharedKey | CredentialBarrelPSK | CredentialBarrelCert
	return p.Attaching() | inside
}

// RoleBarrel is the role of barrels on hotspots. Other devices have others.
const RoleBarrel = "barrel"

var dayNames = [...]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// DayNames lists the names that ParseDay reads, Sunday first as time.Weekday does.
func DayNames() []string { return dayNames[:] }

// ParseDay reads "mon".
func ParseDay(s string) (time.Weekday, error) {
	for i, name := range dayNames {
		if s == name {
			return time.Weekday(i), nil
		}
	}
	return 0, fmt.Errorf("unknown day %q: want one of %s", s, strings.Join(DayNames(), ", "))
}

// ParseClock reads "08:30" as minutes since midnight, up to "24:00".
func ParseClock(s string) (int, error) {
	if len(s) == 5 && s[2] == ':' {
		h, err1 := strconv.ParseUint(s[:2], 10, 8)
		m, err2 := strconv.ParseUint(s[3:], 10, 8)
		if err1 == nil && err2 == nil && m < 60 && h*60+m <= 24*60 {
			return int(h*60 + m), nil
		}
	}
	return 0, fmt.Errorf(`want a time of day from "00:00" to "24:00", have %q`, s)
}

// String writes the hours as documents would.
func (h *Hours) String() string {
	if h == nil {
		return "at any time"
	}
	var days []string
	for i := range h.Days { // a week as people write it, Monday first
		if day := (i + 1) % len(h.Days); h.Days[day] {
			days = append(days, dayNames[day])
		}
	}
	text := fmt.Sprintf("%s %02d:%02d-%02d:%02d", strings.Join(days, ","), h.From/60, h.From%60, h.To/60, h.To%60)
	if !h.NotBefore.IsZero() {
		text += " from " + h.NotBefore.Format(time.RFC3339)
	}
	if !h.NotAfter.IsZero() {
		text += " until " + h.NotAfter.Format(time.RFC3339)
	}
	return text
}
