package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

// lookAgain is how often it is looked whether nodes have given everything up.
const lookAgain = 200 * time.Millisecond

// relief has nodes give up what others can do instead, before they are stopped: each is
// asked itself, as "sealedge drain" on it does, and gives its gateway addresses and the
// leadership to nodes that aren't drained. One that can't be asked, as it is of a version
// that doesn't know how or isn't reached from here, is relieved from outside: its
// addresses are moved, and where they go is their home then.
type relief struct {
	nodes  []string
	reason string
	say    func(format string, args ...any)

	asked map[string]bool // nodes, by name; true: the leader has known that one to be drained
	deaf  []string        // nodes that can't be asked
	moved []string        // addresses
}

func newRelief(c *cli.Context, nodes ...string) *relief {
	return &relief{nodes: nodes, reason: c.String("reason"), say: func(format string, args ...any) { fmt.Fprintf(c.App.ErrWriter, format+"\n", args...) }}
}

// view is the cluster as its leader sees it.
type view struct {
	one       *client // of the leader
	leads     string
	members   []adminapi.Member
	addresses []adminapi.GatewayAddress
}

// look asks again when the leadership changes meanwhile: who leads no more knows nothing
// of the others.
func (cl *client) look(ctx context.Context) (v view, err error) {
	var s adminapi.Status
	for !s.IsLeader {
		if v.one, v.leads, err = cl.leader(ctx); err != nil {
			return v, err
		}
		if v.members, err = allOf[adminapi.Member](ctx, v.one, "/v1/cluster/members"); err != nil {
			return v, err
		}
		if err = v.one.call(ctx, http.MethodGet, "/v1/status", nil, &s); err != nil {
			return v, err
		}
	}
	v.addresses = s.Addresses
	return v, nil
}

// mayPass tells whether it may succeed a little later: in an election, say.
func mayPass(err error) bool {
	var p *wire.Problem
	gone := errors.As(err, &p) && p.Status == http.StatusNotFound // it was removed after all
	return gone || passing(err) || exitCode(err) == exitConflict || exitCode(err) == exitNoLeader
}

// patiently takes step after step until nothing is left, and looks anew before each:
// after an election somebody else has to be asked, and what a lost answer did is seen.
func (r *relief) patiently(ctx context.Context, cl *client, step func(v view) (left []string, err error)) error {
	r.asked = map[string]bool{}
	waits := "" // what it said last that it waits for
	for {
		var left []string
		v, err := cl.look(ctx)
		if err == nil {
			for _, m := range v.members {
				if slices.Contains(r.nodes, m.Name) && m.Drained {
					r.asked[m.Name] = true
				}
			}
			left, err = step(v)
		}
		switch {
		case err == nil && len(left) == 0:
			return nil
		case err != nil && !mayPass(err):
			return err
		case err != nil && words(err) != waits:
			waits = words(err)
			r.say("waiting: %s", waits)
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
			if err == nil {
				err = &hinted{exitFailed, fmt.Sprintf("it isn't done yet: there is %s", strings.Join(left, ", ")), "see 'sealctl cluster status', and run it again"}
			}
			return err
		}
	}
}

// step does what can be done now, and returns the addresses that there still are to go.
// The only one goes with the leadership.
func (r *relief) step(ctx context.Context, cl *client, v view, heirs []string) (left []string, err error) {
	if err := r.ask(ctx, cl, v); err != nil {
		return nil, err
	}
	only := len(v.addresses) == 1
	for i, at := range v.addresses {
		if !slices.Contains(r.nodes, at.Holder) || only && at.Holder == v.leads {
			continue
		}
		left = append(left, at.Name+" at "+at.Holder)
		if only || !slices.Contains(r.deaf, at.Holder) || slices.Contains(r.moved, at.Name) {
			continue
		}
		to := heirs[i%len(heirs)]
		if err := r.move(ctx, v, at.Name, to); err != nil {
			return left, err
		}
		r.moved = append(r.moved, at.Name)
		r.say("%s goes from %s to %s", at.Name, at.Holder, to)
	}
	return left, nil
}

// move has an address go to a node, or without one where the cluster puts it.
func (r *relief) move(ctx context.Context, v view, address, to string) error {
	return v.one.call(ctx, http.MethodPost, "/v1/cluster/addresses/"+url.PathEscape(address)+"/move", adminapi.MoveAddress{To: to, Reason: r.reason}, nil)
}

// ask has each of the nodes that are alive do it by itself, once, and again when it was
// started anew.
func (r *relief) ask(ctx context.Context, cl *client, v view) error {
	var ask []string
	for _, m := range v.members {
		known, asked := r.asked[m.Name]
		if slices.Contains(r.nodes, m.Name) && (m.Answers || m.Leader) && !m.Drained && (known || !asked) && !slices.Contains(r.deaf, m.Name) {
			ask = append(ask, m.Name)
		}
	}
	if len(ask) == 0 {
		return nil
	}
	at := cl.find(ctx, ask)
	for _, node := range ask {
		err := r.tell(ctx, cl, node, at[node], false)
		var p *wire.Problem
		switch {
		case err == nil:
			r.asked[node] = false
			r.say("%s gives up what it has, and takes nothing back until it is started anew", node)
		case errors.Is(err, errSilent), isUnanswered(err), errors.As(err, &p) && p.Status == http.StatusNotFound:
			r.deaf = append(r.deaf, node)
			r.say("%s can't be asked itself (%s): what it has is moved", node, words(err))
		default:
			return err
		}
	}
	return nil
}
