package bundle

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/document"
	"github.com/sealedge/sealedge/policy/ident"
)

// carriers reads who may speak GTP about whom.
func (p *parser) carriers(v document.Value) {
	p.source(v, "spec", "carriers")
	names := map[string]bool{}
	given := map[netip.Prefix]string{} // peers, by the path that has them
	for _, item := range v.List() {
		m := item.Map()
		at := m.Need("name", "name: carrier-a")
		name, named := document.Parse(at, carrierName)
		if named && names[name] {
			at.Report("remove one, or name them apart", "carrier %s is there twice", name)
		}
		names[name] = true
		p.source(item, "spec", "carriers", name)

		peers := m.Need("peers", "peers: [198.51.100.0/24]")
		c := policy.Carrier{
			Name:             name,
			Peers:            document.Each(peers, parsePeers),
			IMSIPrefixes:     document.Each(m.Get("imsiPrefixes"), imsiPrefix),
			PLMNs:            document.Each(m.Get("plmns"), ident.ParsePLMN),
			RATs:             document.Each(m.Get("rats"), policy.ParseRAT),
			Versions:         document.Each(m.Get("versions"), gtpVersion),
			CreatesPerSecond: uint32(m.Get("createsPerSecond").Int(0, 1_000_000, 0)),
		}
		if peers.Present() && len(peers.List()) == 0 {
			peers.Report("list the carrier's addresses", "a carrier without peers is never heard")
		}
		// Of two ranges the narrower counts; of two that are equal neither would.
		for _, entry := range peers.List() {
			prefix, err := parsePeers(entry.Plain())
			if err != nil {
				continue
			}
			if other, twice := given[prefix]; twice && !strings.HasPrefix(other, peers.Path()+"[") {
				entry.Report("remove it from one of them", "%s is %s too", prefix, other)
				continue
			}
			given[prefix] = entry.Path()
		}
		m.Close()
		p.rules.Carriers = append(p.rules.Carriers, c)
	}
}

// carrierName checks a name that stands in counters and logs.
func carrierName(s string) (string, error) {
	if !ident.PlainName(s) {
		return "", fmt.Errorf(`%q can't name a carrier; use lower-case letters, digits and dashes, such as "carrier-a"`, s)
	}
	return s, nil
}

// parsePeers reads a range of outer addresses, or one of them.
func parsePeers(s string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		a, alone := netip.ParseAddr(s)
		if alone != nil || a.Zone() != "" {
			return prefix, fmt.Errorf("want a range of addresses, such as 198.51.100.0/24, have %q", s)
		}
		prefix = netip.PrefixFrom(a, a.BitLen())
	}
	switch {
	case prefix != prefix.Masked():
		return prefix, fmt.Errorf("%s is not the start of the range; did you mean %s?", s, prefix.Masked())
	case prefix.Addr().Is4In6():
		return prefix, fmt.Errorf("write the IPv4 range %s as such", s)
	case prefix.Addr().IsMulticast() || prefix.IsSingleIP() && prefix.Addr().IsUnspecified():
		return prefix, fmt.Errorf("%s is no address that a peer can send from", s)
	}
	return prefix, nil
}

// imsiPrefix reads the leading digits of IMSIs, up to all 15 (TS 23.003 2.2).
func imsiPrefix(s string) (string, error) {
	if s == "" || len(s) > 15 || strings.Trim(s, "0123456789") != "" {
		return "", fmt.Errorf("want the 1 to 15 leading digits of IMSIs, such as 46001, have %q", s)
	}
	return s, nil
}

func gtpVersion(s string) (uint8, error) {
	switch s {
	case "gtpv1":
		return 1, nil
	case "gtpv2":
		return 2, nil
	}
	return 0, errors.New("want gtpv1 or gtpv2")
}
