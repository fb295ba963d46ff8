// Command sealsim plays the world around the gateway: `sealsim demo` takes one
// seal through the whole story, with simulators of carrier, phone and barrel, and
// `sealsim check` asks a running gateway whether it works, and leaves nothing there.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/tools/sealsim/check"
	"github.com/sealedge/sealedge/tools/sealsim/demo"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args)
	stop()
	os.Exit(code)
}

// misused is a command line that isn't understood.
type misused struct{ error }

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string) int {
	app := &cli.App{
		Name: "sealsim", Usage: "simulators of carrier, phone and barrel", Version: version, Suggest: true, HideHelpCommand: true,
		Commands: []*cli.Command{{
			Name: "demo", Usage: "take one seal through the whole story, on loopback", HideHelpCommand: true,
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "bin", Usage: "`DIR` of the programs", Value: "build/bin"},
				&cli.StringFlag{Name: "dir", Usage: "empty `DIR` for the demo's files, made if missing; a temporary one by default"},
				&cli.BoolFlag{Name: "stay", Usage: "keep everything running afterwards"},
			},
			OnUsageError: usageError,
			Action: func(c *cli.Context) error {
				if c.Args().Present() {
					return misuse(c, fmt.Sprintf("demo takes flags only, not %q", c.Args().First()))
				}
				return demo.Run(c.Context, demo.Config{Bin: c.String("bin"), Dir: c.String("dir"), Stay: c.Bool("stay"), Out: c.App.Writer})
			},
		}, checkCommand()},
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   usageError,
		Action: func(c *cli.Context) error {
			if name := c.Args().First(); name != "" {
				return misuse(c, fmt.Sprintf("there is no command %q", name))
			}
			c.App.Writer = os.Stderr // words, not data
			_ = cli.ShowAppHelp(c)
			return misuse(c, "say which command")
		},
	}
	err := app.RunContext(ctx, args)
	var done exit
	var wrong misused
	switch {
	case err == nil:
		return 0
	case errors.As(err, &done): // it was said what went wrong
		return int(done)
	}
	fmt.Fprintln(os.Stderr, "sealsim: "+err.Error())
	if errors.As(err, &wrong) {
		return check.ExitCode(check.Usage)
	}
	return 1
}

// misuse is a mistake in the command line, and where to read how it is written.
func misuse(c *cli.Context, words string) error {
	return misused{fmt.Errorf("%s\nsee %s --help", words, c.Command.HelpName)}
}

func usageError(c *cli.Context, err error, _ bool) error { return misuse(c, err.Error()) }
