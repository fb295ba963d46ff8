package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
)

func clusterCommand() *cli.Command {
	return &cli.Command{
		Name:  "cluster",
		Usage: "the gateway cluster",
		Subcommands: []*cli.Command{
			{Name: "status", Usage: "show every node's view, what is wrong and what to do", Action: clusterStatus},
			{Name: "members", Usage: "show the members, by id", Action: clusterMembers},
			{
				Name: "remove", Usage: "remove a dead node, or one that is taken out of service, for good", ArgsUsage: "NAME|ID",
				Flags:  []cli.Flag{&cli.StringFlag{Name: "reason", Usage: "`why`, for the audit chain", Required: true}},
				Action: clusterRemove,
			},
			retireCommand(),
			{Name: "addresses", Usage: "show the gateway addresses and who holds them", Action: clusterAddresses},
			{
				Name: "move-address", Usage: "have a gateway address go to a node and stay there, or without NODE where the cluster puts it", ArgsUsage: "ADDRESS [NODE]",
				Flags:  []cli.Flag{&cli.StringFlag{Name: "reason", Usage: "`why`, for the audit chain", Required: true}},
				Action: clusterMoveAddress,
			},
			{
				Name: "drain", Usage: "have a node give up all that others can do instead, before it is stopped for maintenance", ArgsUsage: "NODE",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "reason", Usage: "`why`, for the audit chain", Required: true},
					&cli.DurationFlag{Name: "timeout", Value: 30 * time.Second, Usage: "how long to wait until it is done"},
					&cli.BoolFlag{Name: "undo", Usage: "the node isn't to be stopped after all"},
				},
				Description: "Its gateway addresses and the leadership go to other nodes, and it gets none back until it is started anew, or --undo. It goes on voting. " +
					"It is asked itself, as 'sealedge drain' on it does. When it can't be, because it isn't reached from here or is of an older version, an address is moved to another node and stays there: " +
					"'sealctl cluster move-address ADDRESS' lets the cluster place it again. " +
					"It is refused when the others would be no majority without the node, or are all drained.",
				Action: clusterDrain,
			},
			{Name: "step-down", Usage: "hand the leadership to another node", Action: clusterStepDown},
		},
	}
}

// clusterStepDown asks the leader: another node has nothing to hand over.
func clusterStepDown(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	one, node, err := leader(c)
	if err != nil {
		return err
	}
	if err := one.call(c.Context, http.MethodPost, "/v1/cluster/step-down", nil, nil); err != nil {
		return err
	}
	fmt.Fprintln(c.App.ErrWriter, node+" has handed the leadership over")
	return nil
}

// leader is a client of the node that leads, and its name, by the flags.
func leader(c *cli.Context) (*client, string, error) {
	cl, err := newClient(c)
	if err != nil {
		return nil, "", err
	}
	return cl.leader(c.Context)
}

// leader returns a client of the node that leads, and its name. It waits for one
// as long as the client's patience lasts: an election takes a second or two. What
// is asked of the leader is asked once, as it may be another by the next time.
func (cl *client) leader(ctx context.Context) (*client, string, error) {
	var leads answer
	cl.askUntil(ctx, func(a answer) bool {
		if leads.Status == nil && a.Status.IsLeader {
			leads = a
		}
		return leads.Status != nil
	})
	if leads.Status == nil {
		return nil, "", &hinted{exitNoLeader, "no node says that it leads", "see 'sealctl cluster status'"}
	}
	return cl.at(leads.Address).once().staleReads(), leads.Status.Node, nil
}

// find tells at which addresses nodes answer. It waits for those that don't as it does
// for a leader.
func (cl *client) find(ctx context.Context, nodes []string) (at map[string]string) {
	at = map[string]string{}
	cl.askUntil(ctx, func(a answer) bool {
		at[a.Status.Node] = a.Address
		return !slices.ContainsFunc(nodes, func(node string) bool { return at[node] == "" })
	})
	return at
}

