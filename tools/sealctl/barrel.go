package main

import (
	"net/url"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
)

func barrelCommand() *cli.Command {
	return &cli.Command{
		Name:  "barrel",
		Usage: "smart seal barrels",
		Subcommands: []*cli.Command{
			{Name: "list", Usage: "list barrels, all or some of them", Flags: append(filterFlags(), watchFlag()), Action: barrelList},
			{
				Name: "lock", Usage: "lock a barrel now, ending its use and the order", ArgsUsage: "BARREL",
				Flags:  []cli.Flag{&cli.StringFlag{Name: "reason", Usage: "why; it goes into the audit chain", Required: true}},
				Action: barrelLock,
			},
		},
	}
}

func barrelList(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	query, err := filterQuery(c)
	if err != nil {
		return err
	}
	if c.Bool("watch") {
		if query != "" {
			return usage("--watch goes without filters: what leaves a filter would not be seen to go")
		}
		barrels := watched[adminapi.Barrel]{kind: adminapi.WatchBarrels, event: adminapi.EventBarrel, header: barrelHeader, row: barrelRow}
		return barrels.follow(c)
	}
	list, err := all[adminapi.Barrel](c, "/v1/barrels"+query)
	if err != nil {
		return err
	}
	return showBarrels(c, list, list)
}

func showBarrels[T any](c *cli.Context, v T, list []adminapi.Barrel) error {
	var rows [][]string
	for _, b := range list {
		rows = append(rows, barrelRow(b))
	}
	return show(c, v, barrelHeader, rows)
}

var barrelHeader = []string{"BARREL", "LABEL", "STATE", "SEAL", "MAC", "CHECKED OUT TO", "LAST GRANT", "ALIVE"}

func barrelRow(b adminapi.Barrel) []string {
	return []string{b.ID, b.Label, b.State, b.SealType, b.MAC, b.CheckedOutTo, strconv.FormatUint(b.GrantCounter, 10), yes(b.Alive)}
}

func barrelLock(c *cli.Context) error {
	a, err := arguments(c, "BARREL")
	if err != nil {
		return err
	}
	return post(c, "/v1/barrels/"+url.PathEscape(a[0])+"/lock", adminapi.Reason{Reason: c.String("reason")}, a[0]+": the lock is sent; it is repeated until the barrel acknowledges it")
}
