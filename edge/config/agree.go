package config

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/sealedge/sealedge/cluster/address"
	"github.com/sealedge/sealedge/edge/inner"
)

// complete fills in what follows from other keys.
func (c *Config) complete() {
	if c.Cluster.Advertise == "" {
		if self, ok := c.self(); ok {
			c.Cluster.Advertise = self.Address
		}
	}
	if c.Upstream.ServerName == "" {
		c.Upstream.ServerName = c.Upstream.URL.Hostname()
	}
}

// self is this node among the peers.
func (c *Config) self() (Peer, bool) {
	for _, p := range c.Cluster.Peers {
		if p.Name == c.Node.Name {
			return p, true
		}
	}
	return Peer{}, false
}

// agree reports values that are fine alone but contradict each other.
func (l *loader) agree(c *Config) {
	cl := &c.Cluster
	if self, ok := c.self(); !ok {
		l.mistake("cluster.peers", "add "+string(c.Node.Name)+"=host:port, or mend node.name", "doesn't list this node, %s", c.Node.Name)
	} else if self.Address != cl.Advertise {
		l.mistake("cluster.advertise", "make them equal, or leave advertise out", "is %s, but cluster.peers gives this node %s", cl.Advertise, self.Address)
	}
	names, addresses := map[Name]bool{}, map[HostPort]bool{}
	for _, p := range cl.Peers {
		if names[p.Name] || addresses[p.Address] {
			l.mistake("cluster.peers", "remove one", "%s shares its name or address with another", p)
		}
		names[p.Name], addresses[p.Address] = true, true
	}
	if cl.PreferredLeader != "" && !names[cl.PreferredLeader] {
		l.mistake("cluster.preferred_leader", "name one of them, or leave it out", "is %s, which cluster.peers doesn't list", cl.PreferredLeader)
	}
	if cl.LeaderLease >= cl.HeartbeatTimeout {
		l.mistake("cluster.leader_lease", "make it shorter", "is %s, not shorter than heartbeat_timeout, %s: two nodes could hold the gateway's address at once", cl.LeaderLease, cl.HeartbeatTimeout)
	}
	if cl.ElectionTimeout < cl.HeartbeatTimeout {
		l.mistake("cluster.election_timeout", "make it as long", "is %s, shorter than heartbeat_timeout, %s", cl.ElectionTimeout, cl.HeartbeatTimeout)
	}
	for i, a := range c.Node.ListenAt {
		if slices.Contains(c.Node.ListenAt[:i], a) {
			l.mistake("node.listen_at", "remove one", "%s is there twice", a)
		}
	}
	l.agreeAddress(&c.Gateway)
	l.agreeAddresses(c)
	l.agreePorts(c)
	l.agreeInner(c)
	l.agreeFallback(c)
	l.agreeTelemetry(&c.Telemetry)
	l.agreeTraces(&c.Telemetry.Traces)
	// A request of ours is given up after N3 times T3. An echo that is still
	// open when the next is due would count for both.
	gtp := &c.Gateway.GTP
	if most := gtp.T3 * time.Duration(gtp.N3); gtp.EchoInterval != 0 && most > gtp.EchoInterval {
		l.mistake("gateway.gtp.echo_interval", "make it longer, or t3 or n3 less", "is %s, but n3 times t3 is %s, so that an echo would be sent before the last is given up", gtp.EchoInterval, most)
	}
}

func (l *loader) agreeAddress(g *Gateway) {
	netlink := g.Driver == address.Netlink
	switch {
	case netlink && g.Interface == "":
		l.mistake("gateway.interface", "name the one towards the carrier, such as eth0", "is missing, which gateway.address_driver netlink needs")
	case !netlink && g.Interface != "":
		l.mistake("gateway.interface", "remove it, or make gateway.address_driver netlink", "is %s, but gateway.address_driver %s puts the address on no interface", g.Interface, g.Driver)
	case netlink && g.Address.IsLoopback():
		l.mistake("gateway.address_driver", "leave it out", "is netlink, but %s is on every machine by itself", g.Address)
	}
	l.agreeBind(g)
}

func (l *loader) agreeBind(g *Gateway) {
	service := g.Driver == address.Service
	switch {
	case service && !g.Bind.IsValid():
		l.mistake("gateway.bind", "make it the pod's address (status.podIP)", "is missing, which gateway.address_driver service needs")
	case g.Driver == address.Netlink && g.Bind.IsValid():
		l.mistake("gateway.bind", "remove it, or make gateway.address_driver external or service", "is %s, but gateway.address_driver netlink brings the address itself to this machine", g.Bind)
	case g.Bind.IsValid() && len(g.Addresses) > 0:
		l.mistake("gateway.addresses", "remove them, or gateway.bind", "can't be with gateway.bind: all of them would have the same sockets, at %s", g.Bind)
	}
	switch at := &g.Service; {
	case service && at.EndpointSlice == "":
		l.mistake("gateway.service.endpoint_slice", "name the EndpointSlice of the Service", "is missing, which gateway.address_driver service needs")
	case !service && *at != (Service{}):
		l.mistake("gateway.address_driver", "make it service, or remove gateway.service", "is %s, but gateway.service says which Service brings packets", g.Driver)
	}
}

