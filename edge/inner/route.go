package inner

import (
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
)

// route is how a terminal is reached.
type route struct {
	path  Path
	batch batchPath // path, if it can; else nil
	// local is the gateway address that the terminal last sent UDP to, which
	// answers come from; nil before. Any goroutine.
	local atomic.Pointer[netip.Addr]
}

// holder is what a terminal is known by, whichever of its addresses it uses: its
// IPv4 address, or the first address of its /64. It allocates nothing.
func holder(a netip.Addr) netip.Addr {
	if a.Is4() {
		return a
	}
	b := a.As16()
	clear(b[8:])
	return netip.AddrFrom16(b)
}

// held is the holder of a terminal's prefix, which must be an IPv4 /32 or an
// IPv6 /64.
func held(prefix netip.Prefix) (netip.Addr, bool) {
	switch a := prefix.Addr(); {
	case a.Is4() && prefix.Bits() == 32, a.Is6() && !a.Is4In6() && prefix.Bits() == 64:
		return holder(a), true
	}
	return netip.Addr{}, false
}

// SetRoute sends packets for a terminal's prefix, an IPv4 /32 or an IPv6 /64, by
// p from now on, and lets it speak to the gateway. It replaces an earlier route,
// under which connections live on. There are no routes to other prefixes: one is
// logged and left out.
func (n *Network) SetRoute(prefix netip.Prefix, p Path) {
	to, ok := held(prefix)
	if !ok {
		n.log.Error("inner network: no route set: want an IPv4 /32 or an IPv6 /64", "prefix", prefix)
		return
	}
	r := &route{path: p}
	r.batch, _ = p.(batchPath)
	n.mu.Lock()
	defer n.mu.Unlock()
	if old := n.routes[to]; old != nil {
		r.local.Store(old.local.Load())
	}
	n.routes[to] = r
}

// DelRoute forgets a prefix: packets to it and from it are dropped. The TCP
// connections of all its addresses are reset, so that whoever serves them lets
// go.
func (n *Network) DelRoute(prefix netip.Prefix) {
	to, ok := held(prefix)
	if !ok {
		return
	}
	n.mu.Lock()
	delete(n.routes, to)
	gone := slices.Collect(maps.Keys(n.conns[to]))
	n.mu.Unlock()
	for _, c := range gone {
		c.abort()
	}
}

// route finds the way to a terminal by any of its addresses; nil if there is
// none.
func (n *Network) route(addr netip.Addr) *route {
	addr = holder(addr)
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.routes[addr]
}
