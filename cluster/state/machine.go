// Package state is the replicated state machine: allow-lists, sessions, their
// inner addresses and GTP peers, the use ledger, locks and the audit chain.
//
// Equal logs give equal machines. Apply reads no clock, no random source and
// no map order; time is the leader's stamp, randomness is the command's
// entropy. Policy was decided before the command was proposed: Apply only
// checks that what was decided upon still holds (revision, versions, path),
// and does the arithmetic. What revokes asks for no such precondition.
//
// A command that is refused changes nothing except the clock, the audit chain
// and the memory of its answer.
//
// The text of results is replicated too: it is hashed into the audit chain. A
// changed text is a changed machine, and needs a new command level.
package state

import (
	"cmp"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/merkle"
)

// ErrOutOfOrder: an entry was applied twice, or an older one after a newer.
var ErrOutOfOrder = errors.New("log entries out of order: this node's log or snapshot is damaged; remove it from the cluster and let it join anew")

// Machine is the state. One goroutine calls Apply and Clone, while no other
// reads; cluster.Node.View gives readers their turn. A clone is read freely
// while the original goes on.
type Machine struct {
	index uint64 // of the last entry applied
	clock int64  // the highest leader's stamp, Unix nanoseconds
	level uint32 // the highest command level applied
	term  uint64 // of the entry that is being carried out

	nextSession, nextUse, nextLock, nextChange uint64 // the last id given
	nextChargingID                             uint32 // the last given
	releaseSeq                                 uint64 // the last given

	auditSeq  uint64
	auditHead [32]byte
	treeFirst uint64 // sequence number of the tree's first leaf; 0: there is no tree yet
	tree      merkle.Frontier

	policy *command.Policy
	epoch  *command.Epoch // nil: the first

	subscribers    table[string, *command.Subscriber]
	barrels        table[string, *command.Barrel]
	sessions       table[uint64, *command.Session]
	addresses      table[string, *command.GatewayAddress]
	orders         table[string, *command.Order]
	uses           table[uint64, *command.Use]
	locks          table[uint64, *command.Lock]
	remembered     table[pair, *command.Remembered] // by client and request
	peers          table[peerKey, *command.GTPPeer]
	tokens         table[string, *command.Token]
	former         table[uint64, *command.Policy] // by revision, see history.go
	changes        table[uint64, *command.Change]
	serverKeys     table[string, *command.ServerKey]     // by public key
	fallbackLeases table[string, *command.FallbackLease] // by IMSI
	spaces         [len(families)]space                  // leases

	// What follows is derived from the records: never in a snapshot, rebuilt
	// from it.
	byWireGuardKey table[string, string]                // IMSI
	byMAC          table[string, string]                // barrel id
	byPSKIdentity  table[string, string]                // barrel id
	byCert         table[string, string]                // barrel id
	checkouts      table[pair, struct{}]                // IMSI, barrel id
	bySubscriber   table[pair, *command.Session]        // IMSI, APN
	teids          table[uint32, uint64]                // control and user plane: session id
	sessionsOfPeer table[peerSession, *command.Session] // those with a GTP path to it
	usesOfOrder    table[numbered, struct{}]
	byRequest      table[pair, uint64] // IMSI, request id: use
	openOfBarrel   table[string, uint64]
	openOfIMSI     table[numbered, struct{}]
	openOfOrder    table[numbered, struct{}]
	pendingLocks   table[uint64, *command.Lock]
	locksOfBarrel  table[numbered, struct{}] // not acknowledged by the barrel
	bySource       table[string, uint64]     // lock id
	evidenceDue    table[dueKey, struct{}]
	unaccounted    uint64                               // stampings, of all barrels
	scopes         table[numbered, *command.Remembered] // scope, log index
	loose          int                                  // remembered without a scope
	journal        *journal                             // this machine's own
}

// dueKey orders stampings by when their evidence is due.
type dueKey struct {
	due    int64
	use    uint64
	number uint32
}

func compareDue(a, b dueKey) int {
	return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.use, b.use), cmp.Compare(a.number, b.number))
}

