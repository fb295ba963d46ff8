package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Path is a file or directory.
type Path string

// Name names a node or a gateway address: 1 to 63 lower-case letters, digits,
// dashes and dots, so that it can stand in a certificate and a file name.
type Name string

// UnmarshalText checks the characters.
func (n *Name) UnmarshalText(b []byte) error {
	s := string(b)
	if s == "" || len(s) > 63 || s[0] == '-' || s[0] == '.' || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
		return fmt.Errorf("%q can't be a name; use 1 to 63 lower-case letters, digits, dashes and dots, such as node1", s)
	}
	*n = Name(s)
	return nil
}

// HostPort is a host name or IP address with a port.
type HostPort string

// UnmarshalText wants a port. The host may be empty, for a listener: see Node.ListenAt.
func (h *HostPort) UnmarshalText(b []byte) error {
	_, port, err := net.SplitHostPort(string(b))
	if err != nil {
		return fmt.Errorf("%q is no address with a port; write host:port, such as 127.0.1.1:7000", b)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q is no port; use a number from 1 to 65535", port)
	}
	*h = HostPort(b)
	return nil
}

// Peer is one node of the cluster, written name=host:port.
type Peer struct {
	Name    Name
	Address HostPort // that the other nodes dial
}

// Outer is a gateway address and its name in the cluster's records.
type Outer struct {
	Name    Name
	Address netip.Addr
}

// UnmarshalText reads name=address.
func (o *Outer) UnmarshalText(b []byte) error {
	name, address, ok := strings.Cut(string(b), "=")
	if !ok {
		return fmt.Errorf("%q: write NAME=ADDRESS, such as gw2=192.0.2.2", b)
	}
	if err := o.Name.UnmarshalText([]byte(name)); err != nil {
		return err
	}
	a, err := netip.ParseAddr(address)
	if err != nil || !a.Is4() {
		return fmt.Errorf("%q is no IPv4 address", address)
	}
	o.Address = a
	return nil
}

// Endpoint is a gateway address as others see it, written name=host:port.
type Endpoint struct {
	Name    Name
	Address HostPort
}

// UnmarshalText reads name=host:port.
func (e *Endpoint) UnmarshalText(b []byte) error {
	var p Peer
	if !strings.Contains(string(b), "=") {
		return fmt.Errorf("%q: write NAME=HOST:PORT, such as gw1=vpn.example.com:51820", b)
	}
	if err := p.UnmarshalText(b); err != nil {
		return err
	}
	*e = Endpoint(p)
	return nil
}

// UnmarshalText reads name=host:port.
func (p *Peer) UnmarshalText(b []byte) error {
	name, address, ok := strings.Cut(string(b), "=")
	if !ok {
		return fmt.Errorf("%q is no peer; write name=host:port, such as node1=127.0.1.1:7000", b)
	}
	if err := p.Name.UnmarshalText([]byte(name)); err != nil {
		return err
	}
	if err := p.Address.UnmarshalText([]byte(address)); err != nil {
		return err
	}
	if strings.HasPrefix(address, ":") {
		return fmt.Errorf("%q names no host that the other nodes could dial; write name=host:port", b)
	}
	return nil
}

// String is what UnmarshalText reads.
func (p Peer) String() string { return string(p.Name) + "=" + string(p.Address) }

// URL is an https address of a server, without a path.
type URL struct{ url.URL }

// UnmarshalText wants https, a host, and nothing after it.
func (u *URL) UnmarshalText(b []byte) error {
	parsed, err := url.Parse(string(b))
	if err != nil || parsed.Scheme != "https" || parsed.Hostname() == "" || parsed.User != nil ||
		strings.Trim(parsed.Path, "/") != "" || parsed.RawQuery != "" || parsed.Fragment != "" || parsed.Opaque != "" {
		return fmt.Errorf("%q is no server; write https://host:port, such as https://127.0.2.1:8443", b)
	}
	u.URL = *parsed
	return nil
}

// Identifier is a URI SAN that names a party in its certificate.
type Identifier string

// UnmarshalText wants a URI of the form sealedge://role or sealedge://role/name.
func (id *Identifier) UnmarshalText(b []byte) error {
	u, err := url.Parse(string(b))
	if err != nil || u.Scheme != "sealedge" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("%q names no party; write the URI SAN of its certificate, such as sealedge://seal-server", b)
	}
	*id = Identifier(b)
	return nil
}

// Format is how the log is written.
type Format string

// UnmarshalText wants text or json.
func (f *Format) UnmarshalText(b []byte) error {
	if s := string(b); s != "text" && s != "json" {
		return fmt.Errorf("%q is no log format; write text or json", s)
	}
	*f = Format(b)
	return nil
}

// FailedPath is what becomes of the sessions of a peer that doesn't answer.
type FailedPath string

// KeepSessions keeps them for a time, in case that the peer comes back with its
// memory; ReleaseSessions ends them at once.
const (
	KeepSessions    FailedPath = "keep"
	ReleaseSessions FailedPath = "release"
)

// UnmarshalText wants keep or release.
func (f *FailedPath) UnmarshalText(b []byte) error {
	switch p := FailedPath(b); p {
	case KeepSessions, ReleaseSessions:
		*f = p
		return nil
	}
	return fmt.Errorf("%q is no way to treat sessions; write keep or release", b)
}

func parsePrefix(s string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		addr, alone := netip.ParseAddr(s)
		if alone != nil {
			return prefix, fmt.Errorf("%q is no range of addresses; write it as 127.0.20.0/24", s)
		}
		return addr.Prefix(addr.BitLen())
	}
	if prefix != prefix.Masked() {
		return prefix, fmt.Errorf("%s is not the start of the range; did you mean %s?", s, prefix.Masked())
	}
	return prefix, nil
}

// parseAddr reads the address of a host, of IPv4 alone or of both families.
func parseAddr(s, family string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case family == "IPv4" && (err != nil || !a.Is4()):
		return a, fmt.Errorf("%q is no IPv4 address; write one such as 10.90.0.1", s)
	case err != nil:
		return a, fmt.Errorf("%q is no IP address; write one such as 10.90.0.1 or fd00:90::1", s)
	case a.Is4In6():
		return a, fmt.Errorf("%s is an IPv4 address in disguise; write %s", s, a.Unmap())
	case a.IsUnspecified() || a.IsMulticast():
		return a, errors.New(s + " is not the address of a host; write one such as 10.90.0.1")
	case a.Is6() && (a.IsLinkLocalUnicast() || a.Zone() != ""):
		return a, errors.New(s + " is of one link alone; write an address such as fd00:90::1")
	}
	return a, nil
}
