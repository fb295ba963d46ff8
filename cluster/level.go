package cluster

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// A command that an old node doesn't know would end it (command.ErrUnknownCommand),
// and so a majority of a cluster that is being upgraded. Commands therefore have
// levels, and the log a level, which is part of the replicated state: the leader
// lets no command of a higher one into the log.
//
// Each node says which level it applies when it is asked who it is; one from before
// there were levels doesn't, and applies 1. When every voter has said, in one round
// of the survey, that it applies more than the log has, the leader puts a RaiseLevel
// into the log. From then on there is no way back to the older version, and a node
// of it isn't let in.

// level is that of the log, as far as this node has applied it.
func (n *Node) level() (level uint32) {
	n.View(func(m *state.Machine) { level = m.Level() })
	return level
}

// applies is the highest level that a node said it applies.
func (g greeting) applies() uint32 { return max(1, g.Level) }

// supported is the level that every member that may have to apply the log applies,
// and who they are: the voters, of which none may be silent, and whoever else
// answers.
func (n *Node) supported() (level uint32, nodes []string, err error) {
	level = n.cfg.applies
	for _, s := range n.members() {
		nodes = append(nodes, string(s.ID))
		if s.ID == n.id {
			continue
		}
		switch g, ok := n.room.peer(s.ID); {
		case ok:
			level = min(level, g.applies())
		case s.Suffrage == raft.Voter:
			return 0, nil, fmt.Errorf("node %s hasn't said which commands it applies", s.ID)
		}
	}
	return level, nodes, nil
}

// raiseLevel has the log's level raised if every voter has come to support more.
func (n *Node) raiseLevel() {
	now := n.level()
	if now >= command.Level {
		return
	}
	level, nodes, err := n.supported()
	if err != nil || level <= now {
		return
	}
	c := command.New("node:"+n.cfg.NodeName, "", "node:"+n.cfg.NodeName, &command.RaiseLevel{Level: level, Nodes: nodes})
	c.Level = level
	n.tasks.Go(func() { // the survey goes on
		if _, err := n.Propose(n.ctx, c); err != nil && !errors.Is(err, command.ErrLevel) {
			n.log.Warn("every node applies newer commands, but that could not be recorded yet", "level", level, "error", err)
		} else if err == nil {
			n.log.Info("every node applies newer commands, and they may be used", "level", level)
		}
	})
}

// knownToAll refuses a command that a voter may not know.
func (n *Node) knownToAll(c *command.Command, payload any) error {
	needed, have := max(c.Level, command.LevelOf(c.Type)), n.level()
	if needed <= have {
		return nil
	}
	if p, ok := payload.(*command.RaiseLevel); ok && p.Level == c.Level {
		if level, _, err := n.supported(); err != nil || level < needed {
			return fmt.Errorf("%w (level %d; supported are %d: %v)", command.ErrLevel, needed, level, err)
		}
		return nil
	}
	return fmt.Errorf("%w (%s has level %d, the log has %d)", command.ErrLevel, c.Type, needed, have)
}

// mayJoin refuses a node that doesn't know what may be in the log.
func (n *Node) mayJoin(name string, id raft.ServerID) error {
	have := n.level()
	peer, ok := n.cfg.peer(name)
	if have <= 1 || !ok {
		return nil
	}
	g, err := n.greet(n.ctx, peer)
	switch {
	case err != nil:
		return fmt.Errorf("its version can't be asked for: %w", err)
	case g.ID != id:
		return fmt.Errorf("%w: %q, but there is %q", errNoNewNodeID, id, g.ID)
	case g.applies() < have:
		return fmt.Errorf("it is of an older version than the cluster (it applies commands of level %d, the log has %d): upgrade it", g.applies(), have)
	}
	return nil
}

// surveyAgain is when the next round of the survey is due: soon while the log's
// level may be raised.
func (n *Node) surveyAgain() time.Duration {
	if n.level() < command.Level {
		return min(surveyEvery, 2*n.cfg.HeartbeatTimeout)
	}
	return surveyEvery
}
