package state

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// ErrSnapshot is wrapped by every refusal of a snapshot.
var ErrSnapshot = errors.New("snapshot refused: it is damaged; take another one from this node or from a peer")

// maxRecord bounds one record of a snapshot, in bytes.
const maxRecord = 64 << 20

func refused(format string, args ...any) error {
	return fmt.Errorf("%w (%s)", ErrSnapshot, fmt.Sprintf(format, args...))
}

// ReadSnapshot reads a snapshot to the end of r. It checks the digest, that the
// records are in order, and that no two of them claim the same thing. Errors
// wrap ErrSnapshot; a snapshot of a later version wraps
// command.ErrUnknownCommand too.
func ReadSnapshot(r io.Reader) (*Machine, error) {
	in := &frameReader{r: bufio.NewReaderSize(r, 1<<16), hash: sha256.New()}
	h := new(command.SnapshotHeader)
	if err := in.read(h); err != nil {
		return nil, err
	}
	in.count()
	if h.Version != snapshotVersion || h.Level > command.Level {
		return nil, fmt.Errorf("%w: %w (snapshot version %d, level %d)", ErrSnapshot, command.ErrUnknownCommand, h.Version, h.Level)
	}
	if len(h.AuditHead) != 32 {
		return nil, refused("no audit chain")
	}
	m := New()
	m.index, m.clock, m.level = h.LastIndex, h.Clock, h.Level
	m.nextSession, m.nextUse, m.nextLock = h.NextSession, h.NextUse, h.NextLock
	m.releaseSeq, m.nextChargingID = h.ReleaseSeq, h.NextChargingId
	m.nextChange = h.NextChange
	m.auditSeq, m.auditHead, m.epoch = h.AuditSequence, [32]byte(h.AuditHead), h.Epoch
	if m.epoch != nil && m.epoch.Number < 2 {
		return nil, refused("epoch %d was raised", m.epoch.Number)
	}
	if err := m.restoreTree(h); err != nil {
		return nil, err
	}

	var last place
	for {
		record := new(command.SnapshotRecord)
		if err := in.read(record); err != nil {
			return nil, err
		}
		if d, ok := record.Record.(*command.SnapshotRecord_Digest); ok {
			if !bytes.Equal(d.Digest, in.hash.Sum(nil)) {
				return nil, refused("its digest does not match its content")
			}
			break
		}
		in.count()
		at, err := m.restore(record)
		if err != nil {
			return nil, err
		}
		if at.compare(last) <= 0 {
			return nil, refused("record %v after %v", at, last)
		}
		last = at
	}
	if _, err := in.r.ReadByte(); err != io.EOF {
		return nil, refused("something follows its end")
	}
	if err := m.finish(); err != nil {
		return nil, err
	}
	m.journal = &journal{floor: m.auditSeq} // reading is no change
	return m, nil
}

// A place is where a record stands in a snapshot.
type place struct {
	kind int // field number
	name pair
	id   uint64
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.kind, q.kind), comparePairs(p.name, q.name), cmp.Compare(p.id, q.id))
}

