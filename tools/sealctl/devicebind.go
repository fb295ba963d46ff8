package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
)

func deviceBindCommand() *cli.Command {
	return &cli.Command{
		Name: "bind", Usage: "bind a terminal's SIM to a handset, or announce that it changes", ArgsUsage: "IMSI [IMEI]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "also", Usage: "beside those that it is bound to"},
			&cli.DurationFlag{Name: "announce", Usage: "the SIM is going to be in IMEI: from the first attach there within `TIME` it is bound to it alone"},
			&cli.BoolFlag{Name: "cancel", Usage: "take the announcement back"},
			&cli.BoolFlag{Name: "any", Usage: "bind it to none: it may be in any handset that the policy allows"},
			reasonFlag(), breakGlassFlag(),
		},
		Description: withExamples("A session in a handset that the SIM is no longer bound to ends at once.",
			"sealctl device bind 460010000000001 35693803564380",
			"sealctl device bind 460010000000001 35693803564399 --announce 72h",
			"sealctl device bind 460010000000001 --cancel"),
		Action: deviceBind,
	}
}

func deviceBind(c *cli.Context) error {
	names := []string{"IMSI", "IMEI"}
	without := c.Bool("any") || c.Bool("cancel")
	if without {
		names = names[:1]
	}
	a, err := arguments(c, names...)
	if err != nil {
		return err
	}
	said := 0
	for _, f := range []string{"also", "announce", "cancel", "any"} {
		if c.IsSet(f) {
			said++
		}
	}
	switch {
	case said > 1:
		return usage("--also, --announce, --cancel and --any go without each other")
	case c.IsSet("announce") && c.Duration("announce") <= 0:
		return usage("--announce takes a time such as 72h")
	}
	row := map[string]any{"imsi": a[0]}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	switch {
	case c.Bool("cancel"):
		row["announced_imei"], row["announced_until"] = "", time.Time{}
	case c.Bool("any"):
		row["imeis"] = []string{}
	case c.IsSet("announce"):
		row["announced_imei"], row["announced_until"] = a[1], time.Now().Add(c.Duration("announce")).UTC().Truncate(time.Second)
	default:
		var now adminapi.Terminal
		if err := cl.call(c.Context, http.MethodGet, terminalPath(a[0]), nil, &now); err != nil {
			return err
		}
		row["imeis"] = []string{a[1]}
		if c.Bool("also") && !slices.Contains(now.IMEIs, a[1]) {
			row["imeis"], row["version"] = append(now.IMEIs, a[1]), now.Version
		}
	}
	doc, err := json.Marshal(row)
	if err != nil {
		return err
	}
	by, err := agreementOf(c, a[0])
	if err != nil {
		return err
	}
	if err := cl.putRow(c.Context, adminapi.DeviceRow{Terminal: doc}, by); err != nil {
		return err
	}
	return deviceShown(c, cl, a[0])
}

// deviceShown shows a terminal as it is now.
func deviceShown(c *cli.Context, cl *client, imsi string) error {
	var t adminapi.Terminal
	if err := cl.call(c.Context, http.MethodGet, terminalPath(imsi), nil, &t); err != nil {
		return err
	}
	return showTerminals(c, t, []adminapi.Terminal{t})
}

// putRow changes one device. It is an error that it is refused, or that others have
// to approve it.
func (c *client) putRow(ctx context.Context, row adminapi.DeviceRow, by agreement) error {
	if err := row.Check(); err != nil {
		return &hinted{exitUsage, err.Error(), "nothing was sent; mend what it names"}
	}
	var done adminapi.DeviceBatchDone
	if err := c.call(ctx, http.MethodPost, by.in("/v1/devices/batch"), adminapi.DeviceBatch{Rows: []adminapi.DeviceRow{row}, Reason: by.reason}, &done); err != nil {
		return err
	}
	if len(done.Rows) != 1 {
		return fmt.Errorf("the gateway answered a row with %d outcomes", len(done.Rows))
	}
	switch o := done.Rows[0]; o.Outcome {
	case adminapi.RowRefused:
		code := exitDenied
		if slices.Contains([]string{"conflict", "device-revoked", "barrel-busy", "no-address"}, o.Code) {
			code = exitConflict
		}
		return &hinted{code, fmt.Sprintf("the change was refused: %s: %s", o.Code, o.Detail), "look at it with 'sealctl device show'"}
	case adminapi.RowPending:
		id := ""
		for _, n := range done.Changes {
			id += " " + strconv.FormatUint(n, 10)
		}
		return &hinted{exitApproval, "it waits for approval, as change" + id, "have another seal administrator look at it with 'sealctl change show" + id + "' and approve it"}
	}
	return nil
}
