package bundle

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

func (c *comparison) apns() {
	names := make([]ident.APN, 0, len(c.old.APNs))
	for n := range c.old.APNs {
		names = append(names, n)
	}
	for n := range c.new.APNs {
		if _, both := c.old.APNs[n]; !both {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, func(a, b ident.APN) int { return cmp.Compare(a.String(), b.String()) })
	for _, n := range names {
		old, was := c.old.APNs[n]
		now, is := c.new.APNs[n]
		key := []string{"spec", "apns", n.String()}
		switch {
		case !was:
			c.note(policy.TouchReach, "", "APN "+n.String(), key...)
		case !is:
			c.note(policy.TouchTightening, "APN "+n.String(), "", key...)
		default:
			c.apn(old, now, key)
		}
	}
}

// apn compares one APN. Its addresses and name servers lead terminals
// elsewhere, so that a change of them counts as widening, but for pools that
// only shrink.
func (c *comparison) apn(old, now policy.APN, key []string) {
	at := func(k string) []string { return append(slices.Clone(key), k) }
	c.note(policy.TouchReach, addr(old.GatewayAddress), addr(now.GatewayAddress), at("gateway")...)
	c.note(policy.TouchReach, addr(old.GatewayAddress6), addr(now.GatewayAddress6), at("gateway6")...)
	c.note(policy.TouchReach, words(old.DNS), words(now.DNS), at("dns")...)
	c.note(policy.TouchReach, fmt.Sprint(old.MTU), fmt.Sprint(now.MTU), at("mtu")...)
	c.note(unless(within(old.Pools, now.Pools), policy.TouchReach), words(old.Pools), words(now.Pools), at("pools")...)
	most(c, policy.TouchReach, old.AMBRUpKbps, now.AMBRUpKbps, append(at("ambr"), "upKbps")...)
	most(c, policy.TouchReach, old.AMBRDownKbps, now.AMBRDownKbps, append(at("ambr"), "downKbps")...)
	c.note(unless(now.Quarantine >= old.Quarantine, policy.TouchReach), old.Quarantine.String(), now.Quarantine.String(), at("quarantine")...)
	strict := old.Authentication == policy.AuthenticationNone ||
		old.Authentication == policy.AuthenticationAny && now.Authentication != policy.AuthenticationNone
	c.note(unless(strict, policy.TouchReach), old.Authentication.String(), now.Authentication.String(), at("authentication")...)
	c.orNever(policy.TouchReach, old.IdleTimeout, now.IdleTimeout, at("idleTimeout")...)
	c.orNever(policy.TouchReach, old.SessionTimeout, now.SessionTimeout, at("sessionTimeout")...)
}

// addr is an address for people; one that isn't there has no words.
func addr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// carriers compares who may speak for whom, peer by peer: the ranges of both
// documents nest or are apart, so that within the narrowest range each document
// has one answer.
func (c *comparison) carriers() {
	switch {
	case len(c.old.Carriers) == 0 && len(c.new.Carriers) == 0:
		return
	case len(c.new.Carriers) == 0:
		c.note(policy.TouchReach, fmt.Sprintf("%d carriers", len(c.old.Carriers)), "any carrier", "spec", "carriers")
		return
	case len(c.old.Carriers) == 0:
		c.note(policy.TouchTightening, "any carrier", fmt.Sprintf("%d carriers", len(c.new.Carriers)), "spec", "carriers")
		return
	}
	wider := map[string]bool{} // by name, in the new document
	for _, list := range [][]policy.Carrier{c.old.Carriers, c.new.Carriers} {
		for i := range list {
			for _, p := range list[i].Peers {
				now := carrierOf(c.new.Carriers, p)
				if now == nil {
					continue
				}
				if old := carrierOf(c.old.Carriers, p); old == nil || !carrierWithin(old, now) {
					wider[now.Name] = true
				}
			}
		}
	}
	old, now := map[string]string{}, map[string]string{}
	for i := range c.old.Carriers {
		old[c.old.Carriers[i].Name] = carrierWords(&c.old.Carriers[i])
	}
	for i := range c.new.Carriers {
		now[c.new.Carriers[i].Name] = carrierWords(&c.new.Carriers[i])
	}
	for _, name := range keysOf(old, now) {
		c.note(unless(!wider[name], policy.TouchReach), old[name], now[name], "spec", "carriers", name)
		delete(wider, name)
	}
	// A carrier that is the same may be heard from more peers, as another's narrower
	// range is gone. That other one is among the differences then, as a tightening.
	for name := range wider {
		c.note(policy.TouchReach, old[name], now[name]+" with more peers", "spec", "carriers", name)
	}
}

// carrierOf is the carrier with the narrowest range around all of peers.
func carrierOf(list []policy.Carrier, peers netip.Prefix) *policy.Carrier {
	var found *policy.Carrier
	bits := -1
	for i := range list {
		for _, p := range list[i].Peers {
			if p.Bits() > bits && p.Bits() <= peers.Bits() && p.Contains(peers.Addr()) {
				found, bits = &list[i], p.Bits()
			}
		}
	}
	return found
}

// carrierWithin tells whether a peer may say nothing under now that it might not
// under old.
func carrierWithin(old, now *policy.Carrier) bool {
	versions := func(v []uint8) []uint8 {
		if len(v) == 0 {
			return []uint8{1, 2}
		}
		return v
	}
	imsis := len(old.IMSIPrefixes) == 0 || len(now.IMSIPrefixes) > 0 && !slices.ContainsFunc(now.IMSIPrefixes, func(p string) bool { return !old.Serves(p) })
	rate := old.CreatesPerSecond == 0 || now.CreatesPerSecond != 0 && now.CreatesPerSecond <= old.CreatesPerSecond
	return imsis && rate && narrower(old.PLMNs, now.PLMNs) && narrower(old.RATs, now.RATs) && within(versions(old.Versions), versions(now.Versions))
}

func carrierWords(c *policy.Carrier) string {
	var b strings.Builder
	b.WriteString("peers " + words(c.Peers))
	for _, part := range []struct {
		name string
		some bool
		list string
	}{
		{"imsiPrefixes", len(c.IMSIPrefixes) > 0, words(c.IMSIPrefixes)},
		{"plmns", len(c.PLMNs) > 0, words(c.PLMNs)},
		{"rats", len(c.RATs) > 0, words(c.RATs)},
		{"versions", len(c.Versions) > 0, words(c.Versions)},
	} {
		if part.some {
			b.WriteString(" " + part.name + " " + part.list)
		}
	}
	if c.CreatesPerSecond > 0 {
		fmt.Fprintf(&b, " createsPerSecond %d", c.CreatesPerSecond)
	}
	return b.String()
}

func (c *comparison) admission() {
	old, now := c.old.Admission, c.new.Admission
	anyOf(c, policy.TouchReach, old.PLMNs, now.PLMNs, "spec", "admission", "plmns")
	anyOf(c, policy.TouchReach, old.RATs, now.RATs, "spec", "admission", "rats")
	c.note(unless(now.RequireIMEI, policy.TouchReach), fmt.Sprint(old.RequireIMEI), fmt.Sprint(now.RequireIMEI), "spec", "admission", "requireIMEI")
	c.note(unless(bindingWithin(bindingOf(old), bindingOf(now)), policy.TouchReach), bindingOf(old).String(), bindingOf(now).String(), "spec", "admission", "handset")
	c.note(unless(!pooled(c.old) || within(old.TACs, now.TACs), policy.TouchReach), words(old.TACs), words(now.TACs), "spec", "admission", "tacs")
	for _, path := range keysOf(old.Credentials, now.Credentials) {
		was, is := old.Credentials[path], now.Credentials[path]
		c.note(unless(is&was == was, policy.TouchReach), was.String(), is.String(), "spec", "admission", "credentials", path.String())
	}
}

// bindingWithin tells whether no handset is taken under now that wasn't under
// old, now and later: what is bound on first use stays bound only as long as
// the binding is asked for.
func bindingWithin(old, now policy.HandsetBinding) bool {
	switch {
	case old == now, old == policy.HandsetAny, now == policy.HandsetExact && old != policy.HandsetPool:
		return true
	case old == policy.HandsetListed:
		return now == policy.HandsetPool || now == policy.HandsetFirstUse
	}
	return false
}

func (c *comparison) fallback() {
	old, now := c.old.Fallback, c.new.Fallback
	c.note(unless(!now.Allowed, policy.TouchReach), fmt.Sprint(old.Allowed), fmt.Sprint(now.Allowed), "spec", "fallback", "allowed")
	c.note(unless(within(now.ForbidLevels, old.ForbidLevels), policy.TouchSeals), words(old.ForbidLevels), words(now.ForbidLevels), "spec", "fallback", "forbidLevels")
	most(c, policy.TouchReach, old.Lifetime, now.Lifetime, "spec", "fallback", "lifetime")
	most(c, policy.TouchReach, old.IssuedLifetime, now.IssuedLifetime, "spec", "fallback", "issuedLifetime")
	most(c, policy.TouchReach, old.Grace, now.Grace, "spec", "fallback", "grace")
	// Whether it widens depends on what rules say of places: table judges that.
	c.note(policy.TouchTightening, old.PlaceAge.String(), now.PlaceAge.String(), "spec", "fallback", "placeAge")
}

func (c *comparison) hotspot() {
	old, now := map[string]string{}, map[string]string{}
	for _, d := range c.old.Hotspot {
		old[d.MAC.String()] = d.Role
	}
	for _, d := range c.new.Hotspot {
		now[d.MAC.String()] = d.Role
	}
	for _, mac := range keysOf(old, now) {
		c.note(unless(now[mac] == "", policy.TouchReach), old[mac], now[mac], "spec", "hotspot", "devices", mac)
	}
}

// bindingOf is how handsets are bound when no rule says otherwise.
func bindingOf(a policy.Admission) policy.HandsetBinding { return max(a.Handset, policy.HandsetListed) }

// pooled tells whether the models of handsets matter anywhere.
func pooled(r *policy.Rules) bool {
	return r.Admission.Handset == policy.HandsetPool ||
		slices.ContainsFunc(r.Table, func(rule policy.Rule) bool { return rule.Require.Handset == policy.HandsetPool })
}
