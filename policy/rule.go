package policy

import (
	"strconv"
	"time"

	"github.com/sealedge/sealedge/policy/ident"
)

// Rule is one line of the table of a document's rules. Of the rules for an action
// the first that matches decides; when there are any and none matches, the answer
// is no. An action without rules is decided by the rest of the document alone.
// A rule never widens what the rest of the document allows: both must allow.
type Rule struct {
	ID      string // stable, unique in the document
	Action  Action
	Permit  bool // false: forbid
	Match   Match
	Require Require // of a rule that permits
	Why     string  // for people, in the reasons of refusals
}

// Action is what a rule is about.
type Action uint8

// The actions.
const (
	ActionAttach  Action = iota + 1 // a terminal attaches, on either path
	ActionHotspot                   // a device joins a terminal's hotspot
	ActionUse                       // a seal is used
)

var actionNames = [...]string{"", "attach", "hotspot", "use"}

// String is the action's name in documents.
func (a Action) String() string {
	if int(a) < len(actionNames) && a != 0 {
		return actionNames[a]
	}
	return "action " + strconv.Itoa(int(a))
}

// Match says what a rule is for: every field that is not empty must hold, by at
// least one of its values. What isn't known of a request matches no value.
type Match struct {
	IMSIs        []string
	IMSIPrefixes []string // of 5 to 14 digits
	Groups       []string // of the subscriber
	TACs         []string // first 8 digits of the handset's IMEI
	APNs         []ident.APN
	Paths        []PathKind
	PLMNs        []ident.PLMN // serving network
	RATs         []RAT
	Locations    []string // names of Rules.Locations
	Hours        *Hours   // nil: at any time

	SealTypes []string    // of the barrel; hotspot and use
	Barrels   []string    // ids; hotspot and use
	Roles     []string    // of the device; hotspot
	MACs      []ident.MAC // of the device; hotspot
}

// Hours are spans of a week in the time zone of the document.
type Hours struct {
	Days     [7]bool // by time.Weekday
	From, To int     // minutes since midnight; To may be 1440; From > To goes over midnight
	// NotBefore and NotAfter bound the days as such; zero: unbounded.
	NotBefore, NotAfter time.Time
}

// Require is what a rule that permits asks for besides. It only adds to what the
// seal type and the path ask for.
type Require struct {
	Handset        HandsetBinding // attach; 0: as Admission says
	Credentials    Credentials    // attach and use: all of them were shown
	Methods        Methods        // use: these too
	Level          int            // use: at least as strong; 0: the seal type's
	MaxCount       uint32         // use; 0: the seal type's
	MaxWindow      time.Duration  // use; 0: the seal type's
	EvidenceWithin time.Duration  // use; 0: the seal type's
}

// HandsetBinding is how a SIM is tied to a handset.
type HandsetBinding uint8

// The bindings. An announced swap is taken by all of them but HandsetAny, which
// needs none.
const (
	HandsetListed   HandsetBinding = iota + 1 // one of the subscriber's IMEIs; any when it has none
	HandsetExact                              // one of the subscriber's IMEIs; none when it has none
	HandsetPool                               // a TAC of Admission.TACs; and one of its IMEIs when it has any
	HandsetFirstUse                           // the first that it is used in becomes its only IMEI
	HandsetAny                                // any
)

// Credentials is a set of what a terminal can prove to be by.
type Credentials uint16

// The credentials. The numbers are in replicated records.
const (
	CredentialSIM          Credentials = 1 << iota // the carrier's authentication
	CredentialWireGuard                            // the key of its tunnel
	CredentialCertificate                          // the device certificate in the phone API's TLS
	CredentialPassword                             // PAP, CHAP, or account and password of the connection request
	CredentialPreSharedKey                         // of the connection request
	CredentialBarrelPSK                            // the barrel's DTLS pre-shared key
	CredentialBarrelCert                           // the barrel's DTLS certificate
)

// Location is a named set of places, as carriers tell them (TS 23.003 19.4.2.3, 19.6).
type Location struct {
	TAIs  []string // "46001-1a2b": PLMN and tracking area code in hexadecimal
	ECGIs []string // "46001-1a2b3c4": PLMN and E-UTRAN cell identity in hexadecimal
}

// HotspotDevice is a device that is no barrel and may be on hotspots.
type HotspotDevice struct {
	MAC   ident.MAC
	Role  string // e.g. "router"
	Label string
}
