package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
)

func epochCommand() *cli.Command {
	return &cli.Command{
		Name:  "epoch",
		Usage: "the reckoning after a restore or a forced recovery",
		Subcommands: []*cli.Command{
			{Name: "show", Usage: "show whether orders are frozen, and which barrels have yet to report", Action: epochShow},
			{
				Name: "excuse", Usage: "count a barrel that will never report; two administrators say the same", ArgsUsage: "BARREL",
				Flags: []cli.Flag{
					&cli.Uint64Flag{Name: "unaccounted", Usage: "`N` stampings of it may be in no account", Required: true},
					&cli.StringFlag{Name: "reason", Usage: "why it can't report; it goes into the audit chain", Required: true},
				},
				Action: epochExcuse,
			},
			{
				Name: "close", Usage: "open the orders again, when every barrel was counted",
				Description: "You say by it that no barrel is missing from the list: put back those that were added since the backup first.",
				Action:      epochClose,
			},
		},
	}
}

func showEpoch(c *cli.Context, e adminapi.Epoch) error {
	var rows [][]string
	for _, u := range e.Uncounted {
		by := ""
		if u.ProposedBy != "" {
			by = fmt.Sprintf("%s says %d: %s", u.ProposedBy, u.Unaccounted, u.Reason)
		}
		rows = append(rows, []string{u.Barrel, by})
	}
	w := c.App.ErrWriter
	switch {
	case e.Number == 1:
		fmt.Fprintln(w, "epoch 1: nothing was ever lost")
	case e.Frozen:
		fmt.Fprintf(w, "epoch %d since the %s of %s: orders are frozen; %d barrels have yet to report\n", e.Number, e.Cause, e.Raised.Format(time.RFC3339), len(e.Uncounted))
	default:
		fmt.Fprintf(w, "epoch %d since the %s of %s, closed by %s: orders are open\n", e.Number, e.Cause, e.Raised.Format(time.RFC3339), e.ClosedBy)
	}
	if e.Unaccounted > 0 {
		fmt.Fprintf(w, "%d stampings are in no account and count against every order\n", e.Unaccounted)
	}
	return show(c, e, []string{"BARREL TO REPORT", "EXCUSE"}, rows)
}

func epochCall(c *cli.Context, method, path string, in any) error {
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	var e adminapi.Epoch
	if err := cl.call(c.Context, method, path, in, &e); err != nil {
		return err
	}
	return showEpoch(c, e)
}

func epochShow(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	return epochCall(c, http.MethodGet, "/v1/epoch", nil)
}

func epochExcuse(c *cli.Context) error {
	a, err := arguments(c, "BARREL")
	if err != nil {
		return err
	}
	return epochCall(c, http.MethodPost, "/v1/barrels/"+url.PathEscape(a[0])+"/excuse", adminapi.ExcuseBarrel{Unaccounted: c.Uint64("unaccounted"), Reason: c.String("reason")})
}

func epochClose(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	var e adminapi.Epoch
	if err := cl.call(c.Context, http.MethodGet, "/v1/epoch", nil, &e); err != nil {
		return err
	}
	if err := confirm(c, "open all orders for good; is no barrel missing from the list? It ends epoch", strconv.FormatUint(e.Number, 10)); err != nil {
		return err
	}
	return epochCall(c, http.MethodPost, "/v1/epoch/close", adminapi.CloseEpoch{Epoch: e.Number})
}
