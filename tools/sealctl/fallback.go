package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
)

func fallbackCommand() *cli.Command {
	why := &cli.StringFlag{Name: "reason", Usage: "why; it goes into the audit chain", Required: true}
	return &cli.Command{
		Name: "fallback", Usage: "the fallback path: WireGuard where the carrier is out of reach",
		Subcommands: []*cli.Command{
			fallbackIssueCommand(),
			{
				Name: "list", Usage: "list the leases that terminals have", Action: fallbackList,
				Description: withExamples("A terminal that asks by itself renews its lease in time. BY HAND is what was issued for clients that can't ask.",
					"sealctl fallback list", "sealctl fallback list -o json | jq -r '.[] | select(.by_hand).imsi'"),
			},
			{
				Name: "show", Usage: "show how a terminal stands with the fallback path", ArgsUsage: "IMSI|LABEL", Action: fallbackShow,
				Description: withExamples("", "sealctl fallback show 460010000000001"),
			},
			{
				Name: "end", Usage: "take a terminal's lease back, at once", ArgsUsage: "IMSI|LABEL", Action: fallbackEnd, Flags: []cli.Flag{why},
				Description: withExamples("The path that came by it is closed. Where the policy asks for no more than the WireGuard key the terminal may come\n"+
					"back by that alone; to keep it out, revoke it.",
					"sealctl fallback end 460010000000001 --reason 'the laptop was sold'"),
			},
			{
				Name: "keys", Usage: "the gateway's own WireGuard keys, the current one first", Action: fallbackKeys,
				Description: withExamples("", "sealctl fallback keys"),
			},
			{
				Name: "rotate-key", Usage: "have the gateway take a new WireGuard key", Action: fallbackRotate,
				Flags: []cli.Flag{&cli.StringFlag{Name: "overlap", Usage: "`TIME` for which the key before is good yet, such as 24h or 30d; 0: not at all", Value: "24h"}},
				Description: withExamples("Until the overlap is over clients get in by either key. Those that ask for their connection learn the new one in time;\n"+
					"those with a file take another from 'sealctl fallback issue'.",
					"sealctl fallback rotate-key --overlap 30d", "sealctl fallback rotate-key --overlap 0 # it leaked"),
			},
			{
				Name: "retire-key", Usage: "end the overlap of a key that was replaced, at once", ArgsUsage: "KEY", Action: fallbackRetire, Flags: []cli.Flag{why},
				Description: withExamples("Clients that know no other key don't get in any more.",
					"sealctl fallback retire-key bmVpdGhlciBzZWNyZXQgbm9yIHB1YmxpYyBrZXkhISE= --reason 'a backup with it was stolen'"),
			},
		},
	}
}

func fallbackPath(imsi string) string { return terminalPath(imsi) + "/fallback" }

func fallbackList(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	list, err := all[adminapi.FallbackLease](c, "/v1/fallback/leases")
	if err != nil {
		return err
	}
	return showLeases(c, list, list)
}

func showLeases[T any](c *cli.Context, v T, list []adminapi.FallbackLease) error {
	var rows [][]string
	for _, l := range list {
		rows = append(rows, []string{l.IMSI, strconv.FormatUint(l.Number, 10), strings.Join(l.Shown, ","), yes(l.ByHand), l.By, stamp(l.Issued), stamp(l.Expires)})
	}
	return show(c, v, []string{"IMSI", "LEASE", "SHOWN", "BY HAND", "BY", "ISSUED", "EXPIRES"}, rows)
}

func fallbackShow(c *cli.Context) error {
	a, err := arguments(c, "IMSI|LABEL")
	if err != nil {
		return err
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	imsi, err := routerCalled(c, cl, a[0])
	if err != nil {
		return err
	}
	var f adminapi.Fallback
	if err := cl.call(c.Context, http.MethodGet, fallbackPath(imsi), nil, &f); err != nil {
		return err
	}
	rows := [][]string{{"terminal", f.IMSI}, {"public key", f.PublicKey}, {"address", f.Address}}
	if l := f.Lease; l != nil {
		rows = append(rows, []string{"lease", strconv.FormatUint(l.Number, 10)}, []string{"shown", strings.Join(l.Shown, ",")},
			[]string{"issued", stamp(l.Issued) + " by " + l.By}, []string{"expires", stamp(l.Expires)})
	} else {
		rows = append(rows, []string{"lease", "none: its key alone"})
	}
	if f.Session != 0 {
		rows = append(rows, []string{"session", strconv.FormatUint(f.Session, 10)}, []string{"carries", yes(f.Active)}, []string{"heard from", f.Endpoint})
	}
	return show(c, f, []string{"FIELD", "VALUE"}, rows)
}

func fallbackEnd(c *cli.Context) error {
	a, err := arguments(c, "IMSI|LABEL")
	if err != nil {
		return err
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	imsi, err := routerCalled(c, cl, a[0])
	if err != nil {
		return err
	}
	if err := confirm(c, "end the fallback lease of", a[0]); err != nil {
		return err
	}
	var l adminapi.FallbackLease
	if err := cl.call(c.Context, http.MethodDelete, fallbackPath(imsi)+"?reason="+url.QueryEscape(c.String("reason")), nil, &l); err != nil {
		return err
	}
	fmt.Fprintf(c.App.ErrWriter, "lease %d of %s is ended\n", l.Number, l.IMSI)
	return nil
}
