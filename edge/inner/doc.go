// Package inner is the network inside the tunnels: an IPv4 stack in userspace
// (gVisor's netstack) that has the gateway's inner addresses and nothing else.
// Whatever access path a terminal comes by, its packets end up here, and the
// faces of the gateway listen here.
//
// It denies by default, and before the stack sees a packet: only TCP to a port
// that ListenTCP opened, UDP to a port that ListenUDP opened, and ICMP echo
// requests, each to an inner address of the gateway and from an address that
// has a route. Everything else is dropped and counted under a named reason;
// terminal to terminal above all. The stack never forwards.
//
// Fragments and packets with IP options are dropped too. Ports stand only in
// the first fragment, so a filter in front of reassembly can be evaded, and a
// reassembly queue is memory that a terminal can fill; nothing that we serve
// needs fragments, because TCP clamps its segments to the MTU and DTLS cuts
// its handshake itself.
package inner
