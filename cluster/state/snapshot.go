package state

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"
	"iter"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// snapshotVersion is the layout: a SnapshotHeader, then SnapshotRecords in the
// order of their field numbers and keys, the last of them the digest; each
// behind its length as a varint.
const snapshotVersion = 1

// WriteSnapshot writes all records, sorted, and their digest. Call it on a
// clone, from any goroutine, while the machine goes on.
func (m *Machine) WriteSnapshot(w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<16)
	sum, err := m.writeBody(out)
	if err != nil {
		return err
	}
	digest := &command.SnapshotRecord{Record: &command.SnapshotRecord_Digest{Digest: sum[:]}}
	if err := newFrames(out, nil).write(digest); err != nil {
		return err
	}
	return out.Flush()
}

// Digest is the SHA-256 of the snapshot without its last record. Machines at
// the same log index have the same digest. It reads the whole state: call it
// on a clone if there is much.
func (m *Machine) Digest() [32]byte {
	sum, err := m.writeBody(io.Discard)
	if err != nil {
		panic("state: digest: " + err.Error()) // io.Discard takes everything
	}
	return sum
}

func (m *Machine) writeBody(w io.Writer) (sum [32]byte, err error) {
	h := sha256.New()
	out := newFrames(w, h)
	err = out.write(&command.SnapshotHeader{
		Version: snapshotVersion, LastIndex: m.index, Clock: m.clock, Level: m.level,
		AuditTreeFirst: m.treeFirst, AuditTree: m.tree.Subtrees(),
		NextSession: m.nextSession, NextUse: m.nextUse, NextLock: m.nextLock,
		ReleaseSeq: m.releaseSeq, NextChargingId: m.nextChargingID,
		AuditSequence: m.auditSeq, AuditHead: m.auditHead[:], Epoch: m.epoch, NextChange: m.nextChange,
	})
	for r := range m.records() {
		if err != nil {
			break
		}
		err = out.write(r)
	}
	return [32]byte(h.Sum(nil)), err
}

// records goes through all records in the order of a snapshot.
func (m *Machine) records() iter.Seq[*command.SnapshotRecord] {
	return func(yield func(*command.SnapshotRecord) bool) {
		if m.policy != nil && !yield(&command.SnapshotRecord{Record: &command.SnapshotRecord_Policy{Policy: m.policy}}) {
			return
		}
		_ = each(m.subscribers, yield, func(r *command.SnapshotRecord, v *command.Subscriber) {
			r.Record = &command.SnapshotRecord_Subscriber{Subscriber: v}
		}) && each(m.barrels, yield, func(r *command.SnapshotRecord, v *command.Barrel) {
			r.Record = &command.SnapshotRecord_Barrel{Barrel: v}
		}) && each(m.sessions, yield, func(r *command.SnapshotRecord, v *command.Session) {
			r.Record = &command.SnapshotRecord_Session{Session: v}
		}) && m.leaseRecords(yield) && each(m.addresses, yield, func(r *command.SnapshotRecord, v *command.GatewayAddress) {
			r.Record = &command.SnapshotRecord_Address{Address: v}
		}) && each(m.orders, yield, func(r *command.SnapshotRecord, v *command.Order) {
			r.Record = &command.SnapshotRecord_Order{Order: v}
		}) && each(m.uses, yield, func(r *command.SnapshotRecord, v *command.Use) {
			r.Record = &command.SnapshotRecord_Use{Use: v}
		}) && each(m.locks, yield, func(r *command.SnapshotRecord, v *command.Lock) {
			r.Record = &command.SnapshotRecord_Lock{Lock: v}
		}) && each(m.remembered, yield, func(r *command.SnapshotRecord, v *command.Remembered) {
			r.Record = &command.SnapshotRecord_Remembered{Remembered: v}
		}) && each(m.peers, yield, func(r *command.SnapshotRecord, v *command.GTPPeer) {
			r.Record = &command.SnapshotRecord_Peer{Peer: v}
		}) && each(m.former, yield, func(r *command.SnapshotRecord, v *command.Policy) {
			r.Record = &command.SnapshotRecord_Former{Former: v}
		}) && each(m.changes, yield, func(r *command.SnapshotRecord, v *command.Change) {
			r.Record = &command.SnapshotRecord_Change{Change: v}
		}) && each(m.tokens, yield, func(r *command.SnapshotRecord, v *command.Token) {
			r.Record = &command.SnapshotRecord_Token{Token: v}
		}) && each(m.serverKeys, yield, func(r *command.SnapshotRecord, v *command.ServerKey) {
			r.Record = &command.SnapshotRecord_ServerKey{ServerKey: v}
		}) && each(m.fallbackLeases, yield, func(r *command.SnapshotRecord, v *command.FallbackLease) {
			r.Record = &command.SnapshotRecord_FallbackLease{FallbackLease: v}
		})
	}
}

// leaseRecords goes through the leases by family and address.
func (m *Machine) leaseRecords(yield func(*command.SnapshotRecord) bool) bool {
	for f := range m.spaces {
		if !each(m.spaces[f].byAddress, yield, func(r *command.SnapshotRecord, v *command.AddressLease) {
			r.Record = &command.SnapshotRecord_Lease{Lease: v}
		}) {
			return false
		}
	}
	return true
}

func each[K, V any](t table[K, V], yield func(*command.SnapshotRecord) bool, wrap func(*command.SnapshotRecord, V)) bool {
	for v := range t.values() {
		r := new(command.SnapshotRecord)
		wrap(r, v)
		if !yield(r) {
			return false
		}
	}
	return true
}

// frames writes messages behind their lengths, and hashes what it wrote.
type frames struct {
	w      io.Writer
	hash   hash.Hash
	length [binary.MaxVarintLen64]byte
	body   []byte
}

func newFrames(w io.Writer, h hash.Hash) *frames {
	if h != nil {
		w = io.MultiWriter(w, h)
	}
	return &frames{w: w, hash: h}
}

func (f *frames) write(m proto.Message) (err error) {
	if f.body, err = (proto.MarshalOptions{Deterministic: true}).MarshalAppend(f.body[:0], m); err != nil {
		return err
	}
	n := binary.PutUvarint(f.length[:], uint64(len(f.body)))
	if _, err := f.w.Write(f.length[:n]); err != nil {
		return err
	}
	_, err = f.w.Write(f.body)
	return err
}
