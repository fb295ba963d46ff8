package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"github.com/sealedge/sealedge/cluster/backup"
	"github.com/sealedge/sealedge/edge/adminapi"
)

// restore takes a backup of the cluster while it works, for an identity that
// nobody keeps, and has it restored beside it.
func restore(ctx context.Context, t *Target, _ string) (victim string, err error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", err
	}
	b, err := t.Admin.backup(ctx, id.Recipient().String())
	if err != nil {
		return "", err
	}
	m, _, err := backup.Read(bytes.NewReader(b), []age.Identity{id}, nil)
	if err != nil {
		return "", fmt.Errorf("the backup can't be read: %w", err)
	}
	if have := len(t.Canary.bearers); int(m.Counts.Sessions) < have {
		return "", fmt.Errorf("the backup has %d sessions, and the canary alone has %d", m.Counts.Sessions, have)
	}
	if t.Aside == nil {
		return "", nil
	}
	return "", t.Aside(ctx, b, id)
}

// backup streams a backup out of a node.
func (a *Admin) backup(ctx context.Context, recipient string) ([]byte, error) {
	var raw rawBody
	return raw, a.call(ctx, http.MethodPost, "/v1/backup", adminapi.Backup{Recipients: []string{recipient}}, &raw)
}

// rawBody takes an answer as it is.
type rawBody []byte

// Restore makes a data directory out of a backup, as an operator would who lost
// every node, but where no node has its own; it is removed again.
func (l *Local) Restore(ctx context.Context, file []byte, id *age.X25519Identity) (err error) {
	dir, err := os.MkdirTemp(l.cfg.Dir, "restored-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	from, identity := filepath.Join(dir, "backup"), filepath.Join(dir, "identity")
	if err := errors.Join(os.WriteFile(from, file, 0o600), os.WriteFile(identity, []byte(id.String()+"\n"), 0o600)); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(l.cfg.Bin, "sealedge"), "restore", "--config", l.layout.Nodes[0], "--from", from, "-i", identity)
	cmd.Env = append(os.Environ(), "SEALEDGE_NODE_DATA_DIR="+filepath.Join(dir, "data"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("sealedge restore: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
