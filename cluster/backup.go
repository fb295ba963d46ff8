package cluster

import (
	"context"
	"fmt"
	"io"
	"time"

	"filippo.io/age"

	"github.com/sealedge/sealedge/cluster/backup"
)

// Backup writes the state as this node has it now, and the audit chain up to it,
// encrypted. Applying goes on meanwhile. It needs no quorum: a Barrier before
// makes it hold all that was carried out before. Parts of the audit chain that
// aren't on this node are fetched first; if that fails, the error is ErrAuditGap
// and nothing was written.
func (n *Node) Backup(ctx context.Context, w io.Writer, to []age.Recipient) error {
	m := n.Clone()
	if err := n.fillGaps(ctx, 1); err != nil {
		return err
	}
	if err := n.audit.flush(); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	last, _ := m.AuditHead()
	n.audit.mu.Lock()
	entries := n.audit.entries(1, last)
	n.audit.mu.Unlock()
	return backup.Write(untilDone{ctx, w}, to, backup.Source{Node: n.cfg.NodeName, Created: time.Now(), Machine: m, Audit: entries})
}

// untilDone writes until ctx ends.
type untilDone struct {
	ctx context.Context
	w   io.Writer
}

func (u untilDone) Write(b []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.w.Write(b)
}
