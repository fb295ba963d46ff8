package config

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
	if cl.LeaderLease >= cl.HeartbeatTimeout {
		l.mistake("cluster.leader_lease", "make it shorter", "is %s, not shorter than heartbeat_timeout, %s: two nodes could hold the gateway's address at once", cl.LeaderLease, cl.HeartbeatTimeout)
	}
	if cl.ElectionTimeout < cl.HeartbeatTimeout {
		l.mistake("cluster.election_timeout", "make it as long", "is %s, shorter than heartbeat_timeout, %s", cl.ElectionTimeout, cl.HeartbeatTimeout)
	}
	l.agreePorts(c)
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
	}{{"cluster.listen", c.Cluster.Listen}, {"intranet.listen", c.Intranet.Listen}, {"admin.listen", c.Admin.Listen}}
	for i, a := range listeners {
		for _, b := range listeners[:i] {
			if a.at == b.at {
				l.mistake(a.path, "choose another port", "%s is %s too", a.at, b.path)
			}
		}
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
	}
}
