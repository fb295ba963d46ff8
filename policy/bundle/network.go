package bundle

import (
	"errors"
	"fmt"
	"math"
	"net/netip"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/document"
	"github.com/sealedge/sealedge/policy/ident"
)

// What an APN has unless it says otherwise.
const (
	defaultMTU  = 1400    // leaves room for the GTP and WireGuard headers in 1500
	defaultKbps = 100_000 // 100 Mbit/s either way
)

// claim is a part of the address space that the document already gave away.
type claim struct {
	prefix netip.Prefix
	path   string
}

func (p *parser) apns(v document.Value) {
	p.source(v, "spec", "apns")
	items := v.List()
	if v.Present() && len(items) == 0 {
		v.Report("list at least one APN", "no APN is served")
	}
	p.rules.APNs = make(map[ident.APN]policy.APN, len(items))
	var gateways, pools []claim
	for _, item := range items {
		m := item.Map()
		at := m.Need("name", "name: seal.corp")
		name, named := document.Parse(at, ident.ParseAPN)
		if _, twice := p.rules.APNs[name]; named && twice {
			at.Report("remove one", "APN %s is there twice", name)
		}
		p.source(item, "spec", "apns", name.String())

		apn := policy.APN{Name: name}
		gateway := m.Need("gateway", "gateway: 10.90.0.1")
		apn.GatewayAddress, _ = document.Parse(gateway, hostIPv4)
		gateways = disjoint(gateways, gateway, apn.GatewayAddress)
		list := m.Need("pools", "pools: [10.90.0.0/16]")
		for _, entry := range list.List() {
			if pool, ok := document.Parse(entry, poolPrefix); ok {
				apn.Pools = append(apn.Pools, pool)
				pools = apart(pools, entry, pool)
			}
		}
		if list.Present() && len(list.List()) == 0 {
			list.Report("list at least one range, such as 10.90.0.0/16", "no pool is given")
		}
		apn.DNS = document.Each(m.Get("dns"), hostIPv4)
		apn.MTU = uint16(m.Get("mtu").Int(576, 9000, defaultMTU))
		ambr := m.Get("ambr").Map()
		apn.AMBRUpKbps = uint32(ambr.Get("upKbps").Int(1, math.MaxUint32, defaultKbps))
		apn.AMBRDownKbps = uint32(ambr.Get("downKbps").Int(1, math.MaxUint32, defaultKbps))
		ambr.Close()
		m.Close()
		p.rules.APNs[name] = apn
		p.pool(apn)
	}
}

// pool leaves out what no terminal can have: the gateway's own address, and the
// first and last of a range, which some stacks take for network and broadcast.
func (p *parser) pool(apn policy.APN) {
	for _, prefix := range apn.Pools {
		pool := &command.Pool{Apn: apn.Name.String(), PrefixAddress: prefix.Addr().AsSlice(), PrefixBits: uint32(prefix.Bits())}
		first, last := prefix.Addr(), lastOf(prefix)
		pool.Excluded = append(pool.Excluded, first.AsSlice())
		if g := apn.GatewayAddress; prefix.Contains(g) && g != first && g != last {
			pool.Excluded = append(pool.Excluded, g.AsSlice())
		}
		pool.Excluded = append(pool.Excluded, last.AsSlice())
		p.pools = append(p.pools, pool)
	}
}

func lastOf(prefix netip.Prefix) netip.Addr {
	a := prefix.Addr().As4()
	for bit := prefix.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a)
}

func hostIPv4(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.Addr{}, fmt.Errorf("want the IPv4 address of a host, such as 10.90.0.1, have %q", s)
	}
	return a, nil
}

func poolPrefix(s string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(s)
	switch {
	case err != nil || !prefix.Addr().Is4():
		return prefix, fmt.Errorf("want a range of IPv4 addresses, such as 10.90.0.0/16, have %q", s)
	case prefix != prefix.Masked():
		return prefix, fmt.Errorf("%s is not the start of the range; did you mean %s?", s, prefix.Masked())
	case prefix.Bits() < 8 || prefix.Bits() > 29:
		return prefix, errors.New("want a range between /8 and /29")
	case prefix.Addr().IsMulticast() || prefix.Addr().IsLoopback() || prefix.Addr().As4()[0] == 0:
		return prefix, fmt.Errorf("%s can't be given to terminals; use a private range, such as 10.90.0.0/16", s)
	}
	return prefix, nil
}

// disjoint holds that each APN has a gateway address of its own.
func disjoint(have []claim, v document.Value, a netip.Addr) []claim {
	if !a.IsValid() {
		return have
	}
	return apart(have, v, netip.PrefixFrom(a, 32))
}

// apart holds that no address is given twice.
func apart(have []claim, v document.Value, prefix netip.Prefix) []claim {
	for _, c := range have {
		if c.prefix.Overlaps(prefix) {
			v.Report("give each APN addresses of its own", "%s overlaps with %s", v.Text(), c.path)
		}
	}
	return append(have, claim{prefix, v.Path()})
}

func (p *parser) admission(v document.Value) {
	p.source(v, "spec", "admission")
	m := v.Map()
	plmns, rats, imei := m.Get("plmns"), m.Get("rats"), m.Get("requireIMEI")
	p.source(plmns, "spec", "admission", "plmns")
	p.source(rats, "spec", "admission", "rats")
	p.source(imei, "spec", "admission", "requireIMEI")
	p.rules.Admission = policy.Admission{
		PLMNs:       document.Each(plmns, ident.ParsePLMN),
		RATs:        document.Each(rats, policy.ParseRAT),
		RequireIMEI: imei.Bool(),
	}
	m.Close()
}
