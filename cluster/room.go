package cluster

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// A node whose disk is full ends (see watchedStore), and what is begun must be
// settled on a disk, too. So nothing new is begun while there is still room for
// the end of what was: above Config.AdmissionStop percent the leader refuses new
// sessions and new uses with command.ErrNoRoom. What settles, revokes, locks,
// deletes and modifies goes on, and so does a subscriber who attaches again.
//
// It stops when the leader's own disk is above the mark, or when those below it
// would be no majority: one follower with a full disk is one that may be lost.

// surveyEvery is how often a node looks at its disk, and the leader asks the
// others how they are.
const surveyEvery = 5 * time.Second

// roomAgain is by how many percent a disk must fall below the mark for admission
// to go on, so that it doesn't stop and go with every segment of the log.
const roomAgain = 5

// room is what a node knows of the disks.
type room struct {
	used    atomic.Int64 // percent of the data directory's file system in use; -1: not known
	full    atomic.Bool  // used reached the mark, and didn't fall enough since
	stopped atomic.Bool  // this node, leading, admits nothing new
	refused atomic.Uint64

	mu    sync.Mutex
	peers map[raft.ServerID]greeting // as they last answered this node; the survey's
}

// diskUsed is how much of a file system is in use, in percent, as df counts it:
// what is kept for root isn't there for us.
func diskUsed(dir string) (percent int, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	taken := s.Blocks - s.Bfree
	if taken+s.Bavail == 0 {
		return 0, nil
	}
	return int((taken*100 + taken + s.Bavail - 1) / (taken + s.Bavail)), nil
}

// survey looks at this node's disk, and has the leader look at the others, until
// the node ends.
func (n *Node) survey() {
	for {
		n.look()
		select {
		case <-time.After(n.surveyAgain()):
		case <-n.ctx.Done():
			return
		}
	}
}

// look is one round of the survey.
func (n *Node) look() {
	n.lookAtDisk()
	leads := n.Holds()
	if leads && !n.lease.sole.Load() {
		n.askPeers()
	}
	n.decideAdmission(leads)
	if leads {
		n.raiseLevel()
	}
}

func (n *Node) lookAtDisk() {
	used, err := n.cfg.diskUsed(n.cfg.DataDir)
	if err != nil {
		n.log.Warn("it isn't known how full the disk is", "error", err)
		n.room.used.Store(-1)
		return
	}
	n.room.used.Store(int64(used))
	full := used >= n.cfg.AdmissionStop || n.room.full.Load() && used > n.cfg.AdmissionStop-roomAgain
	if n.room.full.Swap(full) == full {
		return
	}
	if full {
		n.log.Error("the disk of this node is nearly full: see docs/runbooks/full-disk.md", "used percent", used, "directory", n.cfg.DataDir)
	} else {
		n.log.Info("there is room on this node's disk again", "used percent", used)
	}
}

// askPeers notes how the other nodes say they are. One that doesn't answer is
// as it was: if it is down, it doesn't count as full.
func (n *Node) askPeers() {
	greetings, _ := n.greetPeers() // the error names those that didn't answer
	n.room.mu.Lock()
	defer n.room.mu.Unlock()
	peers := map[raft.ServerID]greeting{}
	for _, g := range greetings {
		peers[g.ID] = g
	}
	n.room.peers = peers
}

// peer is what a member said of itself at the last look.
func (r *room) peer(id raft.ServerID) (greeting, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g, ok := r.peers[id]
	return g, ok
}

func (n *Node) decideAdmission(leads bool) {
	stop := n.room.full.Load()
	if leads && !stop {
		voters, full := 0, 0
		for _, s := range n.members() {
			if s.Suffrage != raft.Voter {
				continue
			}
			voters++
			if g, ok := n.room.peer(s.ID); ok && g.Full {
				full++
			}
		}
		stop = voters > 0 && 2*(voters-full) <= voters
	}
	if n.room.stopped.Swap(stop) != stop && leads {
		n.log.Warn("admission of new sessions and uses", "stopped", stop)
	}
}

// admits refuses what would begin something when there is no room to end it. A
// request that was carried out gets its answer all the same.
func (n *Node) admits(c *command.Command, payload any) error {
	if !n.room.stopped.Load() {
		return nil
	}
	begins := false
	n.View(func(m *state.Machine) {
		switch p := payload.(type) {
		case *command.OpenSession:
			begins = m.SessionByKey(p.Imsi, p.Apn) == nil
		case *command.AttachWireGuard:
			begins = m.SessionByKey(p.Imsi, p.Apn) == nil
		case *command.ReserveUses:
			begins = m.UseByRequest(p.Imsi, c.RequestId) == nil
		}
	})
	if !begins {
		return nil
	}
	n.room.refused.Add(1)
	return fmt.Errorf("%w (of this node's disk, %d %% is in use)", command.ErrNoRoom, n.room.used.Load())
}

// Counters are what this node has counted, by reason.
func (n *Node) Counters() map[string]uint64 {
	return map[string]uint64{"refused-no-room": n.room.refused.Load(), "states-differ": n.checkpoints.differences.Load()}
}
