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
				Name: "add", Usage: "add a terminal", ArgsUsage: "IMSI", Flags: terminalFlags(), Action: deviceAdd,
				Description: "It must not be there yet. Name at least one --apn.",
			},
			{
				Name: "update", Usage: "change a terminal", ArgsUsage: "IMSI",
				Flags:       append(terminalFlags(), &cli.BoolFlag{Name: "no-credentials", Usage: "remove user name and password"}),
				Description: "What no flag names stays as it is; an empty value removes it.",
				Action:      deviceUpdate,
			},
			{
				Name: "import", Usage: "add or replace the terminals and barrels of a file", ArgsUsage: "FILE",
				Description: "FILE is YAML with the lists terminals and barrels; \"checked_out_to\" of a barrel hands it out. " +
					"A terminal's \"credentials\" are user, password and chap; without them those that are stored stay, and {} removes them.",
				Action: deviceImport,
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
