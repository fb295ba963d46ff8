// Package inner is the network inside the tunnels: an IP stack that has the
// gateway's inner addresses, IPv4 and IPv6, and nothing else. Whatever access path
// a terminal comes by, its packets end up here, and the faces of the gateway listen
// here.
//
// The stack is gVisor's netstack, in this process, or the kernel's by a TUN device
// (Driver). What follows holds for both. With the kernel it does so because
// packets are admitted before it gets them, echo requests are answered here, and
// sockets are bound to the device, so that no other interface leads to them; and
// because what it sends is checked. It routes nothing but its own answers to the
// device, by a rule of their source, and needs no setting of the machine changed.
// Two things are the machine's: its processes can open connections to the inner
// addresses, which are reset before they are served, and a packet for an inner
// address that comes by another interface is refused by the kernel, towards the
// source that it claims. Drop such packets at the edge of the machine:
//
//	nft add rule inet filter input iifname != sealedge0 ip daddr 10.90.0.1 drop
//
// A terminal has an IPv4 address, or a /64 out of which it makes its addresses
// itself (TS 23.401 5.3.1.2.2), or both. The /64 is one terminal: routes, limits
// and the end of a session are of all its addresses at once. A terminal with
// both families counts as two.
//
// It denies by default, and before the stack sees a packet: only TCP to a port
// that ListenTCP opened, UDP to a port that ListenUDP opened, and ICMP echo
// requests, each to an inner address of the gateway and from an address that
// has a route. Everything else is dropped and counted under a named reason;
// terminal to terminal above all. The stack never forwards. What leaves is
// checked, too: TCP, UDP and echo replies. No ICMP error, no redirect and no
// neighbour discovery comes from here: the interface is point to point, and the
// user plane answers a terminal's router and neighbour solicitations.
//
// Fragments and packets with IP options or IPv6 extension headers are dropped.
// Ports stand only in the first fragment and behind the last header, so a
// filter in front of reassembly can be evaded, and a reassembly queue is memory
// that a terminal can fill; nothing that we serve needs fragments, because TCP
// clamps its segments to the MTU and DTLS cuts its handshake itself.
package inner
