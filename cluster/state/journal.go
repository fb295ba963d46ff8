package state

// journalSize is how many session changes a machine remembers: what a follower
// that looks every few milliseconds can fall behind.
const journalSize = 4096

// journal remembers which sessions changed last, so that a follower of the
// state needn't look at all of them. It is no part of the state: not in
// snapshots, not in the digest, and a machine that was read from a snapshot or
// cloned begins an empty one.
type journal struct {
	changes  uint64 // sessions put or ended so far
	sessions [journalSize]uint64
	devices  uint64 // changes of subscribers and leases so far

	// A ring of the last changes, of which oldest is the first when it is full. What
	// the entries after floor changed is in it.
	touched []Touched
	oldest  int
	floor   uint64 // sequence number in the audit chain
}

func (j *journal) session(id uint64) {
	j.sessions[j.changes%journalSize] = id
	j.changes++
}

// Cursor is how far a follower has seen a machine's changes. The zero Cursor
// has seen nothing.
type Cursor struct {
	journal          *journal
	changes, devices uint64
}

// Changes is what happened since a Cursor.
type Changes struct {
	// All: too much happened, or the machine was replaced by a snapshot; look at
	// every session.
	All bool
	// Sessions lists the ids of sessions that were opened, changed or ended,
	// unless All. An id may be there more than once.
	Sessions []uint64
	// Devices: subscribers or address leases changed, so WireGuardPeers may give
	// others than before.
	Devices bool
}

// Since tells what happened after since, and where the caller is now.
func (m *Machine) Since(since Cursor) (Changes, Cursor) {
	j := m.journal
	now := Cursor{journal: j, changes: j.changes, devices: j.devices}
	if since.journal != j || j.changes-since.changes > journalSize {
		return Changes{All: true, Devices: true}, now
	}
	c := Changes{Devices: j.devices != since.devices}
	for n := since.changes; n < j.changes; n++ {
		c.Sessions = append(c.Sessions, j.sessions[n%journalSize])
	}
	return c, now
}
