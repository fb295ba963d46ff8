package admin

import (
	"context"
	"errors"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
)

// A cluster that was just started, or whose last node was just upgraded, takes a
// moment until all its nodes have said that they know the newest commands.
const (
	levelPatience = 5 * time.Second
	levelAgain    = 100 * time.Millisecond
)

// proposeWhenKnown is Propose, but waits for a while when the cluster doesn't know
// the command yet. Only that is tried again: it is certain that nothing was done.
func (s *Server) proposeWhenKnown(ctx context.Context, c *command.Command) (*command.Result, error) {
	patience := time.After(levelPatience)
	for {
		res, err := s.cfg.Cluster.Propose(ctx, c)
		if !errors.Is(err, command.ErrLevel) {
			return res, err
		}
		select {
		case <-time.After(levelAgain):
		case <-patience:
			return nil, err
		case <-ctx.Done():
			return nil, err
		}
	}
}
