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
	app := &cli.App{
		Name: "sealsim", Usage: "simulators of carrier, phone and barrel", Version: version, Suggest: true, HideHelpCommand: true,
		Commands: []*cli.Command{{
			Name: "demo", Usage: "take one seal through the whole story, on loopback",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "bin", Usage: "`DIR` of the programs", Value: "build/bin"},
				&cli.StringFlag{Name: "dir", Usage: "empty `DIR` for the demo's files; a temporary one by default"},
				&cli.BoolFlag{Name: "stay", Usage: "keep everything running afterwards"},
			},
			Action: func(c *cli.Context) error {
				return demo.Run(c.Context, demo.Config{Bin: c.String("bin"), Dir: c.String("dir"), Stay: c.Bool("stay"), Out: c.App.Writer})
			},
		}, checkCommand()},
		ExitErrHandler: func(*cli.Context, error) {},
	}
	err := app.RunContext(ctx, os.Args)
	stop()
	os.Exit(code(err))
}

// code says what went wrong, unless that was said, and is the exit code.
func code(err error) int {
	var done exit
	var wrong misused
	switch {
	case err == nil:
		return 0
	case errors.As(err, &done):
		return int(done)
	}
	fmt.Fprintln(os.Stderr, "sealsim: "+err.Error())
	if errors.As(err, &wrong) {
		fmt.Fprintln(os.Stderr, "see sealsim check --help")
		return check.ExitCode(check.Usage)
	}
	return 1
}
