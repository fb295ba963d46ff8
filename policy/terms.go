package policy

import (
	"errors"
	"fmt"
	"net/netip"
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

// Server is a seal server that requests may name. Port 0 stands for any port.
type Server struct {
	Host string // lower case; an IP address in its canonical form
	Port uint16
}

var errServer = errors.New(`want a host name or an IP address, with or without a port, such as "seal.example.org:8443"`)

// ParseServer reads "host", "host:port" or "[v6]:port".
func ParseServer(s string) (Server, error) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return Server{Host: a.Unmap().String()}, nil
	}
	host, port := s, uint16(0)
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		p, err := strconv.ParseUint(s[i+1:], 10, 16)
		if err != nil || p == 0 {
			return Server{}, fmt.Errorf("server %q: %w", s, errServer)
		}
		host, port = s[:i], uint16(p)
	}
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return Server{Host: a.Unmap().String(), Port: port}, nil
	}
	if !hostname(host) {
		return Server{}, fmt.Errorf("server %q: %w", s, errServer)
	}
	return Server{Host: strings.ToLower(host), Port: port}, nil
}

func hostname(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return true
}

// String is what ParseServer reads.
func (s Server) String() string {
	host := s.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if s.Port == 0 {
		return host
	}
	return host + ":" + strconv.Itoa(int(s.Port))
}

// covers tells whether a request for named is a request for s.
func (s Server) covers(named Server) bool {
	return s.Host == named.Host && (s.Port == 0 || s.Port == named.Port)
}
