// Package wireguard is the fallback path: terminals that have no carrier reach
// the inner network through WireGuard, in userspace, over any other network.
//
// A terminal is known by its public key and may only speak from its own inner
// address (its AllowedIPs is that one /32), so what comes out of the tunnel
// has a verified source just as on the carrier's path. The endpoint keeps its
// peers and keys while the gateway address is somewhere else: Listen opens the
// socket on this node, Unlisten closes it.
//
// Keys are never logged.
package wireguard
