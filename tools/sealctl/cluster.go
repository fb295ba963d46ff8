package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
)

func clusterCommand() *cli.Command {
	return &cli.Command{
		Name:  "cluster",
		Usage: "the gateway cluster",
		Subcommands: []*cli.Command{
			{Name: "status", Usage: "show every node's view", Action: clusterStatus},
			{Name: "step-down", Usage: "hand the leadership to another node", Action: clusterStepDown},
		},
	}
}

// clusterStatus asks every node for itself, so that a dead node or a divided
// cluster shows.
func clusterStatus(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	cl.stale = true
	type answer struct {
		Address string           `json:"address"`
		Status  *adminapi.Status `json:"status,omitempty"`
		Error   string           `json:"error,omitempty"`
	}
	var all []answer
	var rows [][]string
	alive := 0
	for _, addr := range cl.addresses {
		one := &client{addresses: []string{addr}, http: cl.http, stale: true, stderr: cl.stderr}
		s := new(adminapi.Status)
		if err := one.call(c.Context, http.MethodGet, "/v1/status", nil, s); err != nil {
			all = append(all, answer{Address: addr, Error: err.Error()})
			rows = append(rows, []string{addr, "", "down", "", "", "", "", ""})
			continue
		}
		alive++
		all = append(all, answer{Address: addr, Status: s})
		role := "follower"
		if s.IsLeader {
			role = "leader"
		}
		rows = append(rows, []string{addr, s.Node, role, strconv.FormatUint(s.Term, 10), strconv.FormatUint(s.Applied, 10), s.Holder, strconv.FormatUint(s.AuditSeq, 10), s.Version})
	}
	if err := show(c, all, []string{"ADDRESS", "NODE", "ROLE", "TERM", "APPLIED", "GTP HOLDER", "AUDIT", "VERSION"}, rows); err != nil {
		return err
	}
	if 2*alive <= len(cl.addresses) {
		return &hinted{exitNoLeader, fmt.Sprintf("%d of %d nodes answer: no quorum", alive, len(cl.addresses)), "start the nodes that are down: " + strings.Join(cl.addresses, ", ")}
	}
	return nil
}

// clusterStepDown asks the leader: another node has nothing to hand over.
func clusterStepDown(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	for _, addr := range cl.addresses {
		one := &client{addresses: []string{addr}, http: cl.http, stale: true, stderr: cl.stderr}
		var s adminapi.Status
		if err := one.call(c.Context, http.MethodGet, "/v1/status", nil, &s); err != nil || !s.IsLeader {
			continue
		}
		if err := one.call(c.Context, http.MethodPost, "/v1/cluster/step-down", nil, nil); err != nil {
			return err
		}
		fmt.Fprintln(c.App.ErrWriter, s.Node+" has handed the leadership over")
		return nil
	}
	return &hinted{exitNoLeader, "no node says that it leads", "see 'sealctl cluster status'"}
}
