package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

// drainAgain is how often it is looked whether a node has given everything up.
const drainAgain = 200 * time.Millisecond

// clusterDrain has a node give up all that others can do instead, as "sealedge drain" on
// that node does. One that can't be asked, or is of a version that doesn't know how, is
// relieved from outside: then an address that is moved stays where it went.
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
	d := drain{node: a[0], reason: c.String("reason"), say: func(format string, args ...any) { fmt.Fprintf(c.App.ErrWriter, format+"\n", args...) }}
	if c.Bool("undo") {
		if err := d.ask(ctx, cl, true); err != nil {
			return err
		}
		d.say("%s may be given gateway addresses and the leadership again", d.node)
		return nil
	}
	for first := true; ; first = false {
		left, err := d.step(ctx, cl, first)
		if err != nil {
			return err
		}
		if len(left) == 0 {
			d.say("%s leads nothing and holds no gateway address; it may be stopped", d.node)
			return nil
		}
		select {
		case <-time.After(drainAgain):
		case <-ctx.Done():
			return &hinted{exitFailed, fmt.Sprintf("%s still has %v after %v", d.node, left, c.Duration("timeout")), "see 'sealctl cluster status'; the other nodes must be up to take it over"}
		}
	}
}

// drain is one node's.
type drain struct {
	node, reason string
	say          func(format string, args ...any)
	asked        bool     // the node does it by itself
	told         []string // addresses that were told to go
}

// ask has the node itself do it, or undo it.
func (d *drain) ask(ctx context.Context, cl *client, undo bool) error {
	for _, a := range askAll(ctx, cl.staleReads()) {
		if a.Status != nil && a.Status.Node == d.node {
			return cl.at(a.Address).once().call(ctx, http.MethodPost, "/v1/node/drain", adminapi.Drain{Undo: undo, Reason: d.reason}, nil)
		}
	}
	return &hinted{exitFailed, d.node + " doesn't answer", "see 'sealctl cluster status'"}
}

// begin has the node do it by itself, if it can.
func (d *drain) begin(ctx context.Context, cl *client) error {
	err := d.ask(ctx, cl, false)
	var p *wire.Problem
	switch {
	case err == nil:
		d.asked = true
		d.say("%s gives up what it has, and takes nothing back until it is started anew", d.node)
		return nil
	case errors.As(err, &p) && p.Status != http.StatusNotFound:
		return err
	}
	d.say("%s can't be asked itself (%s): what it has is moved, and an address stays where it goes", d.node, words(err))
	return nil
}

// step does what can be done now, and returns what the node still has.
func (d *drain) step(ctx context.Context, cl *client, first bool) (left []string, err error) {
	one, leads, err := cl.leader(ctx)
	if err != nil {
		return nil, err
	}
	var s adminapi.Status
	if err := one.call(ctx, http.MethodGet, "/v1/status", nil, &s); err != nil {
		return nil, err
	}
	others, err := d.others(ctx, one)
	switch {
	case !first: // who has just come to lead may not have heard of all yet
	case err != nil:
		return nil, err
	default:
		if err := d.begin(ctx, cl); err != nil {
			return nil, err
		}
	}
	several := len(s.Addresses) > 1 // the only one goes with the leader
	for i, at := range s.Addresses {
		if at.Holder != d.node {
			continue
		}
		left = append(left, at.Name)
		if d.asked || !several || len(others) == 0 || slices.Contains(d.told, at.Name) {
			continue
		}
		to := others[i%len(others)]
		move := adminapi.MoveAddress{To: to, Reason: d.reason}
		if err := one.call(ctx, http.MethodPost, "/v1/cluster/addresses/"+url.PathEscape(at.Name)+"/move", move, nil); err != nil {
			return nil, err
		}
		d.told = append(d.told, at.Name)
		d.say("%s goes from %s to %s", at.Name, d.node, to)
	}
	if leads != d.node {
		return left, nil
	}
	if d.asked || several && len(left) > 0 {
		return append(left, "the leadership"), nil // which is handed over when the addresses are gone
	}
	if err := one.call(ctx, http.MethodPost, "/v1/cluster/step-down", nil, nil); err != nil {
		return nil, err
	}
	d.say("%s hands the leadership over", d.node)
	return append(left, "the leadership"), nil
}

// others are the voters that answer, without the node.
func (d *drain) others(ctx context.Context, one *client) ([]string, error) {
	members, err := allOf[adminapi.Member](ctx, one, "/v1/cluster/members")
	if err != nil {
		return nil, err
	}
	var others []string
	known, voters := false, 0
	for _, m := range members {
		known = known || m.Name == d.node
		if m.State != adminapi.MemberVotes {
			continue
		}
		voters++
		if m.Name != d.node && (m.Answers || m.Leader) {
			others = append(others, m.Name)
		}
	}
	switch {
	case !known:
		return nil, &hinted{exitConflict, "there is no node " + d.node, "see 'sealctl cluster members'"}
	case len(others) < voters/2+1:
		return nil, &hinted{exitConflict, fmt.Sprintf("only %v would be left: the cluster would lose its quorum when %s stops", others, d.node), "bring the other nodes up first"}
	}
	return others, nil
}
