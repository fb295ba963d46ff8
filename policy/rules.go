// Package policy decides, purely, what the gateway lets through: which SIM in
// which handset may attach (Admit), which device may join a terminal's hotspot
// (AllowHotspot), and which seal may be used when, how often and after which
// verification (ScreenUse, PermitUse).
//
// Every decision judges every rule, so that a refusal names all that is wrong
// at once, and it denies whatever it does not know: an unknown state, seal
// type, level, method or path is a refusal, and so are Rules that are absent.
// Deciding neither reads a clock nor allocates while the answer is yes; the
// words of the reasons are made only when something was refused or asked for.
//
// The package knows nothing of the cluster's records. Callers fill the small
// views (Subscriber, Barrel, Ledger, Answer) out of them.
package policy

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/sealedge/sealedge/policy/ident"
)

// Rules are one compiled revision of the policy. They are made by
// policy/bundle, never changed afterwards, and safe for any number of readers.
// A nil *Rules refuses everything with CodeNoPolicy.
type Rules struct {
	Revision  uint64 // of the policy in force; what a command names as its precondition
	APNs      map[ident.APN]APN
	Admission Admission
	Levels    map[int]Level
	SealTypes map[string]SealType // by name, e.g. "company"
	Servers   []Server            // the seal servers that a request may name
	// ClockTolerance is how far a terminal's clock may be from the gateway's,
	// either way.
	ClockTolerance time.Duration
	Fallback       Fallback
	// Sources tells where the document says it: "policy.yaml:12" by the path of
	// the key ("spec.sealTypes.company.level"). It may be nil.
	Sources map[string]string
}

// APN is one private network.
type APN struct {
	Name           ident.APN
	DNS            []netip.Addr
	MTU            uint16 // IPv4 link MTU for the terminal, bytes
	AMBRUpKbps     uint32 // APN aggregate maximum bit rate (TS 29.274 8.7), kbit/s
	AMBRDownKbps   uint32
	GatewayAddress netip.Addr     // the gateway's own address inside the tunnel
	Pools          []netip.Prefix // of dynamic addresses
}

// Admission says what an attach must show.
type Admission struct {
	PLMNs       []ident.PLMN // serving networks allowed; empty: any
	RATs        []RAT        // radio access types allowed; empty: any
	RequireIMEI bool         // refuse a handset that doesn't tell its IMEI, even when none is bound
}

// Level is what a barrel must verify before it unlocks. The lower its number,
// the stronger.
type Level struct {
	Methods Methods
}

// SealType holds what policy allows for one kind of seal.
type SealType struct {
	Level           int           // the weakest level that will do
	MaxCount        uint32        // stampings that one order may permit, at most
	MaxWindow       time.Duration // how long an order's window may be, at most
	GrantLifetime   time.Duration // how long a grant is good for, at most
	EvidenceSeconds uint32        // time for the image of a stamping to arrive
}

// Fallback says what the WireGuard path may be used for.
type Fallback struct {
	Allowed      bool
	ForbidLevels []int // levels whose seals are not used over it
}

// Terms are what an allowed use is granted with.
type Terms struct {
	SealType        string
	Level           int
	Methods         []string // in the order of Methods.Names
	Count           uint32   // all that the order has left
	NotAfter        time.Time
	EvidenceSeconds uint32
}

// APN returns the configuration of an access point name.
func (r *Rules) APN(name ident.APN) (APN, bool) {
	if r == nil {
		return APN{}, false
	}
	a, ok := r.APNs[name]
	return a, ok
}

// PathKind is how a terminal reaches the gateway. The numbers are those of the
// replicated records.
type PathKind uint8

// The paths. Any other value is refused.
const (
	PathGTP       PathKind = 1 // through the carrier
	PathWireGuard PathKind = 2 // the fallback
)

// String names the path for people.
func (p PathKind) String() string {
	switch p {
	case PathGTP:
		return "carrier"
	case PathWireGuard:
		return "fallback"
	}
	return "unknown path " + strconv.Itoa(int(p))
}

// State is the state of a device or an order. The numbers are those of the
// replicated records' DeviceState and OrderState.
type State uint8

// The states. StateRevoked of a device is for ever; of an order it means ended.
const (
	StateActive    State = 1
	StateSuspended State = 2
	StateRevoked   State = 3
)

// String names the state for people.
func (s State) String() string {
	switch s {
	case StateActive:
		return "active"
	case StateSuspended:
		return "suspended"
	case StateRevoked:
		return "revoked"
	}
	return "in unknown state " + strconv.Itoa(int(s))
}

// Subscriber is the view of a subscriber record. The texts are in the
// canonical form of their ident types. The zero value is "not on the list".
type Subscriber struct {
	Found        bool
	IMSI         string
	MSISDN       string   // empty: not bound
	IMEIs        []string // empty: any handset
	APNs         []string
	State        State
	HasWireGuard bool // a WireGuard key is bound
}

// Barrel is the view of a barrel record. The zero value is "not on the list".
type Barrel struct {
	Found        bool
	ID           string
	State        State
	SealType     string
	CheckedOutTo string // IMSI; empty: in nobody's hands
}
