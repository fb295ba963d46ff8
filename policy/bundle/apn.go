package bundle

import (
	"math"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/document"
	"github.com/sealedge/sealedge/policy/ident"
)

// What an APN has unless it says otherwise.
const (
	defaultMTU  = 1400    // leaves room for the GTP and WireGuard headers in 1500
	defaultKbps = 100_000 // 100 Mbit/s either way
)

// leastMTU6 is what every link that carries IPv6 must be able to carry
// (RFC 8200 5), in bytes.
const leastMTU6 = 1280

// The bounds of the time spans of an APN.
const (
	maxQuarantine     = 30 * 24 * time.Hour
	leastTimeout      = time.Minute // sessions are looked through a few times a minute
	maxSessionTimeout = 365 * 24 * time.Hour
)

func (p *parser) apns(v document.Value) {
	p.source(v, "spec", "apns")
	items := v.List()
	if v.Present() && len(items) == 0 {
		v.Report("list at least one APN", "no APN is served")
	}
	p.rules.APNs = make(map[ident.APN]policy.APN, len(items))
	var order []ident.APN
	for _, item := range items {
		m := item.Map()
		at := m.Need("name", "name: seal.corp")
		name, named := document.Parse(at, ident.ParseAPN)
		if _, twice := p.rules.APNs[name]; named && twice {
			at.Report("remove one", "APN %s is there twice", name)
		}
		p.source(item, "spec", "apns", name.String())

		apn := policy.APN{Name: name}
		has := p.addresses(m, &apn)
		apn.DNS = nameServers(m.Get("dns"), has)
		mtu := m.Get("mtu")
		apn.MTU = uint16(mtu.Int(576, 9000, defaultMTU))
		if apn.ServesIPv6() && apn.MTU < leastMTU6 {
			mtu.Report("write 1280 or more", "IPv6 needs an MTU of at least %d bytes", leastMTU6)
		}
		ambr := m.Get("ambr").Map()
		apn.AMBRUpKbps = uint32(ambr.Get("upKbps").Int(1, math.MaxUint32, defaultKbps))
		apn.AMBRDownKbps = uint32(ambr.Get("downKbps").Int(1, math.MaxUint32, defaultKbps))
		ambr.Close()
		apn.Quarantine = wholeSeconds(m.Get("quarantine"), maxQuarantine)
		authentication := m.Get("authentication")
		p.source(authentication, "spec", "apns", name.String(), "authentication")
		apn.Authentication, _ = document.Parse(authentication, policy.ParseAuthentication)
		timeouts(m, &apn)
		m.Close()
		p.rules.APNs[name] = apn
		order = append(order, name)
	}
	p.makePools(order)
}

// nameServers reads the name servers that terminals are told. One of a family
// that the APN doesn't have would never be told.
func nameServers(v document.Value, has families) []netip.Addr {
	for _, item := range v.List() {
		if a, err := parseHost(item.Plain()); err == nil && !has.of(a) && !has.unknown {
			item.Report("remove it, or add a pool of that family", "%s is of no use to terminals without %s", a, family(a))
		}
	}
	return document.Each(v, parseHost)
}

// timeouts reads when sessions end by themselves.
func timeouts(m *document.Map, apn *policy.APN) {
	idle, session := m.Get("idleTimeout"), m.Get("sessionTimeout")
	apn.IdleTimeout = timeout(idle)
	apn.SessionTimeout = timeout(session)
	if apn.SessionTimeout != 0 && apn.IdleTimeout >= apn.SessionTimeout {
		idle.Report("make it shorter, or leave it out", "is %s, so that sessionTimeout, %s, always comes first", apn.IdleTimeout, apn.SessionTimeout)
	}
}

// timeout reads a time span after which something ends; 0 is never.
func timeout(v document.Value) time.Duration {
	d := wholeSeconds(v, maxSessionTimeout)
	if d != 0 && d < leastTimeout {
		v.Report("", "want a time span from %s to %s, or 0 for never, have %s", leastTimeout, maxSessionTimeout, d)
		return 0
	}
	return d
}

// wholeSeconds reads a time span up to most; 0 when it is absent.
func wholeSeconds(v document.Value, most time.Duration) time.Duration {
	d := v.Duration(0, most, 0)
	if d%time.Second != 0 {
		v.Report("write whole seconds", "%s is finer than it is kept", d)
	}
	return d
}