// askUntil asks all nodes, and again for as long as the client's patience lasts, until
// what one says is enough.
func (cl *client) askUntil(ctx context.Context, enough func(answer) bool) {
	for end := time.Now().Add(cl.patience); ; {
		known := false
		for _, a := range askAll(ctx, cl.staleReads()) {
			known = a.Status != nil && enough(a) || known
		}
		if known || ctx.Err() != nil || time.Now().Add(firstPause).After(end) {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(firstPause):
		}
	}
}

// clusterMembers asks the leader, which knows who answers; without one, any node.
func clusterMembers(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	one, _, err := cl.leader(c.Context)
	led := err == nil
	if !led {
		one = cl
	}
	members, err := allOf[adminapi.Member](c.Context, one, "/v1/cluster/members")
	if err != nil {
		return err
	}
	var rows [][]string
	for _, m := range members {
		rows = append(rows, memberRow(m, led))
	}
	return show(c, members, []string{"NAME", "ID", "ADDRESS", "STATE", "ANSWERS"}, rows)
}

// memberRow is a member as the leader knows it, or another node.
func memberRow(m adminapi.Member, led bool) []string {
	answers := "unknown"
	switch {
	case m.Leader && led:
		answers = "leads"
	case led:
		answers = yes(m.Answers)
	}
	state := m.State
	if m.Drained {
		state += ", drained"
	}
	return []string{m.Name, m.ID, m.Address, state, answers}
}

// clusterRemove has the leader remove a member.
func clusterRemove(c *cli.Context) error {
	a, err := arguments(c, "NAME|ID")
	if err != nil {
		return err
	}
	if err := confirm(c, "remove the member", a[0]); err != nil {
		return err
	}
	one, _, err := leader(c)
	if err != nil {
		return err
	}
	var out adminapi.Removed
	path := "/v1/cluster/members/" + url.PathEscape(a[0]) + "?reason=" + url.QueryEscape(c.String("reason"))
	if err := one.call(c.Context, http.MethodDelete, path, nil, &out); err != nil {
		return err
	}
	fmt.Fprintln(c.App.ErrWriter, out.ID+" is removed; to join again, its node needs an empty data directory")
	return nil
}

// clusterAddresses asks the leader, whose view is not behind.
func clusterAddresses(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	one, _, err := leader(c)
	if err != nil {
		return err
	}
	var s adminapi.Status
	if err := one.call(c.Context, http.MethodGet, "/v1/status", nil, &s); err != nil {
		return err
	}
	var rows [][]string
	for _, a := range s.Addresses {
		rows = append(rows, []string{a.Name, a.Address, a.Holder, strconv.FormatUint(a.Epoch, 10), a.MovingTo, a.Home})
	}
	return show(c, s.Addresses, []string{"NAME", "ADDRESS", "HOLDER", "EPOCH", "MOVING TO", "HOME"}, rows)
}

// clusterMoveAddress only says where to: the holder gives the address up.
func clusterMoveAddress(c *cli.Context) error {
	if n := c.Args().Len(); n != 1 && n != 2 {
		return usage("name the address, and the node that it is to go to: ADDRESS [NODE]")
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	name, to := c.Args().Get(0), c.Args().Get(1)
	var a adminapi.GatewayAddress
	path := "/v1/cluster/addresses/" + url.PathEscape(name) + "/move"
	if err := cl.call(c.Context, http.MethodPost, path, adminapi.MoveAddress{To: to, Reason: c.String("reason")}, &a); err != nil {
		return err
	}
	switch {
	case to == "":
		fmt.Fprintf(c.App.ErrWriter, "%s is %s's, and goes where the cluster puts it\n", name, a.Holder)
	case a.MovingTo == "":
		fmt.Fprintf(c.App.ErrWriter, "%s is %s's, and stays there\n", name, a.Holder)
	default:
		fmt.Fprintf(c.App.ErrWriter, "%s goes from %s to %s; 'sealctl cluster addresses' shows when it is there\n", name, a.Holder, a.MovingTo)
	}
	return nil
}
