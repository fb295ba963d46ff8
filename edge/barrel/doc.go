// Package barrel is the gateway's face towards the seal barrels: CoAP (RFC
// 7252) over DTLS 1.2 (RFC 6347) on one UDP port inside the tunnel, documented
// in docs/api/barrel.md.
//
// A barrel is known by its DTLS identity, a pre-shared key or a pinned
// certificate, and is bound to its terminal: heartbeats count only from the
// inner address of the terminal that the barrel is checked out with. The lease
// that a heartbeat renews is soft state of the node that the tunnels end at; a
// barrel without a lease locks itself. What the ledger has to know (receipts,
// settlement statements, acknowledged locks) goes through the cluster before it
// is answered, so that the barrel may forget it.
//
// Locks need no quorum: Push sends one at once, and each lock of the replicated
// state that the barrel has not acknowledged is sent again by whichever node
// the barrel is at.
package barrel
