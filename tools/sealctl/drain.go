package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
)

// clusterDrain has a node give up all that others can do instead, see relief.
func clusterDrain(c *cli.Context) error {
	a, err := arguments(c, "NODE")
	if err != nil {
		return err
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	r := newRelief(c, a[0])
	if c.Bool("undo") {
		return r.undo(ctx, cl)
	}
	return r.drain(ctx, cl)
}

// drain relieves the one node, which is to be stopped and to come back.
func (r *relief) drain(ctx context.Context, cl *client) error {
	node := r.nodes[0]
	v, err := cl.look(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(v.members, func(m adminapi.Member) bool { return m.Name == node }) {
		return &hinted{exitConflict, "there is no node " + node, "see 'sealctl cluster members'"}
	}
	heirs, err := r.heirs(v, true)
	if err != nil {
		return err
	}
	err = r.patiently(ctx, cl, func(v view) ([]string, error) {
		left, err := r.step(ctx, cl, v, heirs)
		if v.leads != node || err != nil {
			return left, err
		}
		if len(left) == 0 {
			err = r.stepDown(ctx, v)
		}
		return append(left, "the leadership"), err
	})
	if err != nil {
		return err
	}
	r.say("%s leads nothing and holds no gateway address; it may be stopped", node)
	if _, asked := r.asked[node]; !asked && len(r.deaf) == 0 {
		r.say("%s doesn't answer, and wasn't told: when it is back, it may be given all of that again", node)
	}
	if len(r.moved) > 0 {
		r.say("%s stays where it went: 'sealctl cluster move-address ADDRESS' lets the cluster place it again", strings.Join(r.moved, ", "))
	}
	return nil
}

// undo is for a node that isn't to be stopped after all.
func (r *relief) undo(ctx context.Context, cl *client) error {
	at := cl.find(ctx, r.nodes)
	for _, node := range r.nodes {
		if at[node] == "" {
			return &hinted{exitFailed, node + " doesn't answer", "see 'sealctl cluster status'"}
		}
		if err := r.tell(ctx, cl, node, at[node], true); err != nil {
			return err
		}
		r.say("%s may be given gateway addresses and the leadership again", node)
	}
	return nil
}

var errSilent = errors.New("it doesn't answer here")

// tell has the node, at its address, do it by itself, or undo it.
func (r *relief) tell(ctx context.Context, cl *client, node, address string, undo bool) error {
	if address == "" {
		return errSilent
	}
	path := "/v1/node/drain?node=" + url.QueryEscape(node) // what has the address may be another by now
	return cl.at(address).call(ctx, http.MethodPost, path, adminapi.Drain{Undo: undo, Reason: r.reason}, nil)
}

// stepDown has the leader hand over, if it doesn't do so by itself.
func (r *relief) stepDown(ctx context.Context, v view) error {
	if !slices.Contains(r.deaf, v.leads) {
		return nil
	}
	err := v.one.call(ctx, http.MethodPost, "/v1/cluster/step-down", nil, nil)
	if err == nil {
		r.say("%s hands the leadership over", v.leads)
	}
	return err
}

// heirs are the voters that can take over: they answer, and aren't drained themselves.
// Without one it is refused; and when too few would be left that answer, of all voters, or
// unless the nodes stay voters of the others.
func (r *relief) heirs(v view, stay bool) (heirs []string, err error) {
	var answer []string
	voters := 0
	for _, m := range v.members {
		goes := slices.Contains(r.nodes, m.Name)
		if m.State != adminapi.MemberVotes || goes && !stay {
			continue
		}
		voters++
		if goes || !m.Answers && !m.Leader {
			continue
		}
		answer = append(answer, m.Name)
		if !m.Drained {
			heirs = append(heirs, m.Name)
		}
	}
	switch nodes := strings.Join(r.nodes, ", "); {
	case 2*len(answer) <= voters:
		return nil, &hinted{exitConflict, fmt.Sprintf("without %s the cluster would lose its quorum: of %d voters %v would answer", nodes, voters, answer), "bring the other nodes up first; see 'sealctl cluster members'"}
	case len(heirs) == 0:
		return nil, &hinted{exitConflict, fmt.Sprintf("nobody would take over from %s: %s are drained, too", nodes, strings.Join(answer, ", ")), "undo it for one that is to go on: 'sealctl cluster drain --undo NODE'"}
	}
	return heirs, nil
}
