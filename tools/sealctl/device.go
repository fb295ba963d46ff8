package main

import (
	"net/url"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
)

func deviceCommand() *cli.Command {
	return &cli.Command{
		Name:  "device",
		Usage: "the allow-list: terminals (phones) and barrels",
		Subcommands: append([]*cli.Command{
			{Name: "list", Usage: "list terminals, all or some of them", Flags: filterFlags(), Action: deviceList},
			{Name: "show", Usage: "show one terminal or barrel", ArgsUsage: "IMSI|BARREL", Action: deviceShow},
			{
				Name: "add", Usage: "add a terminal or a barrel", ArgsUsage: "IMSI|BARREL", Flags: append(append(terminalFlags(), barrelFlags()...), reasonFlag(), breakGlassFlag()), Action: deviceAdd,
				Description: "It must not be there yet. A terminal takes at least one --apn, a barrel --mac, --seal-type, --receipt-public-key and\n" +
					"--psk-file or --dtls-cert-sha256.",
			},
			{
				Name: "update", Usage: "change a terminal", ArgsUsage: "IMSI",
				Flags:       append(terminalFlags(), &cli.BoolFlag{Name: "no-credentials", Usage: "remove user name and password"}, reasonFlag(), breakGlassFlag()),
				Description: "What no flag names stays as it is; an empty value removes it.",
				Action:      deviceUpdate,
			},
			deviceImportCommand(),
			deviceExportCommand(),
			deviceBindCommand(),
			{Name: "checkout", Usage: "hand a barrel to a terminal", ArgsUsage: "BARREL IMSI", Flags: []cli.Flag{reasonFlag(), breakGlassFlag()}, Action: deviceCheckOut},
			{Name: "checkin", Usage: "take a barrel back", ArgsUsage: "BARREL", Action: deviceCheckIn},
		}, withdrawCommands()...),
	}
}

func deviceCheckOut(c *cli.Context) error {
	a, err := arguments(c, "BARREL", "IMSI")
	if err != nil {
		return err
	}
	by, err := agreementOf(c, a[0])
	if err != nil {
		return err
	}
	return post(c, by.in("/v1/barrels/"+url.PathEscape(a[0])+"/checkout"), adminapi.CheckOut{IMSI: a[1]}, a[0]+" is checked out to "+a[1])
}

func deviceCheckIn(c *cli.Context) error {
	a, err := arguments(c, "BARREL")
	if err != nil {
		return err
	}
	return post(c, "/v1/barrels/"+url.PathEscape(a[0])+"/checkin", nil, a[0]+" is checked in")
}
