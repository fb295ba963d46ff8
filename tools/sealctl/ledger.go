package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
)

func get(c *cli.Context, path string, out any) error {
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	return cl.call(c.Context, http.MethodGet, path, nil, out)
}

// all reads a whole list, page after page.
func all[T any](c *cli.Context, path string) ([]T, error) {
	cl, err := newClient(c)
	if err != nil {
		return nil, err
	}
	return allOf[T](c.Context, cl, path)
}

func allOf[T any](ctx context.Context, cl *client, path string) ([]T, error) {
	return adminapi.All[T](path, func(path string, into any) error { return cl.call(ctx, http.MethodGet, path, nil, into) })
}

// post sends a change and says on standard error that it is done.
func post(c *cli.Context, path string, in any, done string) error {
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	if err := cl.call(c.Context, http.MethodPost, path, in, nil); err != nil {
		return err
	}
	fmt.Fprintln(c.App.ErrWriter, done)
	return nil
}

func orderCommand() *cli.Command {
	reason := []cli.Flag{&cli.StringFlag{Name: "reason", Usage: "why; it goes into the audit chain", Required: true}}
	return &cli.Command{
		Name:  "order",
		Usage: "the ledger of work orders",
		Subcommands: []*cli.Command{
			{Name: "list", Usage: "list the orders that have been used", Action: orderList},
			{Name: "show", Usage: "show an order and what became of its uses", ArgsUsage: "ORDER", Action: orderShow},
			{Name: "suspend", Usage: "let an order reserve no more uses", ArgsUsage: "ORDER", Flags: reason, Action: orderSuspend},
			{Name: "resume", Usage: "take a suspension back", ArgsUsage: "ORDER", Flags: reason, Action: orderResume},
		},
	}
}

func orderList(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	list, err := all[adminapi.Order](c, "/v1/orders")
	if err != nil {
		return err
	}
	var rows [][]string
	for _, o := range list {
		rows = append(rows, []string{o.Number, o.State, o.SealType, count(o.Permitted), count(o.Reserved), count(o.Confirmed), count(o.Left), strconv.FormatUint(o.Excess, 10), o.NotAfter.Format(time.RFC3339), o.Reason})
	}
	return show(c, list, []string{"ORDER", "STATE", "SEAL", "PERMITTED", "RESERVED", "CONFIRMED", "LEFT", "EXCESS", "UNTIL", "REASON"}, rows)
}

func count(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

func orderSuspend(c *cli.Context) error { return orderChange(c, "suspend", "suspended") }
func orderResume(c *cli.Context) error  { return orderChange(c, "resume", "open again") }

func orderChange(c *cli.Context, verb, done string) error {
	a, err := arguments(c, "ORDER")
	if err != nil {
		return err
	}
	return post(c, "/v1/orders/"+verb+"?number="+url.QueryEscape(a[0]), adminapi.Reason{Reason: c.String("reason")}, a[0]+" is "+done)
}

func useCommand() *cli.Command {
	return &cli.Command{
		Name:  "use",
		Usage: "uses of seals: grants, stampings, evidence",
		Subcommands: []*cli.Command{
			{Name: "list", Usage: "list uses", Flags: []cli.Flag{watchFlag()}, Action: useList},
			{Name: "show", Usage: "show a use, with each stamping and its evidence", ArgsUsage: "USE", Action: useShow},
			releaseCommand(), confirmReleaseCommand(),
		},
	}
}

func useList(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	if c.Bool("watch") {
		uses := watched[adminapi.Use]{kind: adminapi.WatchUses, event: adminapi.EventUse, header: useHeader, row: useRow}
		return uses.follow(c)
	}
	list, err := all[adminapi.Use](c, "/v1/uses")
	if err != nil {
		return err
	}
	var rows [][]string
	for _, u := range list {
		rows = append(rows, useRow(u))
	}
	return show(c, list, useHeader, rows)
}

var useHeader = []string{"USE", "ORDER", "BARREL", "IMSI", "USER", "STATE", "STAMPED", "EVIDENCE", "REASON"}

func useRow(u adminapi.Use) []string {
	stored := 0
	for _, s := range u.Stamps {
		if s.EvidenceSHA256 != "" {
			stored++
		}
	}
	return []string{strconv.FormatUint(u.ID, 10), u.Order, u.Barrel, u.IMSI, u.User, u.State, fmt.Sprintf("%d/%d", u.Confirmed, u.Count), fmt.Sprintf("%d/%d", stored, len(u.Stamps)), u.Reason}
}
