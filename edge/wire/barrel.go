package wire

// CoAP content formats (IANA CoAP Content-Formats) of the barrel's APIs.
const (
	ContentCBOR    = 60  // application/cbor
	ContentCOSE    = 18  // application/cose; cose-type="cose-sign1"
	ContentProblem = 257 // application/concise-problem-details+cbor, RFC 9290
)

// Ways in which a barrel verifies its user.
const (
	MethodFingerprint = "fingerprint"
	MethodFace        = "face"
)

// States of a barrel.
const (
	BarrelIdle      = "idle"      // locked, waiting for a grant
	BarrelVerifying = "verifying" // a grant was accepted; asks for finger and face
	BarrelUnlocked  = "unlocked"
	BarrelTampered  = "tampered" // locked until it is serviced
)

// Heartbeat is POST /hb of the barrel: it renews the lease without which the
// barrel locks itself.
type Heartbeat struct {
	State    string `cbor:"1,keyasint"`
	Locked   bool   `cbor:"2,keyasint"`
	Battery  uint8  `cbor:"3,keyasint"` // per cent
	Counter  uint64 `cbor:"4,keyasint"` // of the highest grant ever accepted
	Use      uint64 `cbor:"5,keyasint"` // under way; 0: none
	Lifetime uint64 `cbor:"6,keyasint"` // stampings ever
	Stamped  uint32 `cbor:"7,keyasint"` // of the use under way
	Boots    uint32 `cbor:"8,keyasint"`
	Firmware string `cbor:"9,keyasint,omitempty"`
}

// HeartbeatAnswer renews the lease (2.04).
type HeartbeatAnswer struct {
	LeaseMillis uint32      `cbor:"1,keyasint"` // from when the heartbeat was sent
	Time        int64       `cbor:"2,keyasint"` // the gateway's clock, ms of Unix time
	Locks       []LockOrder `cbor:"3,keyasint,omitempty"`
}

// LockOrder is PUT /lock of the gateway, and part of a HeartbeatAnswer. The
// barrel answers the PUT with 2.04 once it is locked; a lock from a heartbeat
// is acknowledged by LockAck.
//
// A lock of a use voids its grant. A barrel that has not accepted a grant with
// that counter or a higher one takes the counter as used and settles the use
// with no stampings, so that what never began can be given back.
type LockOrder struct {
	ID      uint64 `cbor:"1,keyasint"`
	Use     uint64 `cbor:"2,keyasint"` // 0: the barrel as such
	Reason  string `cbor:"3,keyasint"`
	Order   string `cbor:"4,keyasint,omitempty"` // of the use
	Counter uint64 `cbor:"5,keyasint,omitempty"` // of the use's grant
}

// LockAck is POST /lock of the barrel: it has carried out these locks.
type LockAck struct {
	IDs []uint64 `cbor:"1,keyasint"`
}

// ReceiptAnswer acknowledges a receipt (POST /receipt) or a settlement
// statement (POST /settle): it is in the ledger, and the barrel may forget it.
type ReceiptAnswer struct {
	Use       uint64 `cbor:"1,keyasint"`
	Confirmed uint32 `cbor:"2,keyasint"`
	Settled   bool   `cbor:"3,keyasint"`
}

// Kinds of BarrelEvent.
const (
	EventTamper     = "tamper"
	EventLowBattery = "low-battery"
	EventReboot     = "reboot"
	EventRefused    = "grant-refused" // a grant that the barrel did not accept
	EventVerifyFail = "verification-failed"
	EventLeaseLost  = "lease-lost"
)

// BarrelEvent is POST /event of the barrel (2.04).
type BarrelEvent struct {
	Kind     string `cbor:"1,keyasint"`
	Detail   string `cbor:"2,keyasint,omitempty"`
	At       int64  `cbor:"3,keyasint"` // the barrel's clock, ms of Unix time
	Sequence uint64 `cbor:"4,keyasint"` // the barrel's, so that a repeat is known
	Use      uint64 `cbor:"5,keyasint,omitempty"`
}

// BarrelStatus is GET /status, to the gateway and to the terminal.
type BarrelStatus struct {
	Barrel   string   `cbor:"1,keyasint"`
	State    string   `cbor:"2,keyasint"`
	Locked   bool     `cbor:"3,keyasint"`
	Battery  uint8    `cbor:"4,keyasint"` // per cent
	Counter  uint64   `cbor:"5,keyasint"`
	Use      uint64   `cbor:"6,keyasint"` // under way; 0: none
	Count    uint32   `cbor:"7,keyasint"` // stampings granted in it
	Stamped  uint32   `cbor:"8,keyasint"` // of them done
	Lifetime uint64   `cbor:"9,keyasint"`
	Prompt   string   `cbor:"10,keyasint,omitempty"` // what the voice last said
	Awaiting []string `cbor:"11,keyasint,omitempty"` // methods yet to be passed
	LeaseMs  int64    `cbor:"12,keyasint"`           // left of the lease; 0: none
}

// UnlockRequest is POST /unlock of the terminal: the grant and the use's
// parameters, which the barrel takes from the grant and speaks from here.
type UnlockRequest struct {
	Grant []byte `cbor:"1,keyasint"`
	User  string `cbor:"2,keyasint"`           // whose finger and face to ask for
	Title string `cbor:"3,keyasint,omitempty"` // of the order, for the voice
}

// UnlockAnswer says that the grant was accepted (2.01); the verification
// follows.
type UnlockAnswer struct {
	Use     uint64   `cbor:"1,keyasint"`
	Count   uint32   `cbor:"2,keyasint"`
	Methods []string `cbor:"3,keyasint"` // that the barrel asks for now
}

// LocalReceipts is GET /receipts?use=<id>: what the barrel signed for a use and
// still keeps.
type LocalReceipts struct {
	Use       uint64   `cbor:"1,keyasint"`
	Receipts  [][]byte `cbor:"2,keyasint"`           // COSE_Sign1 each, by number
	Statement []byte   `cbor:"3,keyasint,omitempty"` // the settlement statement, once there is one
}

// LocalLock is POST /lock of the terminal: it locks the barrel at once and ends
// the use (2.04 with a BarrelStatus).
type LocalLock struct {
	Reason string `cbor:"1,keyasint"`
}

// ConciseProblem is RFC 9290's problem in CoAP answers: Title is the stable
// Code, Detail says why and what to do.
type ConciseProblem struct {
	Title  Code   `cbor:"-1,keyasint"`
	Detail string `cbor:"-2,keyasint,omitempty"`
}
