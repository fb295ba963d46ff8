// Command sealctl is the tool of seal administrators and operators: it lists
// and changes devices, orders and sessions, applies policy, and exports and
// verifies the audit chain, over the gateway's admin API.
//
// Data goes to standard output, words to standard error. The exit code tells
// what happened: see exitcodes.go.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := newApp(stdout, stderr)
	err := app.RunContext(ctx, flagsFirst(app, args))
	if err == nil {
		return exitOK
	}
	if code, done := err.(finished); done {
		return int(code)
	}
	fmt.Fprintln(stderr, "sealctl: "+words(err))
	if hint := hintOf(err); hint != "" {
		fmt.Fprintln(stderr, "hint: "+hint)
	}
	return exitCode(err)
}

func newApp(stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:                   "sealctl",
		Usage:                  "administer seals, devices and the gateway cluster",
		Version:                version,
		Writer:                 stdout,
		ErrWriter:              stderr,
		Suggest:                true,
		UseShortOptionHandling: true,
		HideHelpCommand:        true,
		EnableBashCompletion:   true,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "context", Usage: "`FILE` that says where the cluster is and who you are", EnvVars: []string{"SEALCTL_CONTEXT"}, Value: "sealctl.yaml"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FORMAT`: table, json or yaml", Value: "table"},
			&cli.BoolFlag{Name: "stale", Usage: "read what the node knows, without asking the cluster (works without a quorum)"},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask before something that cannot be taken back"},
		},
		Commands: []*cli.Command{
			deviceCommand(), barrelCommand(), orderCommand(), useCommand(), sessionCommand(), peersCommand(), traceCommand(), proceduresCommand(),
			policyCommand(), auditCommand(), clusterCommand(), drillCommand(), backupCommand(), epochCommand(),
		},
		CommandNotFound: func(c *cli.Context, name string) {},
		ExitErrHandler:  func(*cli.Context, error) {}, // run decides
		OnUsageError:    usageError,
		Action:          needCommand,
	}
	for _, c := range app.Commands {
		prepare(c)
	}
	return app
}

// prepare gives every command the same manners.
func prepare(c *cli.Command) {
	c.OnUsageError = usageError
	c.HideHelpCommand = true
	if len(c.Subcommands) > 0 {
		c.Action = needCommand
	}
	for _, s := range c.Subcommands {
		prepare(s)
	}
}

func usageError(_ *cli.Context, err error, _ bool) error { return usage(err.Error()) }

// needCommand answers a group of commands that was called without one, or with
// one that isn't there.
func needCommand(c *cli.Context) error {
	if name := c.Args().First(); name != "" {
		err := fmt.Sprintf("there is no command %q here", name)
		if s := cli.SuggestCommand(c.App.Commands, name); s != "" {
			return usage(err + ". " + s)
		}
		return usage(err)
	}
	_ = cli.ShowSubcommandHelp(c)
	return usage("say which command")
}

// arguments returns exactly the named arguments, or a usage error that names
// the missing one.
func arguments(c *cli.Context, names ...string) ([]string, error) {
	got := c.Args().Slice()
	if len(got) < len(names) {
		return nil, usage(fmt.Sprintf("%s is missing", names[len(got)]))
	}
	if len(got) > len(names) {
		return nil, usage(fmt.Sprintf("%q is one argument too many", got[len(names)]))
	}
	return got, nil
}
