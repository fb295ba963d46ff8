package state

import (
	"iter"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
)

// What is kept of former revisions of the policy, to be shown and to go back to.
// Older ones are in the audit chain.
const (
	// HistoryLength is how many former revisions are kept at most.
	HistoryLength = 100
	// HistoryBytes bounds their documents together.
	HistoryBytes = 8 << 20
)

// PolicyAt finds a revision, the current or a former one; nil if it isn't kept. A
// former one has no pools.
func (m *Machine) PolicyAt(revision uint64) *command.Policy {
	if revision == m.PolicyRevision() {
		return m.policy
	}
	return m.former.get(revision)
}

// FormerPolicies goes through the former revisions that are kept, the oldest
// first.
func (m *Machine) FormerPolicies() iter.Seq[*command.Policy] { return m.former.values() }

// keepFormer takes the current policy into the history, before another takes its
// place. A log of level 1 has no history: there are nodes that keep none.
func (m *Machine) keepFormer() {
	if m.policy == nil || m.level < 2 {
		return
	}
	was := shallow(m.policy)
	was.Pools = nil // compiled out of the document
	m.former.set(was.Revision, was)
	size := 0
	for p := range m.former.values() {
		size += len(p.Document)
	}
	for m.former.len() > 1 && (m.former.len() > HistoryLength || size > HistoryBytes) {
		for revision, p := range m.former.from(0) {
			size -= len(p.Document)
			m.former.delete(revision)
			break
		}
	}
}

// Change finds a change by its id; nil if there is none, or it is forgotten.
func (m *Machine) Change(id uint64) *command.Change { return m.changes.get(id) }

// Changes goes through the changes that are kept, the oldest first.
func (m *Machine) Changes() iter.Seq[*command.Change] { return m.changes.values() }

// Waits tells whether a change can still be approved at a time.
func (m *Machine) Waits(c *command.Change, now time.Time) bool {
	return m.waits(c) && now.UnixNano() < c.Expires
}

// ChangesAfter goes through the changes after an id.
func (m *Machine) ChangesAfter(id uint64) iter.Seq[*command.Change] { return after(m.changes, id) }