// restore takes one record in. What it derives is complete only after finish.
func (m *Machine) restore(r *command.SnapshotRecord) (place, error) {
	var clash bool // with a record before
	var at place
	switch r := r.Record.(type) {
	case *command.SnapshotRecord_Policy:
		at = place{kind: 1}
		pools, err := compilePools(r.Policy.Pools)
		if err != nil {
			return at, refused("policy: %v", err)
		}
		m.policy = r.Policy
		for _, f := range families {
			m.spaces[f].pools = pools[f]
		}
	case *command.SnapshotRecord_Subscriber:
		s := r.Subscriber
		at = place{kind: 2, name: pair{s.Imsi, ""}}
		clash = m.SubscriberByWireGuardKey(s.WireguardPublicKey) != nil
		m.indexSubscriber(nil, s)
	case *command.SnapshotRecord_Barrel:
		b := r.Barrel
		at = place{kind: 3, name: pair{b.Id, ""}}
		for _, other := range m.claimsOf(b) {
			clash = clash || other != nil
		}
		m.indexBarrel(nil, b)
	case *command.SnapshotRecord_Session:
		s := r.Session
		at = place{kind: 4, id: s.Id}
		clash = s.Id > m.nextSession || m.bySubscriber.has(pair{s.Imsi, s.Apn}) || m.clashes(s.Gtp)
		m.indexSession(s)
	case *command.SnapshotRecord_Lease:
		l := r.Lease
		f, ok := familyOf(l.Address)
		if !ok || f == ipv6 && !isPrefix6(l.Address) {
			return place{kind: 5}, refused("a lease without an address")
		}
		at = place{kind: 5, name: pair{f.String(), ""}, id: f.number(l.Address)}
		s := &m.spaces[f]
		clash = s.byAddress.has(at.id) || l.Former && !waiting(l) || !l.Former && s.leases.has(pair{l.Imsi, l.Apn}) ||
			waiting(l) && (l.ReleasedSeq > m.releaseSeq || s.released.has(numbered{l.Apn, l.ReleasedSeq}))
		m.indexLease(f, l)
	case *command.SnapshotRecord_Address:
		at = place{kind: 6, name: pair{r.Address.Name, ""}}
		m.addresses.set(r.Address.Name, r.Address)
	case *command.SnapshotRecord_Order:
		o := r.Order
		at = place{kind: 7, name: pair{o.Number, ""}}
		clash = uint64(o.Confirmed)+uint64(o.Reserved) > uint64(o.Permitted)
		m.orders.set(o.Number, o)
	case *command.SnapshotRecord_Use:
		u := r.Use
		at = place{kind: 8, id: u.Id}
		open := u.State != command.UseState_SETTLED
		clash = u.Id > m.nextUse || m.UseByRequest(u.Imsi, u.RequestId) != nil || open && m.openOfBarrel.has(u.Barrel) ||
			!slices.IsSortedFunc(u.Stamps, func(a, b *command.Stamp) int { return cmp.Compare(a.GetNumber(), b.GetNumber()) })
		m.indexUse(u)
		for _, s := range u.Stamps {
			m.indexStamp(u, s)
		}
	case *command.SnapshotRecord_Lock:
		at = place{kind: 9, id: r.Lock.Id}
		clash = r.Lock.Id > m.nextLock
		m.indexLock(r.Lock)
	case *command.SnapshotRecord_Remembered:
		at = place{kind: 10, name: pair{r.Remembered.ClientId, r.Remembered.RequestId}}
		clash = m.scopes.has(numbered{r.Remembered.Scope, r.Remembered.Index}) ||
			proto.Unmarshal(r.Remembered.Result, new(command.Result)) != nil
		m.indexRemembered(r.Remembered)
	case *command.SnapshotRecord_Peer:
		k, ok := peerAt(r.Peer.Address)
		at = place{kind: 11, name: pair{string(k[:]), ""}}
		clash = !ok || !bytes.Equal(k.address(), r.Peer.Address) // one form of each address
		m.peers.set(k, r.Peer)
	case *command.SnapshotRecord_Former:
		at = place{kind: 12, id: r.Former.Revision}
		clash = r.Former.Revision >= m.PolicyRevision()
		m.former.set(r.Former.Revision, r.Former)
	case *command.SnapshotRecord_Change:
		at = place{kind: 13, id: r.Change.Id}
		clash = r.Change.Id > m.nextChange || (r.Change.Policy == nil) == (r.Change.Devices == nil)
		m.changes.set(r.Change.Id, r.Change)
	case *command.SnapshotRecord_Token:
		at = place{kind: 14, name: pair{r.Token.Id, ""}}
		clash = !validToken(r.Token)
		m.tokens.set(r.Token.Id, r.Token)
	case *command.SnapshotRecord_ServerKey:
		at = place{kind: 16, name: pair{string(r.ServerKey.PublicKey), ""}}
		clash = !m.fits(r.ServerKey)
		m.serverKeys.set(string(r.ServerKey.PublicKey), r.ServerKey)
	case *command.SnapshotRecord_FallbackLease:
		at = place{kind: 17, name: pair{r.FallbackLease.Imsi, ""}}
		clash = !m.owned(r.FallbackLease)
		m.fallbackLeases.set(r.FallbackLease.Imsi, r.FallbackLease)
	default:
		return at, refused("a record of an unknown kind")
	}
	if clash {
		return at, refused("record %v contradicts another", at)
	}
	return at, nil
}

