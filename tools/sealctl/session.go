package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
)

func sessionCommand() *cli.Command {
	return &cli.Command{
		Name:  "session",
		Usage: "PDN sessions of the terminals",
		Subcommands: []*cli.Command{
			{Name: "list", Usage: "list sessions", Flags: []cli.Flag{watchFlag()}, Action: sessionList},
			{Name: "show", Usage: "show a session", ArgsUsage: "ID", Action: sessionShow},
			{
				Name: "end", Usage: "end a session on every path", ArgsUsage: "ID", Action: sessionEnd,
				Flags:       []cli.Flag{&cli.StringFlag{Name: "reason", Usage: "why; it goes into the audit chain"}},
				Description: "The carrier and the terminal are told. The terminal may attach again; to keep it out, revoke it.",
			},
		},
	}
}

func sessionList(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	if c.Bool("watch") {
		sessions := watched[adminapi.Session]{
			kind: adminapi.WatchSessions, event: adminapi.EventSession, gone: adminapi.EventSessionEnded,
			header: sessionHeader, row: sessionRow, id: func(s adminapi.Session) uint64 { return s.ID },
			ended: func(row []string) string {
				return fmt.Sprintf("session %s of %s on %s has ended", row[0], row[1], row[2])
			},
		}
		return sessions.follow(c)
	}
	list, err := all[adminapi.Session](c, "/v1/sessions")
	if err != nil {
		return err
	}
	var rows [][]string
	for _, s := range list {
		rows = append(rows, sessionRow(s))
	}
	return show(c, list, sessionHeader, rows)
}

var sessionHeader = []string{"ID", "IMSI", "APN", "TYPE", "ADDRESS", "PREFIX6", "PATH", "PATHS", "PROTOCOL", "RAT", "PLMN", "PEER", "OPENED", "ON PATH SINCE", "HEARD FROM"}

func sessionRow(s adminapi.Session) []string {
	return []string{
		strconv.FormatUint(s.ID, 10), s.IMSI, s.APN, s.PDNType, s.Address, s.Prefix6, s.Path, strings.Join(s.Paths, ","), s.Protocol,
		s.RAT, s.ServingPLMN, s.Peer, s.Opened.Format(time.RFC3339), stamp(s.PathSince), s.Endpoint,
	}
}

func sessionEnd(c *cli.Context) error {
	a, err := arguments(c, "ID")
	if err != nil {
		return err
	}
	if err := confirm(c, "end session", a[0]); err != nil {
		return err
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	if err := cl.call(c.Context, http.MethodDelete, "/v1/sessions/"+url.PathEscape(a[0])+"?reason="+url.QueryEscape(c.String("reason")), nil, nil); err != nil {
		return err
	}
	fmt.Fprintln(c.App.ErrWriter, "session "+a[0]+" is ended")
	return nil
}

func peersCommand() *cli.Command {
	return &cli.Command{
		Name: "peers", Usage: "the carriers' gateways that sessions are with", Action: peers,
		Description: "RESTARTS is the peer's own counter: when it rises, the peer has lost its sessions and those with it are released.",
	}
}

func peers(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	list, err := all[adminapi.Peer](c, "/v1/peers")
	if err != nil {
		return err
	}
	var rows [][]string
	for _, p := range list {
		restarts := ""
		if p.RestartCounter != nil {
			restarts = count(*p.RestartCounter)
		}
		rows = append(rows, []string{p.Address, strings.Join(p.Protocols, ","), restarts, strconv.Itoa(p.Sessions), strconv.Itoa(p.Suspended)})
	}
	return show(c, list, []string{"PEER", "PROTOCOLS", "RESTARTS", "SESSIONS", "SUSPENDED"}, rows)
}
