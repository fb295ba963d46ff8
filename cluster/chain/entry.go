// Package chain reads the audit chain for people: what an entry says in words, whom
// and what it is about, and which entries answer a question. What it says is drawn
// from the bytes that the chain's hashes cover (see state.AuditHash) and from
// nothing else.
package chain

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// Entry is a link of the chain with its bytes decoded.
type Entry struct {
	Sequence uint64
	Command  *command.Command
	Payload  proto.Message
	Result   *command.Result
	// Record is what the result carries, see each command; nil if it carries nothing,
	// as when the command was refused.
	Record proto.Message
}

// records are what the results of commands carry; nil: nothing.
var records = map[command.Type]func() proto.Message{
	command.Type_PUT_POLICY:           func() proto.Message { return new(command.Policy) },
	command.Type_PUT_SUBSCRIBER:       func() proto.Message { return new(command.Subscriber) },
	command.Type_REVOKE_SUBSCRIBER:    func() proto.Message { return new(command.Revocation) },
	command.Type_PUT_BARREL:           func() proto.Message { return new(command.Barrel) },
	command.Type_REVOKE_BARREL:        func() proto.Message { return new(command.Revocation) },
	command.Type_CHECK_OUT:            func() proto.Message { return new(command.Barrel) },
	command.Type_CHECK_IN:             func() proto.Message { return new(command.Barrel) },
	command.Type_SUSPEND_DEVICE:       func() proto.Message { return new(command.Revocation) },
	command.Type_RESUME_DEVICE:        nil,
	command.Type_OPEN_SESSION:         func() proto.Message { return new(command.Opened) },
	command.Type_MODIFY_SESSION:       func() proto.Message { return new(command.Session) },
	command.Type_ATTACH_WIREGUARD:     func() proto.Message { return new(command.Opened) },
	command.Type_SELECT_PATH:          func() proto.Message { return new(command.Session) },
	command.Type_CLOSE_PATH:           func() proto.Message { return new(command.Closed) },
	command.Type_RELEASE_PATHS:        func() proto.Message { return new(command.Released) },
	command.Type_PUT_DEVICES:          func() proto.Message { return new(command.DevicesPut) },
	command.Type_ACQUIRE_ADDRESS:      func() proto.Message { return new(command.GatewayAddress) },
	command.Type_BUMP_RESTART_COUNTER: func() proto.Message { return new(command.GatewayAddress) },
	command.Type_ASSIGN_ADDRESS:       func() proto.Message { return new(command.GatewayAddress) },
	command.Type_SURRENDER_ADDRESS:    func() proto.Message { return new(command.GatewayAddress) },
	command.Type_MOVE_ADDRESS:         func() proto.Message { return new(command.GatewayAddress) },
	command.Type_RESERVE_USES:         func() proto.Message { return new(command.Use) },
	command.Type_RECORD_RECEIPT:       func() proto.Message { return new(command.Use) },
	command.Type_RECORD_EVIDENCE:      func() proto.Message { return new(command.Use) },
	command.Type_SETTLE_USE:           func() proto.Message { return new(command.Use) },
	command.Type_DISCONNECT:           func() proto.Message { return new(command.Lock) },
	command.Type_ACK_LOCK:             func() proto.Message { return new(command.Lock) },
	command.Type_SUSPEND_ORDER:        func() proto.Message { return new(command.Order) },
	command.Type_RESUME_ORDER:         func() proto.Message { return new(command.Order) },
	command.Type_MARK_OVERDUE:         func() proto.Message { return new(command.Order) },
	command.Type_EXPIRE_USE:           func() proto.Message { return new(command.Use) },
	command.Type_RECORD_DECISION:      nil,
	command.Type_RELEASE_USE:          func() proto.Message { return new(command.Use) },
	command.Type_CONFIRM_RELEASE:      func() proto.Message { return new(command.Use) },
	command.Type_RECORD_CALLS:         nil,
	command.Type_CHECKPOINT:           nil,
	command.Type_RAISE_LEVEL:          nil,
	command.Type_RAISE_EPOCH:          func() proto.Message { return new(command.Epoch) },
	command.Type_RECONCILE_BARREL:     func() proto.Message { return new(command.Use) },
	command.Type_EXCUSE_BARREL:        func() proto.Message { return new(command.Barrel) },
	command.Type_CLOSE_EPOCH:          func() proto.Message { return new(command.Epoch) },
	command.Type_PROPOSE_CHANGE:       func() proto.Message { return new(command.Change) },
	command.Type_APPROVE_CHANGE:       func() proto.Message { return new(command.Change) },
	command.Type_REJECT_CHANGE:        func() proto.Message { return new(command.Change) },
	command.Type_REVIEW_CHANGE:        func() proto.Message { return new(command.Change) },
	command.Type_PUT_TOKEN:            func() proto.Message { return new(command.Token) },
	command.Type_REVOKE_TOKEN:         func() proto.Message { return new(command.Token) },
	command.Type_PUT_SERVER_KEY:       func() proto.Message { return new(command.ServerKey) },
	command.Type_RETIRE_SERVER_KEY:    func() proto.Message { return new(command.ServerKey) },
	command.Type_LEASE_FALLBACK:       func() proto.Message { return new(command.FallbackLease) },
	command.Type_END_FALLBACK:         func() proto.Message { return new(command.FallbackLease) },
	command.Type_ROAM_WIREGUARD:       func() proto.Message { return new(command.Session) },
}

// Read decodes a link. It does not verify it.
func Read(e *command.AuditEntry) (*Entry, error) {
	c, payload, err := command.Decode(e.GetCommand())
	if err != nil {
		return nil, fmt.Errorf("audit entry %d: %w", e.GetSequence(), err)
	}
	r := new(command.Result)
	if err := proto.Unmarshal(e.GetResult(), r); err != nil {
		return nil, fmt.Errorf("audit entry %d: result: %w", e.GetSequence(), err)
	}
	out := &Entry{Sequence: e.GetSequence(), Command: c, Payload: payload, Result: r}
	if fresh := records[c.Type]; fresh != nil && r.Code == command.Code_OK {
		out.Record = fresh()
		if err := proto.Unmarshal(r.Payload, out.Record); err != nil {
			return nil, fmt.Errorf("audit entry %d: record: %w", e.GetSequence(), err)
		}
	}
	return out, nil
}

// Time is when the entry was put into the log, by the leader's stamp.
func (e *Entry) Time() time.Time { return at(e.Command.GetLeaderTime()) }

func at(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// Refused tells whether the command was not carried out.
func (e *Entry) Refused() bool { return e.Result.GetCode() != command.Code_OK }

// person takes the name out of how operators and users stand in the chain, such as
// "operator:li". ok is false for all other actors: nodes, phones, barrels, peers.
func person(actor string) (name string, ok bool) {
	for _, kind := range []string{"operator:", "user:"} {
		if name, ok = strings.CutPrefix(actor, kind); ok {
			return name, true
		}
	}
	return "", false
}