// clashes tells whether a path's TEIDs are held already, or are none.
func (m *Machine) clashes(p *command.GTPPath) bool {
	return p != nil && (p.LocalTeidC == 0 || p.LocalTeidU == 0 || p.LocalTeidC == p.LocalTeidU ||
		m.teids.has(p.LocalTeidC) || m.teids.has(p.LocalTeidU))
}

// finish checks that sessions agree with leases and peers, and works out which
// addresses are free.
func (m *Machine) finish() error {
	if m.serverKeys.len() > 0 && m.currentKey().Until != 0 {
		return refused("no server key is the current one")
	}
	for s := range m.sessions.values() {
		if n := s.Wireguard.GetLease(); n > m.FallbackLease(s.Imsi).GetNumber() {
			return refused("session %d came by a lease that isn't there", s.Id)
		}
		for _, f := range families {
			if f.usedBy(s) != (len(f.held(s)) > 0) {
				return refused("session %d has other addresses than its paths use", s.Id)
			}
			if !f.usedBy(s) {
				continue
			}
			l := m.spaces[f].leases.get(pair{s.Imsi, s.Apn})
			if !l.GetInUse() || !bytes.Equal(l.Address, f.held(s)) {
				return refused("session %d has no lease of its address", s.Id)
			}
			f.set(s, l.Address) // one copy in memory
			s.Imsi, s.Apn = l.Imsi, l.Apn
		}
	}
	for _, f := range families {
		for l := range m.spaces[f].leases.values() {
			if l.InUse && len(f.held(m.SessionByKey(l.Imsi, l.Apn))) == 0 {
				return refused("a lease is in use by no session")
			}
		}
		m.spaces[f].rebuildFree()
	}
	paths := 0
	for k := range m.peers.from(peerKey{}) {
		n := paths
		for range m.sessionsBy(k) {
			paths++
		}
		if n == paths {
			return refused("no path leads to the peer %v", k)
		}
	}
	if paths != m.sessionsOfPeer.len() {
		return refused("a path leads to a peer without a record")
	}
	return nil
}

// frameReader reads what frames writes.
type frameReader struct {
	r    *bufio.Reader
	hash hash.Hash
	last []byte // the frame that was read last, without its length
	big  bytes.Buffer
}

func (f *frameReader) read(m proto.Message) error {
	n, err := binary.ReadUvarint(f.r)
	if err != nil {
		return refused("it ends before its digest")
	}
	if n > maxRecord {
		return refused("a record of %d bytes", n)
	}
	f.big.Reset() // grows with what is there, not with what a length claims
	if got, err := io.CopyN(&f.big, f.r, int64(n)); err != nil {
		return refused("it ends within a record: %d of %d bytes", got, n)
	}
	f.last = f.big.Bytes()
	if err := proto.Unmarshal(f.last, m); err != nil {
		return refused("%v", err)
	}
	return nil
}

// count adds the last frame to the digest.
func (f *frameReader) count() {
	var length [binary.MaxVarintLen64]byte
	f.hash.Write(length[:binary.PutUvarint(length[:], uint64(len(f.last)))])
	f.hash.Write(f.last)
}