// New returns the empty machine that every log starts from.
func New() *Machine {
	return &Machine{
		subscribers:    newOrdered[string, *command.Subscriber](),
		barrels:        newOrdered[string, *command.Barrel](),
		sessions:       newOrdered[uint64, *command.Session](),
		addresses:      newOrdered[string, *command.GatewayAddress](),
		orders:         newOrdered[string, *command.Order](),
		uses:           newOrdered[uint64, *command.Use](),
		locks:          newOrdered[uint64, *command.Lock](),
		remembered:     newTable[pair, *command.Remembered](comparePairs),
		peers:          newTable[peerKey, *command.GTPPeer](comparePeers),
		tokens:         newOrdered[string, *command.Token](),
		former:         newOrdered[uint64, *command.Policy](),
		changes:        newOrdered[uint64, *command.Change](),
		serverKeys:     newOrdered[string, *command.ServerKey](),
		fallbackLeases: newOrdered[string, *command.FallbackLease](),
		spaces:         [...]space{newSpace(), newSpace()},

		byWireGuardKey: newOrdered[string, string](),
		byMAC:          newOrdered[string, string](),
		byPSKIdentity:  newOrdered[string, string](),
		byCert:         newOrdered[string, string](),
		checkouts:      newTable[pair, struct{}](comparePairs),
		bySubscriber:   newTable[pair, *command.Session](comparePairs),
		teids:          newOrdered[uint32, uint64](),
		sessionsOfPeer: newTable[peerSession, *command.Session](comparePeerSessions),
		usesOfOrder:    newTable[numbered, struct{}](compareNumbered),
		byRequest:      newTable[pair, uint64](comparePairs),
		openOfBarrel:   newOrdered[string, uint64](),
		openOfIMSI:     newTable[numbered, struct{}](compareNumbered),
		openOfOrder:    newTable[numbered, struct{}](compareNumbered),
		pendingLocks:   newOrdered[uint64, *command.Lock](),
		locksOfBarrel:  newTable[numbered, struct{}](compareNumbered),
		bySource:       newOrdered[string, uint64](),
		evidenceDue:    newTable[dueKey, struct{}](compareDue),
		scopes:         newTable[numbered, *command.Remembered](compareNumbered),
		journal:        new(journal),
	}
}

// Clone returns an independent machine in the same state. It costs the same
// however much state there is: the tables share their nodes until written.
func (m *Machine) Clone() *Machine {
	c := *m
	c.subscribers, c.barrels, c.sessions = m.subscribers.clone(), m.barrels.clone(), m.sessions.clone()
	c.addresses, c.orders, c.uses = m.addresses.clone(), m.orders.clone(), m.uses.clone()
	c.locks, c.remembered, c.peers = m.locks.clone(), m.remembered.clone(), m.peers.clone()
	c.tokens = m.tokens.clone()
	c.former, c.changes = m.former.clone(), m.changes.clone()
	c.serverKeys, c.fallbackLeases = m.serverKeys.clone(), m.fallbackLeases.clone()
	c.byWireGuardKey, c.byMAC, c.byPSKIdentity = m.byWireGuardKey.clone(), m.byMAC.clone(), m.byPSKIdentity.clone()
	c.byCert, c.checkouts, c.bySubscriber = m.byCert.clone(), m.checkouts.clone(), m.bySubscriber.clone()
	c.teids, c.sessionsOfPeer, c.openOfOrder = m.teids.clone(), m.sessionsOfPeer.clone(), m.openOfOrder.clone()
	c.usesOfOrder, c.byRequest, c.openOfBarrel = m.usesOfOrder.clone(), m.byRequest.clone(), m.openOfBarrel.clone()
	c.openOfIMSI, c.pendingLocks, c.locksOfBarrel = m.openOfIMSI.clone(), m.pendingLocks.clone(), m.locksOfBarrel.clone()
	c.bySource, c.evidenceDue, c.scopes = m.bySource.clone(), m.evidenceDue.clone(), m.scopes.clone()
	for f := range c.spaces {
		c.spaces[f] = m.spaces[f].clone()
	}
	c.journal = &journal{floor: m.auditSeq}
	return &c
}

// Apply carries out one committed log entry: raw is the envelope's bytes, which
// the audit link keeps. It returns the answer to the proposer and the link.
// After an error the machine is not to be used: the node must stop
// (command.ErrUnknownCommand, ErrOutOfOrder).
func (m *Machine) Apply(index, term uint64, raw []byte) (*command.Result, *command.AuditEntry, error) {
	if index <= m.index {
		return nil, nil, fmt.Errorf("%w (entry %d after %d)", ErrOutOfOrder, index, m.index)
	}
	c, payload, err := command.Decode(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("log entry %d: %w", index, err)
	}
	m.index, m.clock, m.level = index, max(m.clock, c.LeaderTime), max(m.level, c.Level)
	m.term = term
	m.forgetExpired()
	result := m.once(c, payload)
	return result, m.link(index, term, raw, command.Marshal(result)), nil
}

// once carries a command out, unless its request id was carried out before:
// then it gives the answer of that time.
func (m *Machine) once(c *command.Command, payload proto.Message) *command.Result {
	if c.RequestId == "" {
		return m.carryOut(c, payload).result()
	}
	asked := askedFor(c, payload)
	if r := m.remembered.get(pair{c.ClientId, c.RequestId}); r != nil {
		return answerAgain(r, asked)
	}
	o := m.carryOut(c, payload)
	result := o.result()
	m.remember(c, asked, o, command.Marshal(result))
	return result
}

// An outcome is what a command did.
type outcome struct {
	code    command.Code
	message string
	record  proto.Message // of the result; nil: none
	scope   string        // within which the result is remembered when OK
}

func done(record proto.Message, scope string) outcome {
	return outcome{code: command.Code_OK, record: record, scope: scope}
}

