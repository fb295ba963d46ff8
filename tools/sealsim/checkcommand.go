package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
	"github.com/sealedge/sealedge/tools/sealsim/check"
)

// exit is the exit code of a check that said all there is to say.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

const checkWords = `Plays a carrier's gateway and a terminal: opens a session, asks inside it what would be granted for an
order that cannot exist, and closes it. Nothing is reserved and nothing granted. It takes UDP 2123 and
2152 of an address in gateway.gtp.allowed_peers, no privilege, and a terminal on the allow-list that
nobody else uses: docs/check.md.

Every option may be given as a variable instead, $SEALSIM_CHECK_ and its name in capitals
(SEALSIM_CHECK_SEAL_SERVER). Passwords come in a file, or in $SEALSIM_CHECK_PASSWORD and
$SEALSIM_CHECK_APN_PASSWORD.`

func checkCommand() *cli.Command {
	var codes strings.Builder
	check.ExitCodes(&codes)
	flags := []cli.Flag{
		&cli.StringFlag{Name: "gateway", Usage: "`ADDRESS` for GTP, gateway.address"},
		&cli.StringFlag{Name: "local", Usage: "`ADDRESS` of this machine where GTP comes from; that of the route by default"},
		&cli.BoolFlag{Name: "gtpv1", Usage: "as an SGSN on Gn/Gp, not an SGW on S5/S8"},
		&cli.StringFlag{Name: "inner", Usage: "`ADDRESS` of the gateway inside the tunnel, one of inner.addresses"},
		&cli.UintFlag{Name: "inner-port", Usage: "`PORT` of the phone API, inner.phone_api.port", Value: wire.PhonePort},
		&cli.StringFlag{Name: "imsi", Usage: "`IMSI` of the terminal"},
		&cli.StringFlag{Name: "imei", Usage: "`IMEI` of its handset; not told by default"},
		&cli.StringFlag{Name: "apn", Usage: "`NAME` of the access point"},
		&cli.StringFlag{Name: "plmn", Usage: "`CODE` of the serving network; the first five digits of the IMSI by default"},
		&cli.UintFlag{Name: "tac", Usage: "`CODE` of the tracking area, for a policy with places"},
		&cli.UintFlag{Name: "cell", Usage: "`IDENTITY` of the cell, for a policy with places"},
		&cli.StringFlag{Name: "apn-user", Usage: "`NAME` at the access point, where it asks for one"},
		&cli.StringFlag{Name: "apn-password-file", Usage: "`FILE` with its password"},
		&cli.BoolFlag{Name: "chap", Usage: "show the password in CHAP, not PAP"},
		&cli.StringFlag{Name: "ca", Usage: "`FILE` with the CA of the phone API's certificate"},
		&cli.StringFlag{Name: "cert", Usage: "`FILE` with the terminal's certificate, if its record has one"},
		&cli.StringFlag{Name: "key", Usage: "`FILE` with its private key"},
		&cli.StringFlag{Name: "seal-server", Usage: "`HOST:PORT` of the seal server, as terminals name it"},
		&cli.StringFlag{Name: "user", Usage: "`NAME` to log in with at the seal server; without one the check only sees that it answers"},
		&cli.StringFlag{Name: "password-file", Usage: "`FILE` with its password"},
		&cli.StringFlag{Name: "order", Usage: "`NUMBER` of an order that cannot exist; a random one by default"},
		&cli.StringFlag{Name: "barrel", Aliases: []string{"seal"}, Usage: "`SERIAL` of the barrel that is asked for", Value: "SEALSIM-CHECK"},
		&cli.StringFlag{Name: "barrel-psk-file", Usage: "`FILE` with its pre-shared key in base64: plays the barrel, so that the seal server is asked about the order"},
		&cli.StringFlag{Name: "barrel-mac", Usage: "`MAC` of that barrel"},
		&cli.UintFlag{Name: "barrel-port", Usage: "`PORT` of the barrel API, inner.barrel_api.port", Value: wire.BarrelPort},
		&cli.StringSliceFlag{Name: "expect", Usage: "`CODE` of the decision that is right; by default barrel-not-bound, with a barrel order-unknown"},
		&cli.DurationFlag{Name: "t3", Usage: "`TIME` before a request of GTP is sent again", Value: time.Second},
		&cli.IntFlag{Name: "n3", Usage: "`TIMES` that it is", Value: 3},
		&cli.DurationFlag{Name: "timeout", Usage: "`TIME` for everything but closing the session", Value: time.Minute},
		&cli.BoolFlag{Name: "json", Usage: "the report as JSON"},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "what the simulators do, on standard error"},
	}
	for _, f := range flags {
		variable := []string{"SEALSIM_CHECK_" + strings.ToUpper(strings.ReplaceAll(f.Names()[0], "-", "_"))}
		switch f := f.(type) {
		case *cli.StringFlag:
			f.EnvVars = variable
		case *cli.BoolFlag:
			f.EnvVars = variable
		case *cli.UintFlag:
			f.EnvVars = variable
		case *cli.IntFlag:
			f.EnvVars = variable
		case *cli.DurationFlag:
			f.EnvVars = variable
		case *cli.StringSliceFlag:
			f.EnvVars = variable
		}
	}
	return &cli.Command{
		Name: "check", Usage: "attach, have a seal use decided and detach, against a running gateway",
		Description: checkWords + "\n\nExit codes:\n" + codes.String(), HideHelpCommand: true, Flags: flags,
		OnUsageError: usageError,
		Action:       runCheck,
	}
}

