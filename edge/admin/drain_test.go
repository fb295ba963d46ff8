package admin

import (
	"context"
	"net/http"
	"slices"
	"testing"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/adminapi"
)

// drained is a node that notes what it was told.
type drained struct {
	Node
	told []bool
}

func (d *drained) Drain(_ context.Context, drained bool) { d.told = append(d.told, drained) }

func (d *drained) Status() adminapi.Status { return adminapi.Status{Node: "node1"} }

// recorded keeps the decisions that are put on record.
type recorded struct {
	*oneNode
	decisions []*command.RecordDecision
}

func (r *recorded) Propose(ctx context.Context, c *command.Command) (*command.Result, error) {
	_, payload, err := command.Decode(command.Marshal(c))
	if d, ok := payload.(*command.RecordDecision); ok && err == nil {
		r.decisions = append(r.decisions, d)
	}
	return r.oneNode.Propose(ctx, c)
}

// A node is drained, and that undone, for a reason that the audit chain has before it is
// done; by nobody without the role.
func TestDrainNode(t *testing.T) {
	s, n := newServer(t)
	d, on := new(drained), &recorded{oneNode: n}
	s.cfg.Node, s.cfg.Name, s.cfg.Cluster = d, "node1", on
	for _, c := range []struct {
		name, query, body string
		status            int
		told              []bool
	}{
		{"without a reason", "", `{}`, http.StatusBadRequest, nil},
		{"another is meant", "?node=node2", `{"reason": "a new kernel"}`, http.StatusConflict, nil},
		{"drained", "?node=node1", `{"reason": "a new kernel"}`, http.StatusNoContent, []bool{true}},
		{"undone", "", `{"undo": true, "reason": "not today"}`, http.StatusNoContent, []bool{true, false}},
	} {
		w := s.send(t, operator, "POST", "/v1/node/drain"+c.query, c.name, c.body)
		if w.Code != c.status || !slices.Equal(d.told, c.told) {
			t.Errorf("%s: %d %s, told %v", c.name, w.Code, w.Body, d.told)
		}
	}
	var codes []string
	for _, r := range on.decisions {
		codes = append(codes, r.Code+" "+r.Subject+" "+r.Reasons[0])
	}
	if want := []string{"drain node1 a new kernel", "undo-drain node1 not today"}; !slices.Equal(codes, want) {
		t.Errorf("recorded were %q", codes)
	}
}
