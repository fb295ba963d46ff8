package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/policy/bundle"
)

func policyCommand() *cli.Command {
	return &cli.Command{
		Name:  "policy",
		Usage: "the policy document",
		Subcommands: append(append(policyControlCommands(), analysisCommands()...), []*cli.Command{
			{Name: "validate", Usage: "check a policy file, without a cluster", ArgsUsage: "FILE", Action: policyValidate},
		}...),
	}
}

func readPolicy(c *cli.Context) (string, []byte, error) {
	a, err := arguments(c, "FILE")
	if err != nil {
		return "", nil, err
	}
	doc, err := os.ReadFile(a[0])
	if err != nil {
		return "", nil, &hinted{exitUsage, err.Error(), "name a policy file; 'sealedge init' writes a first one"}
	}
	if _, _, err := bundle.Parse(a[0], doc); err != nil {
		return "", nil, &hinted{exitDenied, err.Error(), "nothing was sent; mend the lines named above"}
	}
	return a[0], doc, nil
}

func policyValidate(c *cli.Context) error {
	file, _, err := readPolicy(c)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.App.ErrWriter, file+" is a valid policy")
	return nil
}
