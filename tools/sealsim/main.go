// Command sealsim plays the world around the gateway: `sealsim demo` takes one
// seal through the whole story, with simulators of carrier, phone and barrel.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

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
		}},
		ExitErrHandler: func(*cli.Context, error) {},
	}
	err := app.RunContext(ctx, os.Args)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "sealsim: "+err.Error())
		os.Exit(1)
	}
}
