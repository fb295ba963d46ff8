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

func retireCommand() *cli.Command {
	return &cli.Command{
		Name: "retire", Usage: "take nodes out of service for good, while the others go on", ArgsUsage: "NODE...",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "`why`, for the audit chain", Required: true},
			&cli.DurationFlag{Name: "timeout", Value: 2 * time.Minute, Usage: "how long to wait until it is done"},
		},
		Description: "Their gateway addresses go to nodes that stay, and so does the leadership; then they are removed, one after the other. " +
			"Stop them afterwards. What is done already is left out, so it may be repeated. It is refused when those that stay couldn't go on without them.",
		Action: clusterRetire,
	}
}

func clusterRetire(c *cli.Context) error {
	names := c.Args().Slice()
	if len(names) == 0 {
		return usage("name the nodes that go: NODE...")
	}
	if err := confirm(c, "remove", strings.Join(names, " ")); err != nil {
		return err
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	r := retirement{names: names, reason: c.String("reason"), say: func(format string, args ...any) { fmt.Fprintf(c.App.ErrWriter, format+"\n", args...) }}
	return r.run(ctx, cl)
}

// retirement takes nodes out of a cluster.
type retirement struct {
	names  []string
	reason string
	say    func(format string, args ...any)
	told   []string // addresses that were told to go
	waits  string   // what it said last that it waits for
}

// mayPass tells whether it may succeed a little later: in an election, say.
func (r *retirement) mayPass(err error) bool {
	var p *wire.Problem
	gone := errors.As(err, &p) && p.Status == http.StatusNotFound // it was removed after all
	return gone || passing(err) || exitCode(err) == exitConflict || exitCode(err) == exitNoLeader
}

// run goes step by step, and looks anew before each: after an election somebody
// else has to be asked, and what a lost answer did is seen.
func (r *retirement) run(ctx context.Context, cl *client) error {
	for {
		left, err := r.step(ctx, cl)
		switch {
		case err == nil && len(left) == 0:
			r.say("%s: no member of the cluster; what runs of it may be stopped", strings.Join(r.names, ", "))
			return nil
		case err != nil && !r.mayPass(err):
			return err
		case err != nil && words(err) != r.waits:
			r.waits = words(err)
			r.say("waiting: %s", r.waits)
		}
		select {
		case <-time.After(drainAgain):
		case <-ctx.Done():
			if err == nil {
				err = &hinted{exitFailed, fmt.Sprintf("it isn't done yet: there is %s", strings.Join(left, ", ")), "see 'sealctl cluster status', and run it again"}
			}
			return err
		}
	}
}

// step does one thing that can be done now, and returns what is left.
func (r *retirement) step(ctx context.Context, cl *client) (left []string, err error) {
	one, leads, err := cl.leader(ctx)
	if err != nil {
		return nil, err
	}
	members, err := allOf[adminapi.Member](ctx, one, "/v1/cluster/members")
	if err != nil {
		return nil, err
	}
	var going []adminapi.Member
	for _, m := range members {
		if slices.Contains(r.names, m.Name) {
			going = append(going, m)
			left = append(left, m.ID)
		}
	}
	if len(going) == 0 {
		return nil, r.release(ctx, one)
	}
	staying, err := r.staying(members)
	if err != nil {
		return nil, err
	}
	var s adminapi.Status
	if err := one.call(ctx, http.MethodGet, "/v1/status", nil, &s); err != nil {
		return nil, err
	}
	held, err := r.move(ctx, one, s.Addresses, staying)
	if err != nil || len(held) > 0 {
		return append(left, held...), err
	}
	// The leader goes last: it can't remove itself, and might hand over to another that goes.
	for _, m := range going {
		if m.Name == leads {
			continue
		}
		path := "/v1/cluster/members/" + url.PathEscape(m.ID) + "?reason=" + url.QueryEscape(r.reason)
		if err := one.call(ctx, http.MethodDelete, path, nil, nil); err != nil {
			return left, err
		}
		r.say("%s is removed", m.ID)
		return left, nil
	}
	if err := one.call(ctx, http.MethodPost, "/v1/cluster/step-down", nil, nil); err != nil {
		return left, err
	}
	r.say("%s hands the leadership over", leads)
	return left, nil
}

// staying are the voters that answer and don't go. They must be a majority of their own.
func (r *retirement) staying(members []adminapi.Member) (names []string, err error) {
	voters := 0
	for _, m := range members {
		if m.State != adminapi.MemberVotes || slices.Contains(r.names, m.Name) {
			continue
		}
		voters++
		if m.Answers || m.Leader {
			names = append(names, m.Name)
		}
	}
	if 2*len(names) <= voters {
		return nil, &hinted{exitConflict, fmt.Sprintf("of the %d voters that stay %d answer: the cluster would lose its quorum", voters, len(names)), "bring those up first that stay; see 'sealctl cluster members'"}
	}
	return names, nil
}

// move has addresses go to nodes that stay, and returns what there still is to go. An
// only address goes with the leadership.
func (r *retirement) move(ctx context.Context, one *client, all []adminapi.GatewayAddress, staying []string) (held []string, err error) {
	if len(all) < 2 {
		return nil, nil
	}
	for i, at := range all {
		if !slices.Contains(r.names, at.Holder) {
			continue
		}
		held = append(held, at.Name+" at "+at.Holder)
		if slices.Contains(r.told, at.Name) {
			continue
		}
		to := staying[i%len(staying)]
		if err := one.call(ctx, http.MethodPost, "/v1/cluster/addresses/"+url.PathEscape(at.Name)+"/move", adminapi.MoveAddress{To: to, Reason: r.reason}, nil); err != nil {
			return held, err
		}
		r.told = append(r.told, at.Name)
		r.say("%s goes from %s to %s", at.Name, at.Holder, to)
	}
	return held, nil
}

// release lets the cluster place the addresses by itself again.
func (r *retirement) release(ctx context.Context, one *client) error {
	for len(r.told) > 0 {
		if err := one.call(ctx, http.MethodPost, "/v1/cluster/addresses/"+url.PathEscape(r.told[0])+"/move", adminapi.MoveAddress{Reason: r.reason}, nil); err != nil {
			return err
		}
		r.told = r.told[1:]
	}
	return nil
}
