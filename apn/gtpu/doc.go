// Package gtpu is the user plane between the carrier and the inner network: it
// takes G-PDUs off a UDP socket, checks that a terminal only speaks for
// itself, and hands the inner packets on; and it puts packets for a terminal
// into its tunnel (3GPP TS 29.281). A terminal has an IPv4 address, a /64 of
// IPv6, or both, and a maximum bit rate each way.
//
// On the link to a terminal with a /64 the gateway is the router (TS 29.061
// 11.2.1.3): it advertises the prefix when it is solicited, once after the
// tunnel is made and every six hours, and answers whether it is still there.
// Whatever else stays on a link ends here: link-local addresses, multicast,
// redirects. It sends neither redirects nor multicast into a tunnel but its
// advertisements. One terminal's packets to another are dropped.
//
// What tunnels there should be follows from the replicated sessions and from
// nothing else. Want turns sessions into tunnels, Diff compares what is wanted
// with what was, and Carry makes the difference true:
//
//	want := gtpu.Want(machine.Sessions())
//	plane.Carry(gtpu.Diff(have, want))
//	have = want
//
// The same three calls work on the one session that a command just changed, so
// that an attach among 100,000 costs one insertion and not a walk over all of
// them. Carry is called by one goroutine, the reconciler.
//
// A packet over its session's maximum bit rate waits for its turn, up to half a
// second at that rate; what is more is dropped.
//
// Packets are handled in userspace, in batches, without a lock and without
// allocating; the clock is read once a batch. What no packet prompts, router
// advertisements and Echo Requests to peers, is done by one goroutine of Serve
// once a second. Nothing that arrives is trusted: each drop counts under a named
// reason, listed by Counters.
package gtpu
