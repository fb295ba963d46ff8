package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
	"gopkg.in/yaml.v3"

	"github.com/sealedge/sealedge/edge/adminapi"
)

func deviceCommand() *cli.Command {
	return &cli.Command{
		Name:  "device",
		Usage: "the allow-list: terminals (phones) and barrels",
		Subcommands: []*cli.Command{
			{Name: "list", Usage: "list terminals", Action: deviceList},
			{Name: "show", Usage: "show one terminal", ArgsUsage: "IMSI", Action: deviceShow},
			{
				Name: "import", Usage: "add or replace the terminals and barrels of a file", ArgsUsage: "FILE",
				Description: "FILE is YAML with the lists terminals and barrels; \"checked_out_to\" of a barrel hands it out.",
				Action:      deviceImport,
			},
			{Name: "checkout", Usage: "hand a barrel to a terminal", ArgsUsage: "BARREL IMSI", Action: deviceCheckOut},
			{Name: "checkin", Usage: "take a barrel back", ArgsUsage: "BARREL", Action: deviceCheckIn},
			{
				Name: "revoke", Usage: "revoke a terminal or a barrel for ever, at once", ArgsUsage: "IMSI|BARREL",
				Flags:  []cli.Flag{&cli.StringFlag{Name: "reason", Usage: "why; it goes into the audit chain", Required: true}},
				Action: deviceRevoke,
			},
		},
	}
}

func deviceList(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	var list []adminapi.Terminal
	if err := get(c, "/v1/terminals", &list); err != nil {
		return err
	}
	return showTerminals(c, list, list)
}

