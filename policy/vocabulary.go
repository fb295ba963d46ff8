package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// Methods is a set of verification methods that a barrel can ask for.
type Methods uint8

// The methods.
const (
	MethodFingerprint Methods = 1 << iota
	MethodFace
)

var methodNames = [...]string{"fingerprint", "face"}

// MethodNames lists the methods that there are.
func MethodNames() []string { return methodNames[:] }

// ParseMethods collects the names of methods. ok is false when one is unknown
// or repeated.
func ParseMethods(names []string) (m Methods, ok bool) {
	ok = true
next:
	for _, name := range names {
		for i, known := range methodNames {
			if name == known {
				ok = ok && m&(1<<i) == 0
				m |= 1 << i
				continue next
			}
		}
		ok = false
	}
	return m, ok
}

// Has tells whether m includes all of want.
func (m Methods) Has(want Methods) bool { return m&want == want }

// Names lists the set, always in the same order.
func (m Methods) Names() []string {
	var out []string
	for i, name := range methodNames {
		if m&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

// String joins the names for people.
func (m Methods) String() string {
	if m == 0 {
		return "no method"
	}
	return strings.Join(m.Names(), " and ")
}

// RAT is a radio access type, numbered as in GTP (TS 29.274 8.17; the values
// of TS 29.060 7.7.50 agree).
type RAT uint8

var ratNames = map[RAT]string{
	1: "UTRAN", 2: "GERAN", 3: "WLAN", 4: "GAN", 5: "HSPA", 6: "EUTRAN", 7: "VIRTUAL",
	8: "NB-IOT", 9: "LTE-M", 10: "NR",
}

// RATNames lists the names that ParseRAT accepts, in the order of their numbers.
func RATNames() []string {
	var out []string
	for r := RAT(1); ratNames[r] != ""; r++ {
		out = append(out, ratNames[r])
	}
	return out
}

// ParseRAT reads a radio access type's name, in either case.
func ParseRAT(s string) (RAT, error) {
	for r, name := range ratNames {
		if strings.EqualFold(name, s) {
			return r, nil
		}
	}
	return 0, fmt.Errorf("unknown radio access type %q: want one of %s", s, strings.Join(RATNames(), ", "))
}

// String is the name, or the number of an unknown type.
func (r RAT) String() string {
	if name := ratNames[r]; name != "" {
		return name
	}
	return "RAT " + strconv.Itoa(int(r))
}

// Authentication says what a terminal must show in its protocol configuration
// options.
type Authentication uint8

// What may be asked for. What a terminal shows without being asked is checked
// all the same if its record has credentials.
const (
	AuthenticationNone Authentication = iota // nothing
	AuthenticationAny                        // PAP or CHAP
	AuthenticationPAP
	AuthenticationCHAP
)

var authenticationNames = [...]string{"none", "any", "pap", "chap"}

// ParseAuthentication reads "none", "any", "pap" or "chap".
func ParseAuthentication(s string) (Authentication, error) {
	for i, name := range authenticationNames {
		if s == name {
			return Authentication(i), nil
		}
	}
	return 0, fmt.Errorf("unknown authentication %q: want one of %s", s, strings.Join(authenticationNames[:], ", "))
}

// String is the word that ParseAuthentication reads.
func (a Authentication) String() string {
	if int(a) < len(authenticationNames) {
		return authenticationNames[a]
	}
	return "authentication " + strconv.Itoa(int(a))
}
