package adminapi

// States of a member.
const (
	MemberVotes   = "voter"
	MemberJoins   = "joining" // it gets a vote by itself when it caught up
	MemberWaiting = "waiting" // it is up in the place of a voter of its name, which must be removed first
)

// Member is a node of the cluster. A node that lost its disk comes back as
// another member of its name.
type Member struct {
	ID      string `json:"id"` // of its data directory
	Name    string `json:"name"`
	Address string `json:"address"` // empty: the node asked has none configured
	State   string `json:"state"`
	Leader  bool   `json:"leader"`
	Answers bool   `json:"answers"` // the leader hears of it; true on no other node
	Drained bool   `json:"drained"` // it takes no gateway address and no leadership, as far as the node asked has heard
}

// Removed names the member that was removed.
type Removed struct {
	ID string `json:"id"`
}

// Drain asks a node to give its gateway addresses and the leadership to others before it
// is stopped, and to take none back, or undoes that.
type Drain struct {
	Undo   bool   `json:"undo,omitempty"`
	Reason string `json:"reason"`
}
