package main

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
)

func retireCommand() *cli.Command {
	return &cli.Command{
		Name: "retire", Usage: "take nodes out of service for good, while the others go on", ArgsUsage: "NODE...",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "`why`, for the audit chain", Required: true},
			&cli.DurationFlag{Name: "timeout", Value: 2 * time.Minute, Usage: "how long to wait until it is done"},
		},
		Description: "They are drained, so that their gateway addresses and the leadership go to nodes that stay; then they are removed, one after the other. " +
			"Stop them afterwards. What is done already is left out, so it may be repeated. It waits while those that stay couldn't go on without them, or none of them may take over. " +
			"If it ends before it is done, those that are members yet stay drained until they are started anew, or 'sealctl cluster drain --undo'.",
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
	return newRelief(c, names...).retire(ctx, cl)
}

// retire relieves the nodes and takes them out of the cluster.
func (r *relief) retire(ctx context.Context, cl *client) error {
	err := r.patiently(ctx, cl, func(v view) ([]string, error) { return r.remove(ctx, cl, v) })
	if err == nil {
		r.say("%s: no member of the cluster; what runs of it may be stopped", strings.Join(r.nodes, ", "))
		return nil
	}
	for _, node := range slices.Sorted(maps.Keys(r.asked)) {
		r.say("%s stays drained; if it isn't to go after all: 'sealctl cluster drain --undo %s --reason WHY'", node, node)
	}
	return err
}

// remove does one thing that can be done now, and returns what is left.
func (r *relief) remove(ctx context.Context, cl *client, v view) (left []string, err error) {
	var going []adminapi.Member
	for _, m := range v.members {
		if slices.Contains(r.nodes, m.Name) {
			going = append(going, m)
			left = append(left, m.ID)
		}
	}
	if len(going) == 0 {
		return nil, r.release(ctx, v)
	}
	heirs, err := r.heirs(v, false)
	if err != nil {
		return nil, err
	}
	held, err := r.step(ctx, cl, v, heirs)
	if left = append(left, held...); err != nil || len(held) > 0 {
		return left, err
	}
	if _, asked := r.asked[v.leads]; asked && slices.Contains(r.nodes, v.leads) {
		return append(left, "the leadership of "+v.leads), nil
	}
	// A leader that couldn't be asked goes last: it can't remove itself, and might hand over to another that goes.
	for _, m := range going {
		if m.Name == v.leads {
			continue
		}
		path := "/v1/cluster/members/" + url.PathEscape(m.ID) + "?reason=" + url.QueryEscape(r.reason)
		if err := v.one.call(ctx, http.MethodDelete, path, nil, nil); err != nil {
			return left, err
		}
		delete(r.asked, m.Name)
		r.say("%s is removed", m.ID)
		return left, nil
	}
	return left, r.stepDown(ctx, v)
}

// release lets the cluster place by itself again what was moved.
func (r *relief) release(ctx context.Context, v view) error {
	for len(r.moved) > 0 {
		if err := r.move(ctx, v, r.moved[0], ""); err != nil {
			return err
		}
		r.moved = r.moved[1:]
	}
	return nil
}
