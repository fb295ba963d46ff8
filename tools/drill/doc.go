// Package drill breaks a gateway cluster on purpose and measures what its peers
// notice. A canary, which is a carrier's node of its own with sessions, probes
// the data path every few milliseconds; a drill checks that the cluster is
// healthy, breaks something, waits until the canary is served again, undoes what
// it did, and checks that nothing was lost.
//
// Drills that don't endanger anything run against any cluster through its
// admin API. For the others somebody has to have hands on the nodes: a [Local]
// cluster, which the package starts itself out of the programs, or [Hooks],
// commands that an operator names.
package drill
