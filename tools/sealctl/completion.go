package main

import (
	"embed"
	"fmt"

	"github.com/urfave/cli/v2"
)

//go:embed completion/*
var completionScripts embed.FS

// shells that there are scripts for.
var shells = []string{"bash", "zsh", "fish"}

func completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print the script by which a shell completes sealctl's command lines", ArgsUsage: "bash|zsh|fish", Action: completion,
		Description: withExamples("Names of devices, orders, sessions and so on are read from the cluster, as you: such a read stands in the audit\n"+
			"chain as any other.",
			"source <(sealctl completion bash)",
			"sealctl completion zsh > ~/.zfunc/_sealctl",
			"sealctl completion fish > ~/.config/fish/completions/sealctl.fish"),
	}
}

func completion(c *cli.Context) error {
	a, err := arguments(c, "SHELL")
	if err != nil {
		return err
	}
	script, err := completionScripts.ReadFile("completion/" + a[0])
	if err != nil {
		return usage(fmt.Sprintf("there is no script for %q", a[0]) + didYouMean(a[0], shells) + "; it is bash, zsh or fish")
	}
	_, err = c.App.Writer.Write(script)
	return err
}
