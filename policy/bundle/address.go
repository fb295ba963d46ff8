package bundle

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/document"
	"github.com/sealedge/sealedge/policy/ident"
)

// claim is a part of the address space that the document already gave away.
type claim struct {
	prefix netip.Prefix
	path   string
}

// families tells which pools an APN has.
type families struct {
	ip4, ip6 bool
	unknown  bool // a mistake hides it
}

// of tells whether the APN has a pool of the family of a.
func (f families) of(a netip.Addr) bool { return a.Is4() && f.ip4 || a.Is6() && f.ip6 }

// addresses reads the pools of an APN, and the gateway's own address for each
// family that they are of.
func (p *parser) addresses(m *document.Map, apn *policy.APN) (has families) {
	gateway, gateway6 := m.Get("gateway"), m.Get("gateway6")
	list := m.Need("pools", "pools: [10.90.0.0/16]")
	has.unknown = len(list.List()) == 0
	for _, entry := range list.List() {
		pool, ok := document.Parse(entry, parsePool)
		if !ok {
			has.unknown = true
			continue
		}
		apn.Pools = append(apn.Pools, pool)
		p.pools = apart(p.pools, entry, pool)
		has.ip4, has.ip6 = has.ip4 || pool.Addr().Is4(), has.ip6 || pool.Addr().Is6()
		if a, err := parseHost6(gateway6.Plain()); err == nil && pool.Bits() == 64 && pool.Contains(a) {
			entry.Report("enlarge the range, or give the gateway an address outside of it", "%s is the gateway's own /64, which no terminal can have", pool)
		}
	}
	if list.Present() && len(list.List()) == 0 {
		list.Report("list at least one range, such as 10.90.0.0/16 or fd00:90::/48", "no pool is given")
	}
	apn.GatewayAddress = p.gateway(gateway, has, parseHost4, "10.90.0.1", "10.90.0.0/16")
	apn.GatewayAddress6 = p.gateway(gateway6, has, parseHost6, "fd00:90::1", "fd00:90::/48")
	if g := apn.GatewayAddress6; g.IsValid() && g == slash64(g) {
		gateway6.Report(fmt.Sprintf("write %s", g.Next()), "%s stands for all routers of its /64 (RFC 4291 2.6.1)", g)
	}
	return has
}

// gateway reads the gateway's address of one family, which goes with a pool of
// that family.
func (p *parser) gateway(v document.Value, has families, parse func(string) (netip.Addr, error), example, pool string) netip.Addr {
	of := netip.MustParseAddr(example)
	a, ok := document.Parse(v, parse)
	switch {
	case ok:
		p.gateways = apart(p.gateways, v, netip.PrefixFrom(a, a.BitLen()))
		if !has.of(of) && !has.unknown {
			v.Report("add a range such as "+pool+" to pools, or remove it", "the APN has no pool of %s addresses", family(of))
		}
	case has.of(of) && !v.Present():
		v.Report(fmt.Sprintf("add %q", v.Key()+": "+example), "is missing, and pools has %s addresses", family(of))
	}
	return a
}

// slash64 is the first address of the /64 that an IPv6 address is in.
func slash64(a netip.Addr) netip.Addr { return netip.PrefixFrom(a, 64).Masked().Addr() }

