package admin

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
)

// moveAddress has a gateway address go to a node and stay there as long as that
// lives, or leaves it to the cluster again where it is. It only says where to: the
// holder gives the address up when it is told, and drops it first.
func (s *Server) moveAddress(r *http.Request, c Caller) (any, *problem) {
	var move adminapi.MoveAddress
	if p := read(r, &move); p != nil {
		return nil, p
	}
	addresses := s.cfg.Node.Status().Addresses
	name := r.PathValue("name")
	at := slices.IndexFunc(addresses, func(a adminapi.GatewayAddress) bool { return a.Name == name })
	switch {
	case at < 0:
		return nil, notFound("gateway address")
	case len(addresses) == 1:
		return nil, refuse(http.StatusConflict, "conflict", "The only gateway address goes with the leader.",
			"With one address the node that leads holds it: so it moves fastest.", "Hand the leadership over with 'sealctl cluster step-down'.")
	}
	if move.To != "" {
		var voters []string
		for _, m := range s.cfg.Membership.Members() {
			if m.State == adminapi.MemberVotes {
				voters = append(voters, m.Name)
			}
		}
		if !slices.Contains(voters, move.To) {
			return nil, badRequest(fmt.Errorf("to: %q is no voter of the cluster: name one of %s", move.To, strings.Join(voters, ", ")))
		}
	}
	if strings.TrimSpace(move.Reason) == "" {
		return nil, badRequest(errors.New("reason: missing: say why, it goes into the audit chain"))
	}
	var epoch uint64
	s.cfg.Cluster.View(func(m *state.Machine) { epoch = m.Address(name).GetEpoch() })
	if epoch == 0 {
		return nil, refuse(http.StatusConflict, "conflict", "Nobody holds the address yet.", "It is about to be assigned.", "Try again in a moment.")
	}
	decision := &command.RecordDecision{Kind: "address", Subject: name, Allowed: true, Code: "move", Reasons: []string{"to " + move.To, move.Reason}}
	if p := s.proposeAs(r, c, requestID(r)+" why", decision, nil); p != nil {
		return nil, p
	}
	out := new(command.GatewayAddress)
	if p := s.propose(r, c, &command.MoveAddress{Name: name, To: move.To, Epoch: epoch, Home: true}, out); p != nil {
		return nil, p
	}
	return adminapi.GatewayAddress{
		Name: name, Address: addresses[at].Address, Holder: out.Holder, Epoch: out.Epoch, MovingTo: out.MovingTo, Home: out.Home,
	}, nil
}
