package drill

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Hooks are an operator's commands for actions, for the shell; the node's name
// is in SEALEDGE_NODE. A command has done its work when it ends.
type Hooks map[Action]string

// Can tells whether there is a command.
func (h Hooks) Can(a Action) error {
	if h[a] == "" {
		return fmt.Errorf("no command is named to %s a node", a)
	}
	return nil
}

// Do runs the command.
func (h Hooks) Do(ctx context.Context, a Action, node string) error {
	if err := h.Can(a); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", h[a])
	cmd.Env = append(os.Environ(), "SEALEDGE_NODE="+node)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("the command to %s %s: %w: %s", a, node, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Actions lists all of them.
func Actions() []Action { return []Action{Kill, Start, Freeze, Thaw, Cut, Heal, Slow, Hang, Cure} }