// runCheck reads the command line, checks and reports.
func runCheck(c *cli.Context) error {
	cfg, err := checkConfig(c)
	if err != nil {
		return misuse(c, err.Error())
	}
	if c.Bool("verbose") {
		cfg.Logger = slog.New(slog.NewTextHandler(c.App.ErrWriter, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	out := c.App.Writer
	if !c.Bool("json") {
		cfg.Step = func(s check.Step) { s.Print(out) }
	}
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	report := check.Run(ctx, cfg)
	if err := say(out, report, c.Bool("json")); err != nil {
		return err
	}
	if report.ExitCode != 0 {
		return exit(report.ExitCode)
	}
	return nil
}

func say(out io.Writer, report *check.Report, asJSON bool) error {
	if !asJSON {
		report.Print(out)
		return nil
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(report)
}

// checkConfig reads the flags, and tells all mistakes at once.
func checkConfig(c *cli.Context) (cfg check.Config, err error) {
	var errs []error
	wrong := func(flag string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", flag, err))
		}
	}
	for _, name := range []string{"gateway", "inner", "imsi", "apn", "ca", "seal-server"} {
		if c.String(name) == "" {
			wrong(name, fmt.Errorf("is needed (or $SEALSIM_CHECK_%s)", strings.ToUpper(strings.ReplaceAll(name, "-", "_"))))
		}
	}
	if c.Args().Present() {
		errs = append(errs, fmt.Errorf("%q: there are no arguments, only flags", c.Args().First()))
	}
	if len(errs) > 0 {
		return cfg, errors.Join(errs...)
	}
	address := func(flag string, into *netip.Addr, only4 bool) {
		if c.String(flag) == "" {
			return
		}
		a, err := netip.ParseAddr(c.String(flag))
		if err == nil && only4 && !a.Is4() {
			err = errors.New("want an IPv4 address")
		}
		*into = a
		wrong(flag, err)
	}
	port := func(flag string) uint16 {
		n := c.Uint(flag)
		if n == 0 || n > math.MaxUint16 {
			wrong(flag, errors.New("want 1 to 65535"))
		}
		return uint16(n)
	}
	address("gateway", &cfg.Gateway, true)
	address("local", &cfg.Local, true)
	address("inner", &cfg.Inner, false)
	cfg.SIM, err = check.Terminal(c.String("imsi"), c.String("imei"), c.String("apn"), c.String("plmn"))
	if err != nil {
		errs = append(errs, err)
	}
	cfg.SIM.GTPv1, cfg.SIM.TAC, cfg.SIM.Cell = c.Bool("gtpv1"), uint16(c.Uint("tac")), uint32(c.Uint("cell"))
	if c.Uint("tac") > math.MaxUint16 || c.Uint("cell") >= 1<<28 {
		errs = append(errs, errors.New("--tac has 16 bits, --cell 28"))
	}
	cfg.Port, cfg.SealServer, cfg.User = port("inner-port"), c.String("seal-server"), c.String("user")
	cfg.Order = cmp.Or(c.String("order"), "SEALSIM-CHECK-"+rand.Text()[:12])
	_, err = ident.ParseOrderNo(cfg.Order)
	wrong("order", err)
	barrel, err := ident.ParseBarrelID(c.String("barrel"))
	cfg.Barrel = barrel.String()
	wrong("barrel", err)
	for _, code := range c.StringSlice("expect") {
		if _, known := wire.Code(code).Kind(); !known {
			wrong("expect", fmt.Errorf("%q is no code; docs/api/phone.yaml lists them", code))
		}
		cfg.Expect = append(cfg.Expect, wire.Code(code))
	}
	cfg.T3, cfg.N3 = c.Duration("t3"), c.Int("n3")
	if cfg.T3 <= 0 || cfg.N3 <= 0 {
		errs = append(errs, errors.New("--t3 and --n3 are more than 0"))
	}
	return cfg, errors.Join(append(errs, checkSecrets(c, &cfg)...)...)
}

// checkSecrets reads the files that the flags name.
func checkSecrets(c *cli.Context, cfg *check.Config) (errs []error) {
	wrong := func(flag string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", flag, err))
		}
	}
	// secret is a file's content without its line end, or a variable's.
	secret := func(flag, variable string) string {
		if c.String(flag) == "" {
			return os.Getenv(variable)
		}
		b, err := os.ReadFile(c.String(flag))
		wrong(flag, err)
		return strings.TrimRight(string(b), "\r\n")
	}
	pem, err := os.ReadFile(c.String("ca"))
	wrong("ca", err)
	cfg.RootCAs = x509.NewCertPool()
	if err == nil && !cfg.RootCAs.AppendCertsFromPEM(pem) {
		wrong("ca", errors.New("holds no certificate (PEM)"))
	}
	if c.String("cert") != "" || c.String("key") != "" {
		pair, err := tls.LoadX509KeyPair(c.String("cert"), c.String("key"))
		cfg.Certificate = &pair
		wrong("cert", err)
	}
	cfg.Password = secret("password-file", "SEALSIM_CHECK_PASSWORD")
	if cfg.User != "" && cfg.Password == "" {
		wrong("user", errors.New("its password is missing: --password-file, or $SEALSIM_CHECK_PASSWORD"))
	}
	if c.String("apn-user") != "" {
		cfg.SIM.Login = carrier.Login{
			User: c.String("apn-user"), Password: secret("apn-password-file", "SEALSIM_CHECK_APN_PASSWORD"), CHAP: c.Bool("chap"),
		}
	}
	if c.String("barrel-psk-file") == "" {
		return errs
	}
	cfg.Seal = &check.Seal{Port: uint16(c.Uint("barrel-port"))}
	cfg.Seal.MAC, err = ident.ParseMAC(c.String("barrel-mac"))
	wrong("barrel-mac", err)
	cfg.Seal.PSK, err = base64.StdEncoding.DecodeString(strings.TrimSpace(secret("barrel-psk-file", "")))
	if err == nil && len(cfg.Seal.PSK) == 0 {
		err = errors.New("holds no key")
	}
	wrong("barrel-psk-file", err)
	return errs
}