func refuse(code command.Code, format string, args ...any) outcome {
	return outcome{code: code, message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) outcome {
	return refuse(command.Code_INVALID, format, args...)
}

func (o outcome) refused() bool { return o.code != command.Code_OK }

func (o outcome) result() *command.Result {
	r := &command.Result{Code: o.code, Message: o.message}
	if o.record != nil {
		r.Payload = command.Marshal(o.record)
	}
	return r
}

// carryOut does the work of Apply. The payload is the machine's own: handlers
// may keep parts of it in records.
func (m *Machine) carryOut(c *command.Command, payload proto.Message) outcome {
	if e := m.addresses.get(c.GatewayAddress).GetEpoch(); c.AddressEpoch != 0 && c.AddressEpoch != e {
		return refuse(command.Code_CONFLICT, "the gateway address is at epoch %d, not %d", e, c.AddressEpoch)
	}
	if r := c.PolicyRevision; r != 0 && r != m.PolicyRevision() {
		return refuse(command.Code_CONFLICT, "the policy is at revision %d, not %d", m.PolicyRevision(), r)
	}
	switch p := payload.(type) {
	case *command.PutPolicy:
		return m.putPolicy(p, c.Actor)
	case *command.PutSubscriber:
		return m.putSubscriber(p)
	case *command.RevokeSubscriber:
		return m.revokeSubscriber(p)
	case *command.PutBarrel:
		return m.putBarrel(p)
	case *command.RevokeBarrel:
		return m.revokeBarrel(p)
	case *command.CheckOut:
		return m.checkOut(p)
	case *command.CheckIn:
		return m.checkIn(p)
	case *command.PutDevices:
		return m.putDevices(p)
	case *command.OpenSession:
		return m.openSession(p)
	case *command.ModifySession:
		return m.modifySession(p)
	case *command.AttachWireGuard:
		return m.attachWireGuard(p)
	case *command.RoamWireGuard:
		return m.roamWireGuard(p)
	case *command.PutServerKey:
		return m.putServerKey(p, c.Actor)
	case *command.RetireServerKey:
		return m.retireServerKey(p)
	case *command.LeaseFallback:
		return m.leaseFallback(p, c.Actor)
	case *command.EndFallback:
		return m.endFallback(p)
	case *command.SelectPath:
		return m.selectPath(p)
	case *command.ClosePath:
		return m.closePath(p)
	case *command.ReleasePaths:
		return m.releasePaths(p)
	case *command.AcquireAddress:
		return m.acquireAddress(p)
	case *command.AssignAddress:
		return m.assignAddress(p)
	case *command.SurrenderAddress:
		return m.surrenderAddress(p)
	case *command.MoveAddress:
		return m.moveAddress(p)
	case *command.BumpRestartCounter:
		return m.bumpRestartCounter(p)
	case *command.ReserveUses:
		return m.reserveUses(p, c.RequestId)
	case *command.RecordReceipt:
		return m.recordReceipt(p)
	case *command.RecordEvidence:
		return m.recordEvidence(p)
	case *command.SettleUse:
		return m.settleUse(p)
	case *command.Disconnect:
		return m.disconnect(p)
	case *command.AckLock:
		return m.ackLock(p)
	case *command.SuspendOrder:
		return m.suspendOrder(p)
	case *command.ResumeOrder:
		return m.resumeOrder(p)
	case *command.ExpireUse:
		return m.expireUse(p)
	case *command.MarkOverdue:
		return m.markOverdue(p)
	case *command.ReleaseUse:
		return m.releaseUse(p, c.Actor)
	case *command.ConfirmRelease:
		return m.confirmRelease(p, c.Actor)
	case *command.RaiseEpoch:
		return m.raiseEpoch(p)
	case *command.ReconcileBarrel:
		return m.reconcileBarrel(p)
	case *command.ExcuseBarrel:
		return m.excuseBarrel(p, c.Actor)
	case *command.PutToken:
		return m.putToken(p, c.Actor)
	case *command.RevokeToken:
		return m.revokeToken(p)
	case *command.CloseEpoch:
		return m.closeEpoch(p, c.Actor)
	case *command.RecordDecision, *command.Checkpoint, *command.RaiseLevel, *command.RecordCalls:
		return done(nil, "")
	case *command.SuspendDevice:
		return m.suspendDevice(p)
	case *command.ResumeDevice:
		return m.resumeDevice(p)
	case *command.ProposeChange:
		return m.proposeChange(p, c.Actor)
	case *command.ApproveChange:
		return m.approveChange(p, c.Actor)
	case *command.RejectChange:
		return m.rejectChange(p, c.Actor)
	case *command.ReviewChange:
		return m.reviewChange(p, c.Actor)
	}
	// Decode knows no other payload; TestEveryCommandIsCarriedOut holds the two
	// lists together.
	panic(fmt.Sprintf("state: no handler for %T", payload))
}

// link adds an entry to the audit chain.
func (m *Machine) link(index, term uint64, raw, result []byte) *command.AuditEntry {
	prev := m.auditHead
	m.auditHead = AuditHash(prev, index, term, raw, result)
	m.auditSeq++
	m.growTree()
	hash := m.auditHead
	return &command.AuditEntry{
		Index: index, Term: term, Command: raw, Result: result,
		PrevHash: prev[:], Hash: hash[:], Sequence: m.auditSeq,
	}
}
