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
	"time"

	"github.com/urfave/cli/v2"
)

// version is set by the linker.
var version = "unknown"

func init() {
	cli.VersionFlag = &cli.BoolFlag{Name: "version", Usage: "print the version"} // -v is --verbose
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 1 && args[1] == completeWord {
		complete(ctx, args[2:], stdout)
		return exitOK
	}
	app := newApp(stdout, stderr)
	args, err := arrange(app, args)
	if err == nil {
		err = app.RunContext(ctx, args)
	}
	if err == nil {
		return exitOK
	}
	if code, done := err.(finished); done {
		return int(code)
	}
	fmt.Fprintln(stderr, "sealctl: "+cleanLines(words(err)))
	if hint := hintOf(err); hint != "" {
		fmt.Fprintln(stderr, "hint: "+cleanLines(hint))
	}
	return exitCode(err)
}

func newApp(stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:            "sealctl",
		Usage:           "administer seals, devices and the gateway cluster",
		Version:         version,
		Writer:          stdout,
		ErrWriter:       stderr,
		HideHelpCommand: true,
		Flags: append(settingFlags(),
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FORMAT`: table, json or yaml", Value: "table"},
			&cli.BoolFlag{Name: "stale", Usage: "read what the node knows, without asking the cluster (works without a quorum)"},
			&cli.DurationFlag{Name: "retry", Usage: "`TIME` to go on trying while no node can answer", Value: 5 * time.Second, EnvVars: []string{"SEALCTL_RETRY"}},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask before something that cannot be taken back"},
			&cli.BoolFlag{Name: "no-input", Usage: "never ask: what would need an answer is a usage error, unless --yes gives it"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "say which node answered what"},
		),
		Commands: []*cli.Command{
			deviceCommand(), barrelCommand(), routerCommand(), fallbackCommand(), orderCommand(), useCommand(), sessionCommand(), peersCommand(), traceCommand(), proceduresCommand(),
			policyCommand(), changeCommand(), auditCommand(), clusterCommand(), drillCommand(), backupCommand(), epochCommand(), tokenCommand(),
			contextCommand(), completionCommand(),
		},
		ExitErrHandler: func(*cli.Context, error) {}, // run decides
		OnUsageError:   usageError,
		Before:         checkOutput,
		Action:         needAnyCommand,

		CustomAppHelpTemplate: cli.AppHelpTemplate + exitCodeHelp(),
	}
	for _, c := range app.Commands {
		prepare(c, c.Name)
	}
	return app
}

// prepare gives every command the same manners; name is its words.
func prepare(c *cli.Command, name string) {
	c.OnUsageError = usageError
	c.HideHelpCommand = true
	if len(c.Subcommands) > 0 {
		c.Action = needCommand
		c.CustomHelpTemplate = cli.SubcommandHelpTemplate + globalHelp
		for _, s := range c.Subcommands {
			prepare(s, name+" "+s.Name)
		}
		return
	}
	c.CustomHelpTemplate = cli.CommandHelpTemplate + globalHelp
	if _, lines := examplesOf(c); lines == nil && examples[name] != nil {
		c.Description = withExamples(c.Description, examples[name]...)
	}
}

func usageError(_ *cli.Context, err error, _ bool) error { return usage(err.Error()) }

// needCommand answers a group of commands that was called without one; arrange
// has refused one that isn't there.
func needCommand(c *cli.Context) error { return helpFirst(c, cli.ShowSubcommandHelp) }

// needAnyCommand does so for the program.
func needAnyCommand(c *cli.Context) error { return helpFirst(c, cli.ShowAppHelp) }

func helpFirst(c *cli.Context, help func(*cli.Context) error) error {
	c.App.Writer = c.App.ErrWriter // words, not data
	_ = help(c)                    // of no use where nothing can be written
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
