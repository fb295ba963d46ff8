package cluster

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// arrive has something carried out that came to an address, as its holder does: only
// while it holds it, and at the epoch since which it does. The entry says the epoch
// besides, for carriedOut.
func (s *addressSim) arrive(node *Node, r *command.GatewayAddress, held func() bool) {
	s.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, time.Second)
		defer cancel()
		c := command.New("", "", "", &command.RecordDecision{Kind: "came", Subject: fmt.Sprintf("%s/%d", r.Name, r.Epoch)})
		if s.mutant != noEpoch {
			c.At(r.Name, r.Epoch)
		}
		switch result, err := node.Propose(While(ctx, held), c); {
		case err != nil:
		case result.Code == command.Code_OK:
			s.arrived.Add(1)
		case result.Code == command.Code_CONFLICT:
			s.late.Add(1)
		}
	})
}

// carriedOut looks through a node's log for what came to an address at one epoch and
// was carried out at another.
func (s *addressSim) carriedOut(node *Node) {
	ctx, cancel := context.WithTimeout(s.ctx, recoveryTime)
	defer cancel()
	epochs := map[string]uint64{}
	err := node.AuditRange(ctx, 1, func(e *command.AuditEntry) error {
		_, payload, err := command.Decode(e.Command)
		if err != nil {
			return err
		}
		result := new(command.Result)
		if err := proto.Unmarshal(e.Result, result); err != nil {
			return err
		}
		if result.Code != command.Code_OK {
			return nil
		}
		switch p := payload.(type) {
		case *command.AcquireAddress, *command.AssignAddress, *command.SurrenderAddress:
			got := new(command.GatewayAddress)
			if err := result.Into(got); err != nil {
				return err
			}
			epochs[got.Name] = got.Epoch
		case *command.RecordDecision:
			name, at, _ := strings.Cut(p.Subject, "/")
			if epoch, err := strconv.ParseUint(at, 10, 64); p.Kind == "came" && (err != nil || epoch != epochs[name]) {
				s.failf("what came to %s at epoch %s was carried out at epoch %d", name, at, epochs[name])
			}
		}
		return nil
	})
	if err != nil {
		s.failf("%s: the audit chain: %v", node.cfg.NodeName, err)
	}
}
