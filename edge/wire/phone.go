package wire

import "time"

// LoginRequest asks for a token. The seal server checks it; the gateway passes
// it through and never keeps or logs it.
type LoginRequest struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// LoginAnswer carries the bearer token for the calls that act for the user.
type LoginAnswer struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	Name    string    `json:"name"` // what people call the user
}

// Order is a work order as its user sees it.
type Order struct {
	Number         string    `json:"number"`
	Applicant      string    `json:"applicant"`
	Department     string    `json:"department,omitempty"`
	Reason         string    `json:"reason,omitempty"`
	SealType       string    `json:"seal_type"`
	Level          uint32    `json:"level"`
	Count          uint32    `json:"count"` // stampings permitted in all
	Used           uint32    `json:"used"`  // of them done, as far as the seal server knows
	NotBefore      time.Time `json:"not_before"`
	NotAfter       time.Time `json:"not_after"`
	DocumentName   string    `json:"document_name,omitempty"`
	DocumentDigest []byte    `json:"document_digest,omitempty"` // SHA-256
}

// OrderList is the answer of GET /v1/orders.
type OrderList struct {
	Orders []Order `json:"orders"`
}

// Events of an Association.
const (
	EventJoin  = "join"
	EventLeave = "leave"
)

// Association reports that a device joined or left the terminal's hotspot.
type Association struct {
	MAC      string `json:"mac"`
	Event    string `json:"event"` // EventJoin or EventLeave
	Hostname string `json:"hostname,omitempty"`
}

// Reason is one rule that was evaluated for a decision.
type Reason struct {
	Rule string `json:"rule"`
	OK   bool   `json:"ok"`
	Text string `json:"text"`
}

// AssociationAnswer says whether the device may stay. A refusal comes as a
// Problem with the code CodeMACNotAllowed, and the terminal drops the device.
type AssociationAnswer struct {
	Allowed bool     `json:"allowed"`
	Barrel  string   `json:"barrel,omitempty"` // whose MAC it is
	Reasons []Reason `json:"reasons,omitempty"`
}

// AllowList is the answer of GET /v1/hotspot/allow-list.
type AllowList struct {
	Version uint64    `json:"version"` // as in List
	Expires time.Time `json:"expires"` // as in List
	List    []byte    `json:"list"`    // COSE_Sign1, see edge/grant
}

// UseRequest asks for the use of a seal. The request id (1 to 64 letters,
// digits, dashes or underscores) is the terminal's: the same id is carried out
// once, and repeating the request gives the same grant again.
type UseRequest struct {
	RequestID       string    `json:"request_id"`
	TerminalAddress string    `json:"terminal_address"` // the inner address that the terminal believes to have
	ServerAddress   string    `json:"server_address"`   // of the seal server that the order is on
	Time            time.Time `json:"time"`             // the terminal's clock
	Order           string    `json:"order"`
	Barrel          string    `json:"barrel"`
	Count           uint32    `json:"count,omitempty"` // stampings wanted; 0: as many as the order has left

	// What the terminal shows besides, where policy asks for it: the account and
	// password of its record, and a KeyProof. A password is never kept or logged.
	Account  string `json:"account,omitempty"`
	Password string `json:"password,omitempty"`
	KeyProof []byte `json:"key_proof,omitempty"`
}

// UseAnswer is a granted use (201).
type UseAnswer struct {
	Use             uint64    `json:"use"`
	Grant           []byte    `json:"grant"` // COSE_Sign1, see edge/grant
	Order           string    `json:"order"`
	Barrel          string    `json:"barrel"`
	Methods         []string  `json:"methods"`
	Count           uint32    `json:"count"`
	Level           uint32    `json:"level"`
	SealType        string    `json:"seal_type"`
	NotAfter        time.Time `json:"not_after"`
	EvidenceSeconds uint32    `json:"evidence_seconds"`
	Counter         uint64    `json:"counter"`
	DocumentDigest  []byte    `json:"document_digest,omitempty"`
}

// UseCheck is what a request would be granted now. Nothing is reserved by it, and
// nothing is promised.
type UseCheck struct {
	Order    string    `json:"order"`
	Barrel   string    `json:"barrel"`
	Methods  []string  `json:"methods"`
	Count    uint32    `json:"count"`
	Level    uint32    `json:"level"`
	SealType string    `json:"seal_type"`
	NotAfter time.Time `json:"not_after"` // of the grant
}

// States of a use.
const (
	UseReserved = "reserved" // granted; the outcome is not wholly known
	UseStopped  = "stopped"  // disconnected; the barrel's count is awaited
	UseSettled  = "settled"
)

// UseStatus is what became of a use so far.
type UseStatus struct {
	Use       uint64        `json:"use"`
	Order     string        `json:"order"`
	Barrel    string        `json:"barrel"`
	State     string        `json:"state"`
	Reason    string        `json:"reason,omitempty"` // why stopped
	Count     uint32        `json:"count"`
	Confirmed uint32        `json:"confirmed"`
	Refunded  uint32        `json:"refunded"`
	NotAfter  time.Time     `json:"not_after"`
	Stamps    []StampStatus `json:"stamps"`
}

// StampStatus is one stamping of a use.
type StampStatus struct {
	Number         uint32    `json:"number"`
	Recorded       time.Time `json:"recorded"`
	EvidenceDue    time.Time `json:"evidence_due,omitzero"`
	EvidenceDigest []byte    `json:"evidence_digest,omitempty"` // SHA-256, once stored
	EvidenceSize   uint64    `json:"evidence_size,omitempty"`
	Overdue        bool      `json:"overdue,omitempty"`
}

// ReceiptReport carries a barrel's receipt by way of the terminal. Sending one
// twice does no harm.
type ReceiptReport struct {
	Receipt []byte `json:"receipt"` // COSE_Sign1
}

// SettlementReport carries a barrel's settlement statement by way of the
// terminal.
type SettlementReport struct {
	Statement []byte `json:"statement"` // COSE_Sign1
}

// EventLock names the server-sent event that carries a LockEvent.
const EventLock = "lock"

// LockEvent tells the terminal to leave the barrel: it is sent again until
// acknowledged at LockAckPath.
type LockEvent struct {
	Lock    uint64    `json:"lock"` // 0: not in the cluster's log yet; lock all the same, it comes again with its number
	Barrel  string    `json:"barrel"`
	Use     uint64    `json:"use,omitempty"`
	Order   string    `json:"order,omitempty"`
	Reason  string    `json:"reason"`
	Created time.Time `json:"created"`
}

// Status is the answer of GET /v1/status.
type Status struct {
	Time           time.Time      `json:"time"`
	Terminal       string         `json:"terminal"` // its inner address
	APN            string         `json:"apn"`
	PolicyRevision uint64         `json:"policy_revision"`
	Barrels        []BarrelOnline `json:"barrels"` // checked out with this terminal
}

// BarrelOnline is a barrel that is checked out with the terminal.
type BarrelOnline struct {
	Barrel string `json:"barrel"`
	Alive  bool   `json:"alive"` // its heartbeats arrive
}
