package adminapi

import (
	"encoding/hex"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
)

// Order is the ledger's account of a work order.
type Order struct {
	Number    string    `json:"number"`
	State     string    `json:"state"` // "open", "suspended" or "ended"
	Permitted uint32    `json:"permitted"`
	Reserved  uint32    `json:"reserved"`
	Confirmed uint32    `json:"confirmed"`
	Left      uint32    `json:"left"`
	Excess    uint64    `json:"excess"` // stampings beyond what is permitted, that barrels signed for
	SealType  string    `json:"seal_type"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Reason    string    `json:"reason,omitempty"`
}

// OrderOf shows an order record.
func OrderOf(o *command.Order) Order {
	v := Order{
		Number: o.Number, Permitted: o.Permitted, Reserved: o.Reserved, Confirmed: o.Confirmed,
		Excess: o.Excess, SealType: o.SealType, NotBefore: timeOf(o.NotBefore), NotAfter: timeOf(o.NotAfter), Reason: o.Reason,
	}
	switch o.State {
	case command.OrderState_OPEN:
		v.State = "open"
	case command.OrderState_SUSPENDED_ORDER:
		v.State = "suspended"
	case command.OrderState_ENDED_ORDER:
		v.State = "ended"
	}
	if taken := o.Reserved + o.Confirmed; taken < o.Permitted {
		v.Left = o.Permitted - taken
	}
	return v
}

// Use is one granted use of a seal.
type Use struct {
	ID           uint64    `json:"id"`
	Order        string    `json:"order"`
	Barrel       string    `json:"barrel"`
	IMSI         string    `json:"imsi"`
	User         string    `json:"user"`
	SealType     string    `json:"seal_type"`
	Level        uint32    `json:"level"`
	Methods      []string  `json:"methods"`
	Count        uint32    `json:"count"`
	Confirmed    uint32    `json:"confirmed"`
	Refunded     uint32    `json:"refunded"`
	State        string    `json:"state"` // "reserved", "stopped" or "settled"
	Reason       string    `json:"reason,omitempty"`
	GrantCounter uint64    `json:"grant_counter"`
	ReservedAt   time.Time `json:"reserved_at"`
	NotAfter     time.Time `json:"not_after"`
	Stamps       []Stamp   `json:"stamps"`
	Release      *Release  `json:"release,omitempty"`
}

// Stamp is one stamping within a use.
type Stamp struct {
	Number         uint32    `json:"number"`
	Recorded       time.Time `json:"recorded"`
	EvidenceSHA256 string    `json:"evidence_sha256,omitempty"`
	EvidenceSize   uint64    `json:"evidence_size,omitempty"`
	EvidenceDue    time.Time `json:"evidence_due"`
	Overdue        bool      `json:"overdue,omitempty"`
}

// UseOf shows a use record.
func UseOf(u *command.Use) Use {
	v := Use{
		ID: u.Id, Order: u.Order, Barrel: u.Barrel, IMSI: u.Imsi, User: u.User, SealType: u.SealType,
		Level: u.Level, Methods: append([]string{}, u.Methods...), Count: u.Count, Confirmed: u.Confirmed, Refunded: u.Refunded,
		Reason: u.Reason, GrantCounter: u.GrantCounter, ReservedAt: timeOf(u.ReservedAt),
		NotAfter: timeOf(u.NotAfter), Stamps: []Stamp{}, Release: releaseOf(u.Release),
	}
	switch u.State {
	case command.UseState_RESERVED:
		v.State = "reserved"
	case command.UseState_STOPPED:
		v.State = "stopped"
	case command.UseState_SETTLED:
		v.State = "settled"
	}
	for _, s := range u.Stamps {
		v.Stamps = append(v.Stamps, Stamp{
			Number: s.Number, Recorded: timeOf(s.Recorded), EvidenceSHA256: hex.EncodeToString(s.EvidenceDigest),
			EvidenceSize: s.EvidenceSize, EvidenceDue: timeOf(s.EvidenceDue), Overdue: s.Overdue,
		})
	}
	return v
}

// Status is a node's view of the cluster.
type Status struct {
	Node      string   `json:"node"`
	Leader    string   `json:"leader"` // empty: none known
	IsLeader  bool     `json:"is_leader"`
	Term      uint64   `json:"term"`
	Applied   uint64   `json:"applied"`
	Clock     int64    `json:"clock_ahead_ms"`
	Peers     []string `json:"peers"`
	Version   string   `json:"version"`
	Holder    string   `json:"holder"` // of the gateway address
	Epoch     uint64   `json:"epoch"`  // of that holding
	Policy    uint64   `json:"policy_revision"`
	AuditSeq  uint64   `json:"audit_sequence"`
	AuditHead string   `json:"audit_head"`        // hexadecimal
	AuditTree uint64   `json:"audit_tree_first"`  // as in AuditHead
	AuditRoot string   `json:"audit_root"`        // hexadecimal; empty: there is no tree yet
	Level     uint32   `json:"level"`             // of the commands that may be in the log
	Applies   uint32   `json:"applies_level"`     // the highest that this node applies
	DiskUsed  int      `json:"disk_used_percent"` // of the data directory's file system; -1: not known
	Admits    bool     `json:"admits"`            // new sessions and uses; false: the disks are nearly full

	// Change control: changes that wait, and glass that was broken and not reviewed.
	ChangesPending int `json:"changes_pending"`
	GlassBroken    int `json:"glass_broken"`
	ReviewsOverdue int `json:"reviews_overdue"`

	Addresses []GatewayAddress `json:"addresses"` // the first is what Holder and Epoch are of
}

// GatewayAddress is one address of the cluster and who holds it.
type GatewayAddress struct {
	Name     string `json:"name"`
	Address  string `json:"address"`
	Holder   string `json:"holder"` // empty: nobody
	Epoch    uint64 `json:"epoch"`
	MovingTo string `json:"moving_to,omitempty"`
	Home     string `json:"home,omitempty"` // the node that it is to be on
}

// MoveAddress is the body of a request that moves a gateway address.
type MoveAddress struct {
	// To is the node that the address is to be on for as long as that lives; empty:
	// where the cluster puts it.
	To     string `json:"to"`
	Reason string `json:"reason"`
}

// Policy is a revision of the policy document.
type Policy struct {
	Revision uint64 `json:"revision"`
	SHA256   string `json:"sha256"`
	Document string `json:"document"`
	// BaseRevision is in requests only: the revision that the change was made on.
	BaseRevision uint64 `json:"base_revision,omitempty"`
}

// Reason is the body of a request that stops, locks or revokes something.
type Reason struct {
	Reason string `json:"reason"`
}

// CheckOut is the body of a request that hands a barrel to a terminal.
type CheckOut struct {
	IMSI string `json:"imsi"`
}

func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
