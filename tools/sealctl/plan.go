package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/bundle"
)

// savedPlan is a plan in a file. It is bound to its base and to its document.
type savedPlan struct {
	Format  int           `json:"sealedge_plan"` // planFormat
	File    string        `json:"file"`          // that was planned, for people
	Plan    adminapi.Plan `json:"plan"`
	Comment string        `json:"comment"`
}

const planFormat = 1

func planCommand() *cli.Command {
	return &cli.Command{
		Name: "plan", Usage: "say what a policy file would change, and who has to agree", ArgsUsage: "FILE",
		Flags: []cli.Flag{&cli.StringFlag{Name: "save", Usage: "`PLAN` file to write, for 'policy apply': it holds for the revision in force only"}},
		Description: withExamples("Nothing is changed. It ends with exit code 3 when there are differences, and 0 when the file is the policy in force.",
			"sealctl policy plan policy.yaml", "sealctl policy plan policy.yaml --save friday.plan"),
		Action: policyPlan,
	}
}

// inForce is the policy in force; the zero Policy before the first.
func inForce(c *cli.Context, cl *client) (now adminapi.Policy, err error) {
	err = cl.call(c.Context, http.MethodGet, "/v1/policy", nil, &now)
	var p *wire.Problem
	if errors.As(err, &p) && p.Code == wire.CodeNotFound {
		err = nil
	}
	return now, err
}

func policyPlan(c *cli.Context) error {
	file, doc, err := readPolicy(c)
	if err != nil {
		return err
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	now, err := inForce(c, cl)
	if err != nil {
		return err
	}
	plan, err := planOf(c, cl, adminapi.Proposal{Document: string(doc), BaseRevision: now.Revision})
	if err != nil {
		return err
	}
	if name := c.String("save"); name != "" {
		plan.Document = string(doc)
		saved := savedPlan{Format: planFormat, File: file, Plan: plan, Comment: fmt.Sprintf("apply it with: sealctl policy apply %s", name)}
		b, err := json.MarshalIndent(saved, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(name, append(b, '\n'), 0o600); err != nil {
			return &hinted{exitUsage, err.Error(), "name a file that can be written"}
		}
		fmt.Fprintf(c.App.ErrWriter, "saved as %s\n", name)
		plan.Document = ""
	}
	if c.String("output") != "table" {
		if err := show(c, plan, nil, nil); err != nil {
			return err
		}
	} else {
		printPlan(c.App.Writer, plan)
	}
	if plan.Same {
		return nil
	}
	return finished(exitChanges)
}

func planOf(c *cli.Context, cl *client, p adminapi.Proposal) (plan adminapi.Plan, err error) {
	return plan, cl.call(c.Context, http.MethodPost, "/v1/changes?dry_run=true", p, &plan)
}

func printPlan(w io.Writer, p adminapi.Plan) {
	if p.Same {
		fmt.Fprintf(w, "nothing changes: this is the policy of revision %d\n", p.BaseRevision)
		return
	}
	fmt.Fprintf(w, "against revision %d; digest %s\n", p.BaseRevision, p.Digest)
	for _, s := range p.Settings {
		fmt.Fprintf(w, "  ~ %s\n", s)
	}
	if len(p.Settings) == 0 {
		fmt.Fprintln(w, "  only comments or the order of keys differ")
	}
	printEffects(w, p.Effects)
	for _, f := range p.Findings {
		fmt.Fprintf(w, "note: %s\n", f)
	}
	fmt.Fprintf(w, "touches: %s; %s\n", orNothing(p.Touches), approvalsWords(p.Needed))
}

func printEffects(w io.Writer, effects []string) {
	for _, e := range effects {
		fmt.Fprintf(w, "effect: %s\n", e)
	}
}

func orNothing(touches []string) string {
	if len(touches) == 0 {
		return "nothing"
	}
	return strings.Join(touches, ", ")
}

func approvalsWords(n uint32) string {
	switch n {
	case 0:
		return "nobody else has to agree"
	case 1:
		return "1 other person has to agree"
	}
	return fmt.Sprintf("%d other persons have to agree", n)
}

// planIn reads a saved plan. ok is false when the file is something else, a policy.
func planIn(file string, b []byte) (p savedPlan, ok bool, err error) {
	if err := json.Unmarshal(b, &p); err != nil || p.Format == 0 {
		return p, false, nil
	}
	const hint = "make the plan anew with 'sealctl policy plan FILE --save PLAN'"
	if p.Format != planFormat {
		return p, true, &hinted{exitUsage, fmt.Sprintf("%s is a plan of format %d, which this version doesn't read", file, p.Format), hint}
	}
	if adminapi.DocumentDigest(p.Plan.BaseRevision, []byte(p.Plan.Document)) != p.Plan.Digest {
		return p, true, &hinted{exitVerification, file + " was changed since it was planned: its document has another digest", hint}
	}
	if _, _, err := bundle.Parse(p.File, []byte(p.Plan.Document)); err != nil {
		return p, true, &hinted{exitDenied, err.Error(), hint}
	}
	return p, true, nil
}
