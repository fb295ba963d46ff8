// Package command holds the commands that are replicated through the Raft log,
// their results, and the records of the state machine (cluster/state).
//
// The messages are defined in command.proto. Numbers are append-only and the
// bytes are golden: see testdata and TestGolden. A node that meets a command of
// a type or level that it doesn't know must stop (ErrUnknownCommand), because
// skipping it would make its state differ from the others' without a sign.
package command

//go:generate protoc --go_out=. --go_opt=paths=source_relative command.proto

import (
	"errors"
	"fmt"
	"reflect"

	"google.golang.org/protobuf/proto"
)

// Level is the highest command level that this build applies. A level is raised
// with the release that brings the first command, or the first change of what a
// command does, that the release before doesn't know; the leader lets such commands
// into the log only when every voter applies them (see LevelOf, RaiseLevel).
const Level = 2

// levels are those of the types that not every release knows: 1 for all others.
var levels = map[Type]uint32{
	Type_ASSIGN_ADDRESS: 2, Type_SURRENDER_ADDRESS: 2, Type_MOVE_ADDRESS: 2, Type_RAISE_LEVEL: 2,
	Type_SUSPEND_DEVICE: 2, Type_RESUME_DEVICE: 2, Type_PUT_DEVICES: 2, Type_RECORD_CALLS: 2,
	Type_PROPOSE_CHANGE: 2, Type_APPROVE_CHANGE: 2, Type_REJECT_CHANGE: 2, Type_REVIEW_CHANGE: 2,
	Type_PUT_TOKEN: 2, Type_REVOKE_TOKEN: 2,
	Type_PUT_SERVER_KEY: 2, Type_RETIRE_SERVER_KEY: 2, Type_LEASE_FALLBACK: 2, Type_END_FALLBACK: 2, Type_ROAM_WIREGUARD: 2,
}

// LevelOf is the level that a node needs to apply a type.
func LevelOf(t Type) uint32 { return max(1, levels[t]) }

// Errors that proposing a command can end with. They live here, below the
// packages that propose, so that each can tell them apart without importing
// the cluster.
var (
	// ErrNoQuorum: no leader was reachable in time, or the leader has lost its
	// majority; the command was certainly not carried out.
	ErrNoQuorum = errors.New("the cluster has no quorum: nothing was changed; try again when two of three nodes see each other")
	// ErrUnknownOutcome: leadership or connection was lost in between; the
	// command may be carried out yet. Ask again with the same request id.
	ErrUnknownOutcome = errors.New("the outcome is not known: repeat the request with the same request id")
	// ErrNoRoom: the disks are nearly full, so that nothing new is begun; the
	// command was not carried out.
	ErrNoRoom = errors.New("the cluster's disks are nearly full: no new sessions and no new uses until there is room; see docs/runbooks/full-disk.md")
	// ErrLevel: not every node is of a version that knows this command; it was not
	// carried out.
	ErrLevel = errors.New("some nodes run an older version that doesn't know this: it can be done when all are upgraded; see docs/runbooks/upgrade.md")
	// ErrUnknownCommand: the bytes are no command, or one of a later version.
	ErrUnknownCommand = errors.New("unknown command: this node is older than the cluster; upgrade it")
)

