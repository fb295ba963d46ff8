package state

import (
	"slices"

	"github.com/sealedge/sealedge/cluster/command"
)

// touchedSize is how many changes of records a machine remembers for those who
// follow it, or come back to it.
const touchedSize = 1 << 14

// Kind is a kind of record that can be followed.
type Kind byte

// The kinds.
const (
	SessionRecord Kind = iota
	UseRecord
	BarrelRecord
)

// Touched is a change of a record by the entry of the audit chain of that sequence
// number. Sessions and uses have an ID, barrels a Name.
type Touched struct {
	Sequence uint64
	Kind     Kind
	ID       uint64
	Name     string
}

// touch notes that the entry that is being carried out changes a record.
func (m *Machine) touch(kind Kind, id uint64, name string) {
	j := m.journal
	t := Touched{m.auditSeq + 1, kind, id, name}
	if len(j.touched) < touchedSize {
		j.touched = append(j.touched, t)
		return
	}
	j.floor = j.touched[j.oldest].Sequence
	j.touched[j.oldest] = t
	j.oldest = (j.oldest + 1) % touchedSize
}

// TouchedSince returns the changes after an entry of the audit chain, each record
// once, in the order of its last change. ok is false when this machine doesn't
// remember as far back, or hasn't come as far.
func (m *Machine) TouchedSince(sequence uint64) (changes []Touched, ok bool) {
	j := m.journal
	if sequence < j.floor || sequence > m.auditSeq {
		return nil, false
	}
	seen := map[Touched]bool{}
	for n := range j.touched {
		t := j.touched[(j.oldest+len(j.touched)-1-n)%len(j.touched)]
		if t.Sequence <= sequence {
			break
		}
		if record := (Touched{0, t.Kind, t.ID, t.Name}); !seen[record] {
			seen[record] = true
			changes = append(changes, t)
		}
	}
	slices.Reverse(changes)
	return changes, true
}

func (m *Machine) setBarrel(b *command.Barrel) {
	m.barrels.set(b.Id, b)
	m.touch(BarrelRecord, 0, b.Id)
}

func (m *Machine) setUse(u *command.Use) {
	m.uses.set(u.Id, u)
	m.touch(UseRecord, u.Id, "")
}
