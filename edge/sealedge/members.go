package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealedge/sealedge/cluster"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/admin"
	"github.com/sealedge/sealedge/edge/adminapi"
)

// membership is the cluster's members as operators see them.
type membership struct{ node *cluster.Node }

func (m membership) Members() []adminapi.Member { return membersOf(m.node.Status()) }

func membersOf(s cluster.Status) []adminapi.Member {
	voters := map[string]bool{}
	for _, p := range s.Peers {
		voters[p.Name] = voters[p.Name] || p.Voter
	}
	members := []adminapi.Member{}
	for _, p := range s.Peers {
		v := adminapi.Member{
			ID: p.ID, Name: p.Name, Address: p.Address, Leader: p.ID == s.LeaderID, Answers: p.Heard, Drained: p.Drained, State: adminapi.MemberVotes,
		}
		switch {
		case p.Voter:
		case voters[p.Name]:
			v.State = adminapi.MemberWaiting
		default:
			v.State = adminapi.MemberJoins
		}
		members = append(members, v)
	}
	return members
}

func (m membership) Remove(ctx context.Context, member string) (string, error) {
	id, err := m.node.Remove(ctx, member)
	switch {
	case errors.Is(err, cluster.ErrNoMember):
		err = fmt.Errorf("%w: %w", admin.ErrNoMember, err)
	case errors.Is(err, cluster.ErrUncertain):
		err = fmt.Errorf("%w: %w", command.ErrUnknownOutcome, err)
	}
	return id, err
}