// agreeAddresses checks the list of all gateway addresses.
func (l *loader) agreeAddresses(c *Config) {
	all := c.Gateway.All()
	for i, a := range all {
		for _, b := range all[:i] {
			if a.Name == b.Name || a.Address == b.Address {
				l.mistake("gateway.addresses", "give each a name and an address of its own; gateway.name and gateway.address are the first", "%s=%s is there twice", a.Name, a.Address)
			}
		}
	}
	if nodes := len(c.Cluster.Peers); len(all) > nodes {
		l.mistake("gateway.addresses", "remove some", "makes %d gateway addresses, but there are %d nodes to hold them", len(all), nodes)
	}
}

// GTP-C and GTP-U have the ports that TS 29.274 and TS 29.281 give them.
const (
	portGTPC = 2123
	portGTPU = 2152
)

func (l *loader) agreePorts(c *Config) {
	if p := c.Gateway.WireGuard.Port; p == portGTPC || p == portGTPU {
		l.mistake("gateway.wireguard.port", "choose another, such as 51820", "%d is GTP's at the same address", p)
	}
	listeners := []struct {
		path string
		at   HostPort
	}{
		{"cluster.listen", c.Cluster.Listen},
		{"intranet.listen", c.Intranet.Listen},
		{"admin.listen", c.Admin.Listen},
		{"fallback.listen", c.Fallback.Listen},
		{"telemetry.listen", c.Telemetry.Listen},
		{"telemetry.pprof", c.Telemetry.Profiles},
	}
	for i, a := range listeners {
		for _, b := range listeners[:i] {
			if a.at == b.at && a.at != "" {
				l.mistake(a.path, "choose another port", "%s is %s too", a.at, b.path)
			}
		}
	}
}

func (l *loader) agreeTelemetry(t *Telemetry) {
	if t.Profiles == "" {
		return
	}
	host, _, _ := net.SplitHostPort(string(t.Profiles))
	if a, err := netip.ParseAddr(host); err != nil || !a.IsLoopback() {
		l.mistake("telemetry.pprof", "write a loopback address, such as 127.0.0.1:6060", "is %s, which others than this machine may reach", t.Profiles)
	}
}

func (l *loader) agreeFallback(c *Config) {
	f := &c.Fallback
	if f.Enabled() {
		for _, p := range []struct {
			key  string
			file Path
		}{{"fallback.cert", f.Cert}, {"fallback.key", f.Key}} {
			if p.file == "" {
				l.mistake(p.key, "name the file, or leave fallback.listen empty", "is missing, which fallback.listen needs")
			}
		}
		if !c.Gateway.WireGuard.Enabled() {
			l.mistake("fallback.listen", "switch gateway.wireguard on, or leave it empty", "is %s, but there is no fallback path to ask for", f.Listen)
		}
	}
	for i, e := range f.Endpoints {
		if !slices.ContainsFunc(c.Gateway.All(), func(o Outer) bool { return o.Name == e.Name }) {
			l.mistake("fallback.endpoints", "use the names of gateway.name and gateway.addresses", "there is no gateway address %s", e.Name)
		}
		if slices.ContainsFunc(f.Endpoints[:i], func(o Endpoint) bool { return o.Name == e.Name }) {
			l.mistake("fallback.endpoints", "remove one", "%s is there twice", e.Name)
		}
	}
}

// leastMTU6 is what every link with IPv6 must be able to carry (RFC 8200 5), in
// bytes.
const leastMTU6 = 1280

func (l *loader) agreeInner(c *Config) {
	if p := c.RADIUS.Port; p != 0 && p == c.Inner.BarrelAPI.Port {
		l.mistake("radius.port", "choose another, such as 1812", "%d is inner.barrel_api.port too", p)
	}
	if err := inner.CheckInterface(c.Inner.Interface); err != nil {
		l.mistake("inner.interface", "choose another, such as sealedge0", "%v", err)
	}
	seen := map[string]bool{}
	for _, a := range c.Inner.Addresses {
		if seen[a.String()] {
			l.mistake("inner.addresses", "remove one", "%s is there twice", a)
		}
		seen[a.String()] = true
		if a == c.Gateway.Address {
			l.mistake("inner.addresses", "give it an address that terminals alone can reach, such as 10.90.0.1", "%s is gateway.address, which is outside of the tunnels", a)
		}
		if a == c.Gateway.Bind {
			l.mistake("inner.addresses", "give it an address that terminals alone can reach, such as 10.90.0.1", "%s is gateway.bind, which is outside of the tunnels", a)
		}
		if slices.Contains(c.Node.ListenAt, a) {
			l.mistake("inner.addresses", "give it an address that terminals alone can reach, such as 10.90.0.1", "%s is among node.listen_at, which are outside of the tunnels", a)
		}
		if slices.ContainsFunc(c.Gateway.Addresses, func(o Outer) bool { return o.Address == a }) {
			l.mistake("inner.addresses", "give it an address that terminals alone can reach, such as 10.90.0.1", "%s is among gateway.addresses, which are outside of the tunnels", a)
		}
		if a.Is6() && c.Inner.MTU < leastMTU6 {
			l.mistake("inner.mtu", "make it that long, or remove the address", "is %d, but %s in inner.addresses is IPv6, which needs %d", c.Inner.MTU, a, leastMTU6)
		}
	}
}
