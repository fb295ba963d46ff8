// Package admin is the face of the gateway towards its operators: an HTTPS
// API with mutual TLS, spoken by tools/sealctl. Its documents are in
// edge/adminapi.
//
// A caller is who his certificate says: the URI SAN sealedge://operator/NAME
// names him, the organizational units list his roles. A program may show a token
// of his instead. Every change becomes a command with the caller as its actor, so
// it stands in the audit chain; so do reads and refusals, a second later.
//
// Any node answers. Changes are forwarded to the leader. Reads pass a barrier
// first, so that an answer is never older than the question; a read with
// ?stale=true skips it and works without a quorum. Lists come in pages.
package admin