// makePools leaves out what no terminal can have: the gateway's own addresses,
// on whichever APN, and of an IPv4 range the first and last, which some stacks
// take for network and broadcast. Of IPv6 terminals get whole /64s, so the
// gateway's is left out whole.
func (p *parser) makePools(order []ident.APN) {
	var gateways []netip.Addr
	for _, name := range order {
		for _, g := range []netip.Addr{p.rules.APNs[name].GatewayAddress, p.rules.APNs[name].GatewayAddress6} {
			if g.Is6() {
				g = slash64(g)
			}
			if g.IsValid() {
				gateways = append(gateways, g)
			}
		}
	}
	for _, name := range order {
		apn := p.rules.APNs[name]
		for _, prefix := range apn.Pools {
			pool := &command.Pool{
				Apn: name.String(), PrefixAddress: prefix.Addr().AsSlice(), PrefixBits: uint32(prefix.Bits()),
				QuarantineSeconds: uint32(apn.Quarantine / time.Second),
			}
			if prefix.Addr().Is4() {
				pool.Excluded = [][]byte{prefix.Addr().AsSlice(), lastOf(prefix).AsSlice()}
			}
			for _, g := range gateways {
				if prefix.Contains(g) {
					pool.Excluded = append(pool.Excluded, g.AsSlice())
				}
			}
			slices.SortFunc(pool.Excluded, bytes.Compare)
			pool.Excluded = slices.CompactFunc(pool.Excluded, bytes.Equal)
			p.compiled = append(p.compiled, pool)
		}
	}
}

// lastOf is the last address of an IPv4 range.
func lastOf(prefix netip.Prefix) netip.Addr {
	a := prefix.Addr().As4()
	for bit := prefix.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a)
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

var (
	uniqueLocal   = netip.MustParsePrefix("fc00::/7") // RFC 4193 3.1
	globalUnicast = netip.MustParsePrefix("2000::/3") // what IANA gives out of it so far
	broadcast     = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// assignable tells whether an IPv6 address may stand on a terminal or gateway.
func assignable(a netip.Addr) bool {
	return a.Zone() == "" && (uniqueLocal.Contains(a) || globalUnicast.Contains(a))
}

func parseHost4(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == broadcast {
		return netip.Addr{}, fmt.Errorf("want the IPv4 address of a host, such as 10.90.0.1, have %q", s)
	}
	return a, nil
}

func parseHost6(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || !assignable(a) {
		return netip.Addr{}, fmt.Errorf("want a unique local or global IPv6 address, such as fd00:90::1, have %q", s)
	}
	return a, nil
}

// parseHost reads an address of either family.
func parseHost(s string) (netip.Addr, error) {
	if a, err := parseHost6(s); err == nil {
		return a, nil
	}
	if a, err := parseHost4(s); err == nil {
		return a, nil
	}
	return netip.Addr{}, fmt.Errorf("want the address of a host, such as 10.90.0.1 or fd00:90::1, have %q", s)
}

func parsePool(s string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return prefix, fmt.Errorf("want a range of addresses, such as 10.90.0.0/16 or fd00:90::/48, have %q", s)
	case prefix != prefix.Masked():
		return prefix, fmt.Errorf("%s is not the start of the range; did you mean %s?", s, prefix.Masked())
	case prefix.Addr().Is6():
		return prefix, checkPool6(prefix)
	case prefix.Bits() < 8 || prefix.Bits() > 29:
		return prefix, fmt.Errorf("%s: want a range between /8 and /29", s)
	case prefix.Addr().IsMulticast() || prefix.Addr().IsLoopback() || prefix.Addr().IsLinkLocalUnicast() || prefix.Addr().As4()[0] == 0:
		return prefix, fmt.Errorf("%s can't be given to terminals; use a private range, such as 10.90.0.0/16", s)
	}
	return prefix, nil
}

func checkPool6(prefix netip.Prefix) error {
	switch {
	case prefix.Bits() < 32 || prefix.Bits() > 64:
		return fmt.Errorf("%s: want a range between /32 and /64, since each terminal gets a /64", prefix)
	case !assignable(prefix.Addr()):
		return fmt.Errorf("%s can't be given to terminals; use a unique local or global range, such as fd00:90::/48", prefix)
	}
	return nil
}

// apart holds that no address is given twice.
func apart(have []claim, v document.Value, prefix netip.Prefix) []claim {
	for _, c := range have {
		if c.prefix.Overlaps(prefix) {
			v.Report("give each APN addresses of its own", "%s overlaps with %s", v.Plain(), c.path)
		}
	}
	return append(have, claim{prefix, v.Path()})
}
