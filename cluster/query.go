package cluster

import (
	"time"

	"github.com/hashicorp/raft"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// View calls fn with this node's copy of the state while nothing is applied. fn
// must be quick, must not call the node, and may keep only records, which never
// change.
func (n *Node) View(fn func(*state.Machine)) {
	n.machineMu.RLock()
	defer n.machineMu.RUnlock()
	fn(n.machine)
}

// Clone returns a copy of this node's state, to be looked at for longer than View
// may take, or to try something on. It is the caller's.
func (n *Node) Clone() *state.Machine {
	n.machineMu.Lock() // cloning keeps readers out, for a moment
	defer n.machineMu.Unlock()
	return n.machine.Clone()
}

// Changed returns a channel that is closed when this node next applies a command
// or takes over a snapshot. Take it before looking, so as to miss nothing:
//
//	for {
//		changed := node.Changed()
//		node.View(look)
//		<-changed
//	}
func (n *Node) Changed() <-chan struct{} { return n.position.changed.next() }

// Leadership returns a new channel that tells whether this node leads, beginning
// with how things stand. It holds one value: a reader that is slow sees the
// latest only, so true after true means that leadership was lost in between.
func (n *Node) Leadership() <-chan bool { return n.leading.subscribe() }

// IsLeader tells whether this node takes itself for the leader. Another node may
// know better; see Holds.
func (n *Node) IsLeader() bool { return n.raft.State() == raft.Leader }

// Leader returns the name and address of the leader as far as this node knows, or
// empty strings.
func (n *Node) Leader() (name, address string) {
	_, id := n.raft.LeaderWithID()
	p, _ := n.cfg.peer(memberName(id))
	return memberName(id), p.Address
}

// Holds tells whether this node may act as the cluster at this moment: it leads,
// a majority acknowledged messages that it sent within the lease, and it isn't
// stepping down. It is cheap enough to ask for every batch of packets.
func (n *Node) Holds() bool {
	return n.holdsIn(n.raft.CurrentTerm())
}

// holdsIn tells whether Holds is true of a term.
func (n *Node) holdsIn(term uint64) bool {
	if n.yielding.Load() > 0 || n.raft.State() != raft.Leader {
		return false
	}
	return n.raft.CurrentTerm() == term && !n.late.in(term) && n.lease.held(term)
}

// Status is how a node sees the cluster, for people.
type Status struct {
	Node        string
	ID          string // of its data directory
	Role        string // "Leader", "Follower", "Candidate" or "Shutdown"
	Leader      string // empty: none known
	LeaderID    string
	Term        uint64
	LastLog     uint64 // index of the last entry in this node's log
	Commit      uint64
	Applied     uint64 // index of the last command applied here
	Holds       bool
	LastContact time.Time     // with the leader; zero on the leader or when there was none
	Audit       uint64        // sequence of the last audit entry
	AuditGaps   int           // ranges of the audit chain that are not on this node
	ClockAhead  time.Duration // how far this node's clock is ahead of the median of the nodes'
	Peers       []PeerStatus
	Level       uint32 // of the commands that may be in the log, as far as it is applied here
	Applies     uint32 // the highest level that this node applies
	DiskUsed    int    // percent of the data directory's file system; -1: not known
	Full        bool   // that is more than Config.AdmissionStop, or was, and fell too little since
	Admits      bool   // new sessions and uses; of a leader: of the cluster
}

// PeerStatus is one member of the configuration in force.
type PeerStatus struct {
	ID            string // of its data directory
	Name, Address string // the address as this node is configured; empty if it isn't
	Voter         bool
	Heard         bool   // it acknowledged within the lease; known on the leader only
	Drained       bool   // it takes no gateway address and no leadership, as far as this node has heard
	Applies       uint32 // the highest level of commands; 0: not known; that of others is known on the leader only
	DiskUsed      int    // percent; -1: not known; that of others is known on the leader only
	Full          bool   // see Status
}

// Status describes the node as it stands.
func (n *Node) Status() Status {
	s := Status{
		Node: n.cfg.NodeName, ID: string(n.id), Role: n.raft.State().String(), Term: n.raft.CurrentTerm(),
		LastLog: n.raft.LastIndex(), Commit: n.raft.CommitIndex(), Applied: n.position.index.Load(),
		Level: n.level(), Applies: command.Level,
		DiskUsed: int(n.room.used.Load()), Full: n.room.full.Load(), Admits: !n.room.stopped.Load(),
		Holds: n.Holds(), Audit: n.audit.tail().sequence, AuditGaps: len(n.audit.gaps()),
	}
	_, s.ClockAhead = n.clocks.judge(n.cfg.now().UnixNano())
	_, leader := n.raft.LeaderWithID()
	s.Leader, s.LeaderID = memberName(leader), string(leader)
	leads := n.IsLeader()
	if !leads {
		s.LastContact = n.raft.LastContact()
	}
	for _, server := range n.members() {
		name := memberName(server.ID)
		p, _ := n.cfg.peer(name)
		v := PeerStatus{
			ID: string(server.ID), Name: name, Address: p.Address, Voter: server.Suffrage == raft.Voter,
			Heard:    leads && (server.ID == n.id || n.lease.heard(server.ID)),
			Drained:  n.isDrained(server.ID),
			DiskUsed: -1,
		}
		if g, ok := n.room.peer(server.ID); leads && ok {
			v.Applies, v.Full = g.applies(), g.Full
			if g.Disk != nil {
				v.DiskUsed = *g.Disk
			}
		}
		if server.ID == n.id {
			v.Applies, v.DiskUsed, v.Full = s.Applies, s.DiskUsed, s.Full
		}
		s.Peers = append(s.Peers, v)
	}
	return s
}
