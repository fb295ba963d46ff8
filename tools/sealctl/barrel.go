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
			{Name: "list", Usage: "list barrels, all or some of them", Flags: filterFlags(), Action: barrelList},
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
	list, err := all[adminapi.Barrel](c, "/v1/barrels"+query)
	if err != nil {
		return err
	}
	return showBarrels(c, list, list)
}

func showBarrels[T any](c *cli.Context, v T, list []adminapi.Barrel) error {
	var rows [][]string
	for _, b := range list {
		rows = append(rows, []string{b.ID, b.Label, b.State, b.SealType, b.MAC, b.CheckedOutTo, strconv.FormatUint(b.GrantCounter, 10), yes(b.Alive)})
	}
	return show(c, v, []string{"BARREL", "LABEL", "STATE", "SEAL", "MAC", "CHECKED OUT TO", "GRANTS", "ALIVE"}, rows)
}

func barrelLock(c *cli.Context) error {
	a, err := arguments(c, "BARREL")
	if err != nil {
		return err
	}
	return post(c, "/v1/barrels/"+url.PathEscape(a[0])+"/lock", adminapi.Reason{Reason: c.String("reason")}, a[0]+": the lock is sent; it is repeated until the barrel acknowledges it")
}
