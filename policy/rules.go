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
	"slices"
	"strconv"
	"strings"
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
	// Carriers refine which peers are served. Empty: all that the node's
	// configuration allows, without further limits.
	Carriers  []Carrier
	Levels    map[int]Level
	SealTypes map[string]SealType // by name, e.g. "company"
	Servers   []Server            // the seal servers that a request may name
	// ClockTolerance is how far a terminal's clock may be from the gateway's,
	// either way.
	ClockTolerance time.Duration
	Fallback       Fallback
	// Table holds the document's rules in their order.
	Table     []Rule
	Locations map[string]Location
	Zone      *time.Location // of the hours of rules; nil: UTC
	Hotspot   []HotspotDevice
	Control   ChangeControl
	// Sources tells where the document says it: "policy.yaml:12" by the path of
	// the key ("spec.sealTypes.company.level"). It may be nil.
	Sources map[string]string

	index *index // of Table and Hotspot; nil: they are walked
}

// APN is one private network.
type APN struct {
	Name         ident.APN
	DNS          []netip.Addr
	MTU          uint16 // IPv4 link MTU for the terminal, bytes
	AMBRUpKbps   uint32 // APN aggregate maximum bit rate (TS 29.274 8.7), kbit/s
	AMBRDownKbps uint32
	// GatewayAddress and GatewayAddress6 are the gateway's own addresses inside
	// the tunnel; invalid where the APN doesn't have that family.
	GatewayAddress, GatewayAddress6 netip.Addr
	// Pools are the ranges of dynamic addresses, of both families. Of an IPv6
	// range each terminal gets a /64.
	Pools          []netip.Prefix
	Quarantine     time.Duration // from the release of an address to another subscriber's use of it
	Authentication Authentication
	IdleTimeout    time.Duration // a session without a packet ends after it; 0: never
	SessionTimeout time.Duration // any session ends after it; 0: never
}

// ServesIPv4 tells whether terminals get IPv4 addresses on the APN.
func (a APN) ServesIPv4() bool { return a.GatewayAddress.IsValid() }

// ServesIPv6 tells whether terminals get an IPv6 prefix on the APN.
func (a APN) ServesIPv6() bool { return a.GatewayAddress6.IsValid() }

// Carrier is one telecom partner: who may speak GTP for it, and about whom. What
// a peer says beyond that is dropped by the GTP firewall.
type Carrier struct {
	Name         string
	Peers        []netip.Prefix
	IMSIPrefixes []string     // of its subscribers; empty: any
	PLMNs        []ident.PLMN // serving networks that it may name; empty: any
	RATs         []RAT        // empty: any
	Versions     []uint8      // of GTP-C: 1, 2; empty: both
	// CreatesPerSecond bounds the Create requests of one peer address; 0: the
	// gateway's general limit alone.
	CreatesPerSecond uint32
}

// Serves tells whether a subscriber is one that the carrier may speak about.
func (c *Carrier) Serves(imsi string) bool {
	return len(c.IMSIPrefixes) == 0 || slices.ContainsFunc(c.IMSIPrefixes, func(p string) bool { return strings.HasPrefix(imsi, p) })
}

// Admission says what an attach must show.
type Admission struct {
	PLMNs       []ident.PLMN // serving networks allowed; empty: any
	RATs        []RAT        // radio access types allowed; empty: any
	RequireIMEI bool         // refuse a handset that doesn't tell its IMEI, even when none is bound
	Handset     HandsetBinding
	TACs        []string // of the handsets that HandsetPool takes
	// Credentials are what a terminal must have shown on a path: all of them.
	Credentials map[PathKind]Credentials
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
	Allowed        bool
	ForbidLevels   []int         // levels whose seals are not used over it
	Lifetime       time.Duration // of what a terminal that asks for the path is given to use it by
	IssuedLifetime time.Duration // of what an operator issues for a client that can't ask, at most
	Grace          time.Duration // that a path which carries nothing any more may be silent before it is released
	// PlaceAge is for how long a terminal is taken to be where its carrier told last.
	// 0: only as long as the carrier's path is there.
	PlaceAge time.Duration
}

// Knows tells whether a terminal that a carrier told the place of then, and not
// since, is taken to be there yet. The zero Time is of a place that is told now.
func (f Fallback) Knows(told, now time.Time) bool {
	return told.IsZero() || !now.IsZero() && now.Sub(told) < f.PlaceAge
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
	Groups       []string
	// AnnouncedIMEI may take the place of IMEIs before AnnouncedUntil. Empty: no
	// swap is announced.
	AnnouncedIMEI  string
	AnnouncedUntil time.Time
}

// Barrel is the view of a barrel record. The zero value is "not on the list".
type Barrel struct {
	Found        bool
	ID           string
	State        State
	SealType     string
	CheckedOutTo string // IMSI; empty: in nobody's hands
}

// CarrierOf returns the carrier that a peer belongs to: the one with the
// narrowest range that holds it. The boolean is false when there are carriers
// and none has it; with no carriers it is true and the carrier zero.
func (r *Rules) CarrierOf(peer netip.Addr) (*Carrier, bool) {
	if r == nil || len(r.Carriers) == 0 {
		return &anyCarrier, true
	}
	peer = peer.Unmap() // as a socket of both families names an IPv4 peer
	var found *Carrier
	bits := -1
	for i := range r.Carriers {
		for _, p := range r.Carriers[i].Peers {
			if p.Bits() > bits && p.Contains(peer) {
				found, bits = &r.Carriers[i], p.Bits()
			}
		}
	}
	return found, found != nil
}

// anyCarrier has no limits. Nobody writes to it.
var anyCarrier Carrier
