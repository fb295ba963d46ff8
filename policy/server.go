package policy

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Server is a seal server that requests may name. Port 0 stands for any port.
type Server struct {
	Host string // lower case; an IP address in its canonical form
	Port uint16
}

// ParseServer reads "host", "host:port", "[v6]:port" or a bare IPv6 address.
func ParseServer(s string) (Server, error) {
	host, port, hasPort := s, "", false
	if rest, bracket := strings.CutPrefix(s, "["); bracket {
		var closed bool
		host, port, closed = strings.Cut(rest, "]")
		if port, hasPort = strings.CutPrefix(port, ":"); !closed || !strings.Contains(host, ":") || !hasPort && port != "" {
			return Server{}, badServer(s)
		}
	} else if strings.Count(s, ":") == 1 {
		host, port, hasPort = strings.Cut(s, ":")
	}
	var number uint64
	if hasPort {
		var err error
		if number, err = strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
			return Server{}, badServer(s)
		}
	}
	host, ok := canonicalHost(host)
	if !ok {
		return Server{}, badServer(s)
	}
	return Server{Host: host, Port: uint16(number)}, nil
}

func badServer(s string) error {
	return fmt.Errorf("server %q: want a host name or an IP address, with or without a port, such as \"seal.example.org:8443\"", s)
}

// canonicalHost doesn't allocate when host is canonical already.
func canonicalHost(host string) (string, bool) {
	if host == "" {
		return "", false
	}
	if strings.Contains(host, ":") || host[0] >= '0' && host[0] <= '9' {
		if a, err := netip.ParseAddr(host); err == nil && a.Zone() == "" {
			var room [48]byte
			if text := a.Unmap().AppendTo(room[:0]); string(text) != host {
				return string(text), true
			}
			return host, true
		}
	}
	return strings.ToLower(host), hostname(host)
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

// written tells, without reading all of it, that named is a request for s: it is if
// it begins with the host as it stands in s. Others may be as well.
func (s *Server) written(named string) bool {
	rest, ok := strings.CutPrefix(named, s.Host)
	switch {
	case !ok || s.Host == "" || strings.Contains(s.Host, ":"):
		return false
	case rest == "":
		return s.Port == 0
	case rest[0] != ':':
		return false
	}
	port, err := strconv.ParseUint(rest[1:], 10, 16)
	return err == nil && port != 0 && (s.Port == 0 || uint64(s.Port) == port)
}

// covers tells whether a request for named is a request for s.
func (s Server) covers(named Server) bool {
	return s.Host == named.Host && (s.Port == 0 || s.Port == named.Port)
}
