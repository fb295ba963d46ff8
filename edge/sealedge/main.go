// Command sealedge is the gateway daemon: one node of the cluster that ends the
// tunnels of terminals, admits devices, applies policy, keeps the ledger of
// seal uses and signs unlock grants. See docs/architecture.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/capability"
	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/setup"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // it ran, and failed
	exitUsage  = 2 // command line or configuration: nothing was started
)

// mistake is an error of the person who called.
type mistake struct{ error }

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	set := &cli.StringSliceFlag{Name: "set", Usage: "`KEY=VALUE` over file and environment, such as log.level=debug; may be repeated"}
	app := &cli.App{
		Name: "sealedge", Usage: "the gateway for seal use over a private APN", Version: version,
		Suggest: true, HideHelpCommand: true, Writer: stdout, ErrWriter: stderr,
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   func(c *cli.Context, err error, _ bool) error { return misused(c, err.Error()) },
		Action:         func(c *cli.Context) error { return unknown(c) },
		Commands: []*cli.Command{
			{
				Name: "run", Usage: "run a node", ArgsUsage: "FILE", Flags: []cli.Flag{set},
				Action: func(c *cli.Context) error { return runNode(c, stderr) },
			},
			{
				Name: "init", Usage: "make a CA, certificates, configurations and a first policy that run as they are", ArgsUsage: "DIR",
				Flags: append(siteFlags(),
					&cli.IntFlag{Name: "nodes", Value: 3, Usage: "`NUMBER` of nodes; a write waits for the majority"},
					&cli.BoolFlag{Name: "ipv6", Usage: "terminals get an IPv6 prefix beside their IPv4 address"},
					&cli.StringFlag{Name: "kubernetes", Usage: "the nodes are pods: `NAMESPACE/NAME` of the chart's StatefulSet; makes a Secret for it"},
				),
				Action: initialize,
			},
			{
				Name: "operator", Usage: "issue a certificate for one more person, who administers the cluster with sealctl", ArgsUsage: "DIR",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "name", Usage: "`NAME` of the person, as it is to stand in the audit chain"},
					&cli.StringSliceFlag{Name: "role", Usage: "`ROLE`: " + strings.Join(setup.Roles, ", ") + "; may be repeated"},
				},
				Action: addOperator,
			},
			{Name: "check-config", Usage: "explain every mistake of a configuration", ArgsUsage: "FILE", Flags: []cli.Flag{set}, Action: checkConfig},
			drainCommand(), restoreCommand(), recoverCommand(),
			{
				Name: "reference", Usage: "print a configuration with every key explained",
				Action: func(c *cli.Context) error {
					if c.Args().Present() {
						return misused(c, "reference takes no argument")
					}
					_, err := c.App.Writer.Write(config.Reference())
					return err
				},
			},
		},
	}
	for _, c := range app.Commands {
		c.OnUsageError = app.OnUsageError
		c.HideHelpCommand = true
		demand(c)
	}
	err := app.RunContext(ctx, args)
	if err == nil {
		return exitOK
	}
	var said coded
	if errors.As(err, &said) {
		return said.code
	}
	fmt.Fprintln(stderr, "sealedge: "+err.Error())
	var m mistake
	if errors.As(err, &m) {
		return exitUsage
	}
	return exitFailed
}

// misused is a mistake in the command line, and where to read how it is written.
func misused(c *cli.Context, words string) error {
	return mistake{fmt.Errorf("%s; see %s --help", words, c.Command.HelpName)}
}

func unknown(c *cli.Context) error {
	if name := c.Args().First(); name != "" {
		return misused(c, fmt.Sprintf("there is no command %q", name))
	}
	c.App.Writer = c.App.ErrWriter // words, not data
	_ = cli.ShowAppHelp(c)
	return misused(c, "say which command")
}

// needed are the flags that a command can't do without. The library's own
// Required prints the whole help and ends like a failure; demand makes them a
// mistake like any other.
var needed = map[string][]string{
	"operator": {"name", "role"},
	"restore":  {"config", "from", "identity"},
	"recover":  {"config"},
}

func demand(cmd *cli.Command) {
	act := cmd.Action
	cmd.Action = func(c *cli.Context) error {
		for _, name := range needed[cmd.Name] {
			for _, f := range cmd.Flags {
				if said, ok := f.(cli.DocGenerationFlag); ok && f.Names()[0] == name && !c.IsSet(name) {
					return misused(c, fmt.Sprintf("%s needs --%s %s", cmd.Name, name, strings.ReplaceAll(said.GetUsage(), "`", "")))
				}
			}
		}
		return act(c)
	}
}

// argument returns the command's only argument.
func argument(c *cli.Context, name string) (string, error) {
	if c.Args().Len() != 1 {
		return "", mistake{fmt.Errorf("%s takes one argument, %s, after its flags", c.Command.Name, name)}
	}
	return c.Args().First(), nil
}

