// Package wireguard is the fallback path: terminals that have no carrier reach
// the inner network through WireGuard, in userspace, over any other network.
//
// A terminal is known by its public key and may only speak from its own inner
// address (its AllowedIPs is that one /32), so what comes out of the tunnel
// has a verified source just as on the carrier's path. The endpoint keeps its
// peers and keys while the gateway address is somewhere else: Listen opens the
// socket on this node, Unlisten closes it.
//
// # Keys
//
// The gateway may have two keys, while one replaces the other. Each has a device of the
// library of its own, and they share the socket: a handshake message goes to the device
// for whose key its first MAC was made, a message of a session to the device that gave
// out its index, or to both where that isn't known. A peer knows one of the keys; what
// is sent to it goes by the one that it was last heard by, and by both before it was.
//
// Keys are never logged. A key that goes is overwritten in memory, with what its device
// had computed from it; but the runtime and the library make copies on their way, of a
// pre-shared key among others, that are the garbage collector's.
//
// # A node takes over
//
// Of the sessions with peers nothing is replicated: their keys never leave the node. The
// node that begins to listen shakes hands itself with the peers whose outer address it
// was told, so that they are back in a round trip; they would notice only after 15 s.
// Neither is the time of each peer's last handshake replicated, which the library
// doesn't tell: a handshake of before, overheard and sent again to the new node, is
// answered once there. Whoever does that has no session, and can lead what is sent to
// the peer away until the peer's next datagram.
//
// # Load and limits
//
// When handshakes pile up (128 of them), their senders have to show by a cookie that
// they are where they say, and each address has 20 a second, all terminals behind one
// address together. A handshake costs some 0.3 ms of a processor.
//
// A device takes at most 65,536 peers, at some 32 KiB each, for each of the gateway's
// keys. A packet under way in a device lies in a buffer of 64 KiB, of which its own
// pages are in memory; packets for a peer without a session wait in 128 trains at most,
// for a handshake or 90 s.
package wireguard