func showTerminals[T any](c *cli.Context, v T, list []adminapi.Terminal) error {
	var rows [][]string
	for _, t := range list {
		rows = append(rows, []string{t.IMSI, t.Label, t.State, t.MSISDN, strings.Join(t.IMEIs, ","), strings.Join(t.APNs, ","), t.Address, yes(t.WireGuardPublicKey != "")})
	}
	return show(c, v, []string{"IMSI", "LABEL", "STATE", "MSISDN", "IMEI", "APN", "ADDRESS", "FALLBACK"}, rows)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func deviceShow(c *cli.Context) error {
	a, err := arguments(c, "IMSI")
	if err != nil {
		return err
	}
	var t adminapi.Terminal
	if err := get(c, "/v1/terminals/"+url.PathEscape(a[0]), &t); err != nil {
		return err
	}
	return showTerminals(c, t, []adminapi.Terminal{t})
}

// deviceFile is what `device import` reads.
type deviceFile struct {
	Terminals []adminapi.Terminal `yaml:"terminals"`
	Barrels   []importedBarrel    `yaml:"barrels"`
}

type importedBarrel struct {
	adminapi.Barrel `yaml:",inline"`
	CheckedOutTo    string `yaml:"checked_out_to"`
}

func deviceImport(c *cli.Context) error {
	a, err := arguments(c, "FILE")
	if err != nil {
		return err
	}
	doc, err := os.ReadFile(a[0])
	if err != nil {
		return &hinted{exitUsage, err.Error(), "name a YAML file with the lists terminals and barrels"}
	}
	var f deviceFile
	dec := yaml.NewDecoder(bytes.NewReader(doc))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil {
		return &hinted{exitUsage, fmt.Sprintf("%s: %v", a[0], err), "nothing was sent; mend the file and import it again"}
	}
	// Every mistake of the file is found before anything is sent.
	var bad []string
	for i, t := range f.Terminals {
		if _, err := t.Record(); err != nil {
			bad = append(bad, fmt.Sprintf("terminals[%d] (%s): %v", i, t.IMSI, err))
		}
	}
	for i, b := range f.Barrels {
		if _, err := b.Record(); err != nil {
			bad = append(bad, fmt.Sprintf("barrels[%d] (%s): %v", i, b.ID, err))
		}
	}
	if len(bad) > 0 {
		return &hinted{exitUsage, a[0] + ":\n  " + strings.ReplaceAll(strings.Join(bad, "\n"), "\n", "\n  "), "nothing was sent; mend the file and import it again"}
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	for _, t := range f.Terminals {
		if err := cl.call(c.Context, http.MethodPut, "/v1/terminals/"+url.PathEscape(t.IMSI), t, nil); err != nil {
			return fmt.Errorf("terminal %s: %w", t.IMSI, err)
		}
	}
	for _, b := range f.Barrels {
		path := "/v1/barrels/" + url.PathEscape(strings.ToUpper(b.ID))
		b.Barrel.CheckedOutTo = ""
		if err := cl.call(c.Context, http.MethodPut, path, b.Barrel, nil); err != nil {
			return fmt.Errorf("barrel %s: %w", b.ID, err)
		}
		if b.CheckedOutTo == "" {
			continue
		}
		if err := cl.call(c.Context, http.MethodPost, path+"/checkout", adminapi.CheckOut{IMSI: b.CheckedOutTo}, nil); err != nil {
			return fmt.Errorf("barrel %s: checkout: %w", b.ID, err)
		}
	}
	fmt.Fprintf(c.App.ErrWriter, "imported %d terminals and %d barrels\n", len(f.Terminals), len(f.Barrels))
	return nil
}

func deviceCheckOut(c *cli.Context) error {
	a, err := arguments(c, "BARREL", "IMSI")
	if err != nil {
		return err
	}
	return post(c, "/v1/barrels/"+url.PathEscape(a[0])+"/checkout", adminapi.CheckOut{IMSI: a[1]}, a[0]+" is checked out to "+a[1])
}

func deviceCheckIn(c *cli.Context) error {
	a, err := arguments(c, "BARREL")
	if err != nil {
		return err
	}
	return post(c, "/v1/barrels/"+url.PathEscape(a[0])+"/checkin", nil, a[0]+" is checked in")
}

func deviceRevoke(c *cli.Context) error {
	a, err := arguments(c, "IMSI|BARREL")
	if err != nil {
		return err
	}
	if err := confirm(c, "revoke for ever", a[0]); err != nil {
		return err
	}
	kind := "barrels"
	if _, err := strconv.ParseUint(a[0], 10, 64); err == nil && len(a[0]) >= 6 {
		kind = "terminals"
	}
	var out adminapi.Revoked
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	if err := cl.call(c.Context, http.MethodPost, "/v1/"+kind+"/"+url.PathEscape(a[0])+"/revoke", adminapi.Reason{Reason: c.String("reason")}, &out); err != nil {
		return err
	}
	return show(c, out, []string{"SESSIONS ENDED", "USES STOPPED", "LOCKS SENT"},
		[][]string{{strconv.Itoa(len(out.Sessions)), strconv.Itoa(len(out.Uses)), strconv.Itoa(len(out.Locks))}})
}

func barrelCommand() *cli.Command {
	return &cli.Command{
		Name:  "barrel",
		Usage: "smart seal barrels",
		Subcommands: []*cli.Command{
			{Name: "list", Usage: "list barrels", Action: barrelList},
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
	var list []adminapi.Barrel
	if err := get(c, "/v1/barrels", &list); err != nil {
		return err
	}
	var rows [][]string
	for _, b := range list {
		rows = append(rows, []string{b.ID, b.Label, b.State, b.SealType, b.MAC, b.CheckedOutTo, strconv.FormatUint(b.GrantCounter, 10), yes(b.Alive)})
	}
	return show(c, list, []string{"BARREL", "LABEL", "STATE", "SEAL", "MAC", "CHECKED OUT TO", "GRANTS", "ALIVE"}, rows)
}

func barrelLock(c *cli.Context) error {
	a, err := arguments(c, "BARREL")
	if err != nil {
		return err
	}
	return post(c, "/v1/barrels/"+url.PathEscape(a[0])+"/lock", adminapi.Reason{Reason: c.String("reason")}, a[0]+": the lock is sent; it is repeated until the barrel acknowledges it")
}
