package main

import (
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/tools/sealctl/devicefile"
)

func deviceExportCommand() *cli.Command {
	return &cli.Command{
		Name: "export", Usage: "write terminals and barrels as device import reads them", ArgsUsage: "[FILE]",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "kind", Usage: "`KIND`, terminals or barrels; both unless said, which a table can't have"},
			&cli.StringFlag{Name: "format", Usage: "`FORMAT`, csv or yaml; as FILE's name says, or csv with --kind and yaml without"},
		}, filterFlags()...),
		Description: withExamples("Without FILE it goes to standard output. Passwords and keys are not in it: imported again, those that are stored stay.",
			"sealctl device export --kind terminals terminals.csv",
			"sealctl device export --kind barrels --seal-type contract > contract.csv",
			"sealctl device export devices.yaml"),
		Action: deviceExport,
	}
}

func deviceExport(c *cli.Context) error {
	if c.Args().Len() > 1 {
		_, err := arguments(c, "FILE")
		return err
	}
	kind, format, err := exportFormat(c)
	if err != nil {
		return err
	}
	query, err := filterQuery(c)
	if err != nil {
		return err
	}
	var terminals []adminapi.Terminal
	var barrels []adminapi.Barrel
	if kind != devicefile.Barrels {
		if terminals, err = all[adminapi.Terminal](c, "/v1/terminals"+query); err != nil {
			return err
		}
	}
	if kind != devicefile.Terminals {
		if barrels, err = all[adminapi.Barrel](c, "/v1/barrels"+query); err != nil {
			return err
		}
	}
	write := func(w io.Writer) error { return devicefile.WriteYAML(w, terminals, barrels) }
	switch {
	case format == devicefile.CSV && kind == devicefile.Terminals:
		write = func(w io.Writer) error { return devicefile.WriteTerminals(w, terminals) }
	case format == devicefile.CSV:
		write = func(w io.Writer) error { return devicefile.WriteBarrels(w, barrels) }
	}
	if c.Args().Len() == 0 {
		return write(c.App.Writer)
	}
	if err := writeOwn(c.Args().First(), write); err != nil {
		return err
	}
	fmt.Fprintf(c.App.ErrWriter, "%d terminals and %d barrels are in %s\n", len(terminals), len(barrels), c.Args().First())
	return nil
}

func exportFormat(c *cli.Context) (kind, format string, err error) {
	kind, format = c.String("kind"), c.String("format")
	if format == "" && c.Args().Present() {
		format = devicefile.Format(c.Args().First())
	}
	if format == "" && kind != "" {
		format = devicefile.CSV
	}
	if format == "" {
		format = devicefile.YAML
	}
	switch {
	case kind != "" && kind != devicefile.Terminals && kind != devicefile.Barrels:
		return "", "", usage(fmt.Sprintf("--kind %q is not known; it is terminals or barrels", kind))
	case format != devicefile.CSV && format != devicefile.YAML:
		return "", "", usage(fmt.Sprintf("--format %q is not known; it is csv or yaml", format))
	case format == devicefile.CSV && kind == "":
		return "", "", usage("a table is of terminals or of barrels: say --kind")
	}
	return kind, format, nil
}

// writeOwn writes a file that its owner alone can read: it has personal data. What
// was there stays if that fails.
func writeOwn(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name+".part", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return &hinted{exitUsage, err.Error(), "name a file that you may write"}
	}
	err = write(f)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
