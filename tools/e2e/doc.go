// Package e2e tests the product as its users meet it: the programs as built,
// one process each, with real sockets on loopback and a disk of their own. The
// carrier, the phones and the barrels are those of tools/sealsim, or somebody
// else's programs.
//
// A scenario is one test. It makes a site, which has a block of loopback
// addresses of its own so that scenarios run side by side, and says what
// happens there:
//
//	s := newSite(t, 3)                     // a cluster of three, and a policy
//	c, tap := s.carrier(1)                 // a serving gateway, and what it hears
//	sim := s.enlist(1)                     // a SIM on the allow-list
//	b := s.attach(c, sim)
//	s.holder().kill()
//	s.until("another node holds the address", func() bool { return s.holder() != nil })
//
// Faults of networks, processes and disks happen to a world: a site whose nodes
// have a machine each, that is a network namespace with the kernel's own TCP, ARP
// and interfaces, on a switch that the test owns (netns_*.go). The test itself runs
// in a namespace, too: nothing of it touches the machine's network.
//
// Nothing sleeps: scenarios wait for what the programs say, in their log, over
// the operators' API or on the wire. What a test leaves running is ended, by
// pid, when it is over; if it failed, the programs' last words are printed.
//
// Environment:
//
//	CI=true             what a machine lacks for a scenario is a failure, not a
//	                    reason to skip it
//	E2E_RUBBISH=1m      how long rubbish is sent to every port (3s)
//	E2E_SEED=42         which rubbish, and which faults; a failed test's log says
//	                    which it was
//	E2E_FAULTS=1h       how long faults go on (each of them once)
//	E2E_RACE=1          programs with the race detector in them
package e2e