// payloads gives each type its message.
var payloads = map[Type]func() proto.Message{
	Type_PUT_POLICY:           func() proto.Message { return new(PutPolicy) },
	Type_PUT_SUBSCRIBER:       func() proto.Message { return new(PutSubscriber) },
	Type_REVOKE_SUBSCRIBER:    func() proto.Message { return new(RevokeSubscriber) },
	Type_PUT_BARREL:           func() proto.Message { return new(PutBarrel) },
	Type_REVOKE_BARREL:        func() proto.Message { return new(RevokeBarrel) },
	Type_CHECK_OUT:            func() proto.Message { return new(CheckOut) },
	Type_CHECK_IN:             func() proto.Message { return new(CheckIn) },
	Type_OPEN_SESSION:         func() proto.Message { return new(OpenSession) },
	Type_MODIFY_SESSION:       func() proto.Message { return new(ModifySession) },
	Type_ATTACH_WIREGUARD:     func() proto.Message { return new(AttachWireGuard) },
	Type_SELECT_PATH:          func() proto.Message { return new(SelectPath) },
	Type_CLOSE_PATH:           func() proto.Message { return new(ClosePath) },
	Type_RELEASE_PATHS:        func() proto.Message { return new(ReleasePaths) },
	Type_ACQUIRE_ADDRESS:      func() proto.Message { return new(AcquireAddress) },
	Type_BUMP_RESTART_COUNTER: func() proto.Message { return new(BumpRestartCounter) },
	Type_ASSIGN_ADDRESS:       func() proto.Message { return new(AssignAddress) },
	Type_SURRENDER_ADDRESS:    func() proto.Message { return new(SurrenderAddress) },
	Type_MOVE_ADDRESS:         func() proto.Message { return new(MoveAddress) },
	Type_RESERVE_USES:         func() proto.Message { return new(ReserveUses) },
	Type_RECORD_RECEIPT:       func() proto.Message { return new(RecordReceipt) },
	Type_RECORD_EVIDENCE:      func() proto.Message { return new(RecordEvidence) },
	Type_SETTLE_USE:           func() proto.Message { return new(SettleUse) },
	Type_DISCONNECT:           func() proto.Message { return new(Disconnect) },
	Type_ACK_LOCK:             func() proto.Message { return new(AckLock) },
	Type_SUSPEND_ORDER:        func() proto.Message { return new(SuspendOrder) },
	Type_RESUME_ORDER:         func() proto.Message { return new(ResumeOrder) },
	Type_MARK_OVERDUE:         func() proto.Message { return new(MarkOverdue) },
	Type_EXPIRE_USE:           func() proto.Message { return new(ExpireUse) },
	Type_RECORD_DECISION:      func() proto.Message { return new(RecordDecision) },
	Type_RAISE_EPOCH:          func() proto.Message { return new(RaiseEpoch) },
	Type_RECONCILE_BARREL:     func() proto.Message { return new(ReconcileBarrel) },
	Type_EXCUSE_BARREL:        func() proto.Message { return new(ExcuseBarrel) },
	Type_CLOSE_EPOCH:          func() proto.Message { return new(CloseEpoch) },
	Type_RELEASE_USE:          func() proto.Message { return new(ReleaseUse) },
	Type_CONFIRM_RELEASE:      func() proto.Message { return new(ConfirmRelease) },
	Type_RAISE_LEVEL:          func() proto.Message { return new(RaiseLevel) },
	Type_CHECKPOINT:           func() proto.Message { return new(Checkpoint) },
	Type_SUSPEND_DEVICE:       func() proto.Message { return new(SuspendDevice) },
	Type_RESUME_DEVICE:        func() proto.Message { return new(ResumeDevice) },
	Type_PUT_DEVICES:          func() proto.Message { return new(PutDevices) },
	Type_RECORD_CALLS:         func() proto.Message { return new(RecordCalls) },
	Type_PROPOSE_CHANGE:       func() proto.Message { return new(ProposeChange) },
	Type_APPROVE_CHANGE:       func() proto.Message { return new(ApproveChange) },
	Type_REJECT_CHANGE:        func() proto.Message { return new(RejectChange) },
	Type_REVIEW_CHANGE:        func() proto.Message { return new(ReviewChange) },
	Type_PUT_TOKEN:            func() proto.Message { return new(PutToken) },
	Type_REVOKE_TOKEN:         func() proto.Message { return new(RevokeToken) },
	Type_PUT_SERVER_KEY:       func() proto.Message { return new(PutServerKey) },
	Type_RETIRE_SERVER_KEY:    func() proto.Message { return new(RetireServerKey) },
	Type_LEASE_FALLBACK:       func() proto.Message { return new(LeaseFallback) },
	Type_END_FALLBACK:         func() proto.Message { return new(EndFallback) },
	Type_ROAM_WIREGUARD:       func() proto.Message { return new(RoamWireGuard) },
}

// types finds the type by the full name of its payload.
var types = func() map[reflect.Type]Type {
	m := make(map[reflect.Type]Type, len(payloads))
	for t, fresh := range payloads {
		m[reflect.TypeOf(fresh())] = t
	}
	return m
}()

// deterministic encoding makes equal records equal bytes, on every node: they
// are hashed.
var deterministic = proto.MarshalOptions{Deterministic: true}

// Marshal encodes a message deterministically.
func Marshal(m proto.Message) []byte {
	b, err := deterministic.Marshal(m)
	if err != nil {
		// Only invalid UTF-8 in a string field can do this: what came over the
		// wire was validated there, and decoding refuses it as well.
		panic(fmt.Sprintf("command: marshal %T: %v", m, err))
	}
	return b
}

// New makes the envelope of a payload. The leader stamps its time later.
func New(clientID, requestID, actor string, payload proto.Message) *Command {
	t, ok := types[reflect.TypeOf(payload)]
	if !ok {
		panic(fmt.Sprintf("command: %T is no payload", payload))
	}
	return &Command{Level: LevelOf(t), Type: t, ClientId: clientID, RequestId: requestID, Actor: actor, Payload: Marshal(payload)}
}

// UnderLevel is the level from which every node heeds Command.PolicyRevision and
// Command.AddressEpoch.
const UnderLevel = 2

// Under makes a revision of the policy a precondition of the command.
func (c *Command) Under(policyRevision uint64) *Command {
	c.PolicyRevision, c.Level = policyRevision, max(c.Level, UnderLevel)
	return c
}

// At makes the epoch of a gateway address a precondition of the command. Like Under it
// takes UnderLevel.
func (c *Command) At(gatewayAddress string, epoch uint64) *Command {
	c.GatewayAddress, c.AddressEpoch, c.Level = gatewayAddress, epoch, max(c.Level, UnderLevel)
	return c
}

// Decode reads an envelope and its payload.
func Decode(b []byte) (*Command, proto.Message, error) {
	c := new(Command)
	if err := proto.Unmarshal(b, c); err != nil {
		return nil, nil, fmt.Errorf("%w: %v", ErrUnknownCommand, err)
	}
	fresh, ok := payloads[c.Type]
	if !ok || c.Level > Level {
		return nil, nil, fmt.Errorf("%w (type %d, level %d; this build knows level %d)", ErrUnknownCommand, c.Type, c.Level, Level)
	}
	p := fresh()
	if err := proto.Unmarshal(c.Payload, p); err != nil {
		return nil, nil, fmt.Errorf("%w: payload of %s: %v", ErrUnknownCommand, c.Type, err)
	}
	return c, p, nil
}

// Into decodes a result's payload into m. It fails unless the result is OK.
func (r *Result) Into(m proto.Message) error {
	if r.GetCode() != Code_OK {
		return fmt.Errorf("%s: %s", r.GetCode(), r.GetMessage())
	}
	return proto.Unmarshal(r.GetPayload(), m)
}
