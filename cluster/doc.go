// Package cluster is one node of the replicated gateway: it carries commands
// through a Raft log into the state machine of cluster/state, on every node in
// the same order.
//
// # What a caller gets
//
// [Node.Propose] has a command carried out, from whichever node it is called
// on: a follower forwards it to the leader. An error says exactly one of two
// things. [command.ErrNoQuorum]: the command was not carried out and never will
// be. [command.ErrUnknownOutcome]: it may have been, or may be yet; ask again
// with the same request id. What can't be proven to be the former is the
// latter. [Node.View] reads this node's copy, as it stands; when Propose has
// returned, View on the same node shows its effect. [Node.ReadIndex] before View
// makes the read linearizable: a majority, asked since, knows of no other leader.
// [Node.Barrier] does the same through the log. Neither relies on Raft's
// VerifyLeader, which counts acknowledgements of messages that were sent before
// the question was asked.
//
// [Node.Holds] is the fence: whether this node may act as the cluster right
// now. It is computed from when acknowledged messages were sent, so a node that
// was cut off, stopped or hung is fenced before another can lead, without being
// told.
//
// A cluster may have several gateway addresses, and each node hold one of them:
// [Node.AddressLease] is the fence of a single address. The leader grants it, and
// gives the address to another only when the lease must have expired.
//
// # One port
//
// Nodes talk over one TCP port, TLS 1.3 with certificates on both sides. ALPN
// tells Raft's own streams (sealedge-raft/1) from forwarded proposals and audit
// fetches (sealedge-node/1). A peer must show a certificate of the cluster's CA
// that carries the URI SAN sealedge://node/<name> of a configured peer; any
// other certificate of that CA (an operator's, a seal server's) is refused. Node
// certificates need both the serverAuth and the clientAuth extended key usage.
// New connections use the certificate that Config.Renew returns, and look a
// peer's host name up anew.
//
// # Starting
//
// Raft knows a node by the id that is made with its data directory: its name and
// a random part. People and certificates know it by its name. A node that lost
// its disk has forgotten what it acknowledged and voted for; it comes back under
// its old name, but with a new id, and nothing that it says counts for the member
// that it was: Raft's streams say in SNI which id they mean, and another refuses
// them.
//
// A node with an empty directory asks its peers who they are. If every one is
// there and empty, too, and Config.Bootstrap is set, they begin a cluster of just
// these ids. Otherwise it asks the leader to let it in, as a member without a
// vote, and the leader gives it a vote when it caught up. If it comes in the place
// of a voter of its name, that one must be removed first, by [Node.Remove]: voters
// are never removed by themselves.
//
// The leader has the audit chain say who the members are, soon after each change,
// as decisions of the kind "members".
//
// A directory from before there were ids keeps its node's name for its id.
//
// # What is on disk
//
//	wal/        the Raft log and its vote (raft-wal), synced at every append
//	snapshots/  the last two snapshots
//	audit/      the audit chain, in segment files
//	node        the name that the directory belongs to
//	node-id     the id, for people: the log's own store has it, and that it was a member
//	lock        held while a process uses the directory
//	unfinished  a restore or a forced recovery was broken off: no node starts
//	quarantined why this directory is not to be used any more; absent otherwise
//
// Audit entries are written as they are applied, but synced only when a segment
// is full, when the node closes, and before a snapshot is completed or taken in:
// until a snapshot, they can be made again from the log; after it, the log is
// gone. A torn tail is cut off at start and applied again. Entries that a node
// never applied because it got a snapshot instead are fetched from its peers and
// must fit the chain at both ends.
//
// [Node.Backup] writes state and audit chain, encrypted, while the node works;
// [Restore] makes a stopped node's empty directory out of it, and [Recover] makes a
// survivor of a lost quorum the only member. Both raise the cluster epoch
// (docs/epoch.md) with an entry that is there before the node runs.
//
// A write to the log that fails, or takes longer than Config.DiskStall, ends the
// process through Config.Fatal: a leader whose disk hangs would otherwise go on
// sending heartbeats and the cluster would neither commit nor elect.
package cluster
