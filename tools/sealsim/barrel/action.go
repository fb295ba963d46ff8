package barrel

import (
	"errors"

	"github.com/sealedge/sealedge/edge/wire"
)

// Action is what the device does for the machine. Actions are carried out in
// order; when one fails, those after it must not happen.
type Action interface{ action() }

// Persist makes the state durable before any later action.
type Persist struct{ State State }

// Latch opens or closes the lock on the seal.
type Latch struct{ Open bool }

// Stamp lets the seal come down once.
type Stamp struct{ Number uint32 }

// Say speaks a prompt.
type Say struct{ Text string }

// AckLocks tells the gateway that locks from a heartbeat were carried out.
type AckLocks struct{ IDs []uint64 }

func (Persist) action()  {}
func (Latch) action()    {}
func (Stamp) action()    {}
func (Say) action()      {}
func (AckLocks) action() {}

// Codes of a RefusedError.
const (
	CodeGrantInvalid  wire.Code = "grant-invalid"
	CodeOtherBarrel   wire.Code = "grant-other-barrel"
	CodeReplayed      wire.Code = "grant-replayed"
	CodeExpired       wire.Code = "grant-expired"
	CodeNotYetValid   wire.Code = "grant-not-yet-valid"
	CodeVoid          wire.Code = "grant-void"
	CodeMethodUnknown wire.Code = "method-unknown"
	CodeSealType      wire.Code = "seal-type-mismatch"
	CodeUserMismatch  wire.Code = "user-mismatch"
	CodeNoLease       wire.Code = "no-lease"
	CodeBusy          wire.Code = "barrel-busy"
	CodeTampered      wire.Code = "barrel-tampered"
)

// RefusedError is a grant that the barrel doesn't obey.
type RefusedError struct {
	Code   wire.Code
	Detail string
}

func (e *RefusedError) Error() string { return string(e.Code) + ": " + e.Detail }

// What people do in vain.
var (
	ErrLocked        = errors.New("the seal is locked")
	ErrNotAsked      = errors.New("the barrel doesn't ask for that now")
	ErrNotRecognised = errors.New("not recognised")
)
