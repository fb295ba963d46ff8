package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/bundle"
)

func policyCommand() *cli.Command {
	return &cli.Command{
		Name:  "policy",
		Usage: "the policy document",
		Subcommands: append(analysisCommands(), []*cli.Command{
			{Name: "validate", Usage: "check a policy file, without a cluster", ArgsUsage: "FILE", Action: policyValidate},
			{Name: "show", Usage: "print the document in force", Action: policyShow},
			{Name: "apply", Usage: "put a file in force as a new revision", ArgsUsage: "FILE", Action: policyApply},
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

func policyShow(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	var p adminapi.Policy
	if err := get(c, "/v1/policy", &p); err != nil {
		return err
	}
	if c.String("output") != "table" {
		return show(c, p, nil, nil)
	}
	fmt.Fprintf(c.App.ErrWriter, "revision %d, SHA-256 %s\n", p.Revision, p.SHA256)
	fmt.Fprint(c.App.Writer, p.Document)
	return nil
}

func policyApply(c *cli.Context) error {
	_, doc, err := readPolicy(c)
	if err != nil {
		return err
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	// The base is what is in force now; a change in between is a conflict.
	var now adminapi.Policy
	if err := cl.call(c.Context, http.MethodGet, "/v1/policy", nil, &now); err != nil {
		var p *wire.Problem
		if !errors.As(err, &p) || p.Code != wire.CodeNotFound {
			return err
		}
	}
	var out adminapi.Policy
	if err := cl.call(c.Context, http.MethodPut, "/v1/policy", adminapi.Policy{Document: string(doc), BaseRevision: now.Revision}, &out); err != nil {
		return err
	}
	fmt.Fprintf(c.App.ErrWriter, "revision %d is in force\n", out.Revision)
	return nil
}
