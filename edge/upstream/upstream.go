// Package upstream is the gateway's face towards the intranet seal server, in
// both directions: Client calls the seal server for logins, orders,
// verification, evidence and settlement reports; Listener takes the seal
// server's disconnects.
//
// Both directions are HTTPS with mutual TLS. Nothing of a user's password or
// token is kept or logged here. A disconnect revokes, so it never waits for the
// cluster: it is pushed to barrel and terminal first and committed after. The
// seal server's answer is 200 only when it is committed; until then its outbox
// repeats it, and every repeat is pushed again and gives the same locks.
package upstream