// overrides reads the values of --set.
func overrides(c *cli.Context) (map[string]string, error) {
	flags := map[string]string{}
	for _, kv := range c.StringSlice("set") {
		k, v, ok := strings.Cut(kv, "=")
		if !ok {
			return nil, mistake{fmt.Errorf("--set %s: write KEY=VALUE, such as log.level=debug", kv)}
		}
		flags[k] = v
	}
	return flags, nil
}

func runNode(c *cli.Context, stderr io.Writer) error {
	file, err := argument(c, "FILE")
	if err != nil {
		return err
	}
	flags, err := overrides(c)
	if err != nil {
		return err
	}
	if problems := config.Check(file, flags, time.Now()); len(problems) > 0 {
		return mistake{problems}
	}
	cfg, err := config.Load(file, flags)
	if err != nil {
		return mistake{err}
	}
	level := new(slog.LevelVar)
	level.Set(cfg.Log.Level)
	log := logger(cfg.Log, level, stderr)
	if err := capability.Raise(); err != nil {
		log.Warn("running without them", "err", err)
	}
	g, err := open(cfg, log)
	if err != nil {
		return err
	}
	g.reloading(file, flags, level)
	return errors.Join(g.run(c.Context), g.shut())
}

func logger(cfg config.Log, level slog.Leveler, w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

func initialize(c *cli.Context) error {
	dir, err := argument(c, "DIR")
	if err != nil {
		return err
	}
	if n := c.Int("nodes"); n < 1 { // to setup, 0 means its default
		return mistake{fmt.Errorf("--nodes %d: make 1 to %d, best 3", n, setup.MaxNodes)}
	}
	o := setup.Options{Nodes: c.Int("nodes"), Now: time.Now()}
	if c.Bool("ipv6") {
		// Unique local addresses (RFC 4193), as the IPv4 ones are private.
		o.Inner6, o.Pool6 = netip.MustParseAddr("fd00:90::1"), netip.MustParsePrefix("fd00:90::/48")
	}
	if err := readSite(c, &o); err != nil {
		return mistake{err}
	}
	if at := c.String("kubernetes"); at != "" {
		if o.Kubernetes, err = setup.ParseKubernetes(at); err != nil {
			return mistake{fmt.Errorf("--kubernetes %w", err)}
		}
	}
	l, err := setup.Init(dir, o)
	if err != nil {
		return mistake{err}
	}
	w := c.App.Writer
	if l.Secret != "" {
		fmt.Fprintf(w, "Made in %s. Give the nodes what they hold, and install the chart with pki.existingSecret=%s-pki:\n\n  kubectl apply -f %s\n\n", dir, o.Kubernetes.Name, l.Secret)
		fmt.Fprintf(w, "When they are ready, put the first policy in force:\n\n  sealctl --context %s policy apply %s\n\n", l.Context, l.Policy)
		fmt.Fprintf(w, "Keep %s away from the cluster: who has it can make nodes and operators.\n", filepath.Join(dir, "pki", "ca-key.pem"))
		return nil
	}
	if slices.ContainsFunc(o.Hosts, func(h netip.Addr) bool { return !h.IsLoopback() }) {
		fmt.Fprintf(w, "Made in %s. Each machine gets its node's configuration and the files of %s that this names, and no other;\n", dir, filepath.Join(dir, "pki"))
		fmt.Fprintf(w, "docs/install-linux.md has the commands. Then run each node on its own:\n\n")
		for i, n := range l.Nodes {
			fmt.Fprintf(w, "  %s: sealedge run %s\n", o.Hosts[i], filepath.Base(n))
		}
	} else {
		fmt.Fprintf(w, "Made in %s. To run it, each in a terminal of its own:\n\n", dir)
		fmt.Fprintf(w, "  sealserver serve --config %s\n", l.SealServer)
		for _, n := range l.Nodes {
			fmt.Fprintf(w, "  sealedge run %s\n", n)
		}
	}
	fmt.Fprintf(w, "\nThen put the first policy in force:\n\n  sealctl --context %s policy apply %s\n\n", l.Context, l.Policy)
	fmt.Fprintf(w, "Keep %s off these machines: who has it can make nodes and operators.\n", filepath.Join(dir, "pki", "ca-key.pem"))
	return nil
}

func addOperator(c *cli.Context) error {
	dir, err := argument(c, "DIR")
	if err != nil {
		return err
	}
	context, err := setup.AddOperator(dir, c.String("name"), c.StringSlice("role"), time.Now())
	if err != nil {
		return mistake{err}
	}
	fmt.Fprintf(c.App.Writer, "Made %s for %s. Hand it over, and keep no copy: with it one acts as that person.\n\n  sealctl --context %s cluster status\n", filepath.Dir(context), c.String("name"), context)
	return nil
}

func checkConfig(c *cli.Context) error {
	file, err := argument(c, "FILE")
	if err != nil {
		return err
	}
	flags, err := overrides(c)
	if err != nil {
		return err
	}
	if problems := config.Check(file, flags, time.Now()); len(problems) > 0 {
		return mistake{problems}
	}
	fmt.Fprintln(c.App.Writer, file+" is in order")
	return nil
}
