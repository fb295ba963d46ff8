package main

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/policy/bundle"
)

// policyControlCommands are those that change the policy, and look back.
func policyControlCommands() []*cli.Command {
	return []*cli.Command{
		planCommand(),
		{
			Name: "apply", Usage: "put a file or a saved plan in force as a new revision, or up for approval", ArgsUsage: "FILE|PLAN", Flags: proposalFlags(), Action: policyApply,
			Description: withExamples("Whether others have to agree is said by the policy in force. Then it ends with exit code 5, and they approve with\n'sealctl change approve'. A plan is refused when another revision is in force than the one it was made on.",
				"sealctl policy apply policy.yaml --reason 'the new office'", "sealctl policy apply friday.plan", "sealctl policy apply policy.yaml --break-glass --reason 'the seal office is on fire'"),
		},
		{
			Name: "history", Usage: "list the revisions that are kept", Action: policyHistory,
			Description: withExamples("The last 100. Older ones are in the audit chain.", "sealctl policy history"),
		},
		{
			Name: "show", Usage: "print the document in force, or of a former revision", Action: policyShow,
			Flags:       []cli.Flag{&cli.Uint64Flag{Name: "revision", Usage: "`N` of the revision"}},
			Description: withExamples("", "sealctl policy show > policy.yaml", "sealctl policy show --revision 4"),
		},
		{
			Name: "rollback", Usage: "go back to the document of a former revision, as a new one", ArgsUsage: "REVISION", Flags: proposalFlags(), Action: policyRollback,
			Description: withExamples("It is a change like any other: the same people have to agree.", "sealctl policy rollback 4 --reason 'the evening shift can not stamp'"),
		},
		{
			Name: "export", Usage: "write the document in force, or of a former revision, into a new file", ArgsUsage: "FILE", Action: policyExport,
			Flags:       []cli.Flag{&cli.Uint64Flag{Name: "revision", Usage: "`N` of the revision"}},
			Description: withExamples("", "sealctl policy export policy.yaml", "sealctl policy export before.yaml --revision 4"),
		},
	}
}

func proposalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "reason", Usage: "why; it goes into the audit chain"},
		breakGlassFlag(),
	}
}

func policyApply(c *cli.Context) error {
	a, err := arguments(c, "FILE|PLAN")
	if err != nil {
		return err
	}
	b, err := os.ReadFile(a[0])
	if err != nil {
		return &hinted{exitUsage, err.Error(), "name a policy file or a saved plan; 'sealedge init' writes a first policy"}
	}
	p := adminapi.Proposal{Document: string(b), Reason: c.String("reason"), BreakGlass: c.Bool("break-glass")}
	plan, saved, err := planIn(a[0], b)
	if err != nil {
		return err
	}
	if !saved {
		if _, _, err := bundle.Parse(a[0], b); err != nil {
			return &hinted{exitDenied, err.Error(), "nothing was sent; mend the lines named above"}
		}
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	if saved {
		p.Document, p.BaseRevision = plan.Plan.Document, plan.Plan.BaseRevision
	} else {
		// The base is what is in force now; a change in between is a conflict.
		now, err := inForce(c, cl)
		if err != nil {
			return err
		}
		p.BaseRevision = now.Revision
	}
	return propose(c, cl, p)
}

// propose sends a proposal and says what came of it.
func propose(c *cli.Context, cl *client, p adminapi.Proposal) error {
	if p.BreakGlass {
		if err := confirm(c, "do without the others' approval and put in force", "policy"); err != nil {
			return err
		}
	}
	var out adminapi.Change
	if err := cl.call(c.Context, http.MethodPost, "/v1/changes", p, &out); err != nil {
		return err
	}
	printEffects(c.App.ErrWriter, out.Effects)
	if out.BreakGlass {
		fmt.Fprintf(c.App.ErrWriter, "the glass is broken: change %d went without %s; another person has until %s to say: sealctl change review %d --says ...\n",
			out.ID, approvalCount(out.Needed), out.ReviewDue.Format(time.RFC3339), out.ID)
	}
	fmt.Fprintf(c.App.ErrWriter, "revision %d is in force\n", out.Revision)
	return nil
}

func approvalCount(n uint32) string {
	if n == 1 {
		return "1 approval"
	}
	return fmt.Sprintf("%d approvals", n)
}

// waits says that a change is not in force yet.
func waits(change adminapi.Change) error {
	left := change.Needed - uint32(len(change.Approvals))
	return &hinted{
		exitApproval, fmt.Sprintf("change %d waits for %s until %s", change.ID, approvalCount(left), change.Expires.Format(time.RFC3339)),
		fmt.Sprintf("another seal administrator looks at it with 'sealctl change show %d' and agrees with 'sealctl change approve %d'", change.ID, change.ID),
	}
}

func policyHistory(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	list, err := all[adminapi.Revision](c, "/v1/policy/history")
	if err != nil {
		return err
	}
	var rows [][]string
	for _, r := range list {
		change := ""
		if r.Change != 0 {
			change = strconv.FormatUint(r.Change, 10)
		}
		rows = append(rows, []string{strconv.FormatUint(r.Revision, 10), r.Applied.Format(time.RFC3339), r.Actor, change, r.SHA256[:min(16, len(r.SHA256))]})
	}
	return show(c, list, []string{"REVISION", "APPLIED", "BY", "CHANGE", "SHA-256"}, rows)
}

// revisionAsked is the revision of --revision, or the one in force.
func revisionAsked(c *cli.Context) (r adminapi.Revision, err error) {
	if n := c.Uint64("revision"); n != 0 {
		err = get(c, "/v1/policy/revisions/"+strconv.FormatUint(n, 10), &r)
		return r, err
	}
	var p adminapi.Policy
	if err := get(c, "/v1/policy", &p); err != nil {
		return r, err
	}
	return adminapi.Revision{Revision: p.Revision, SHA256: p.SHA256, Document: p.Document}, nil
}

func policyShow(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	if c.Uint64("revision") == 0 && c.String("output") != "table" {
		var p adminapi.Policy
		if err := get(c, "/v1/policy", &p); err != nil {
			return err
		}
		return show(c, p, nil, nil)
	}
	r, err := revisionAsked(c)
	if err != nil {
		return err
	}
	if c.String("output") != "table" {
		return show(c, r, nil, nil)
	}
	fmt.Fprintf(c.App.ErrWriter, "revision %d, SHA-256 %s\n", r.Revision, r.SHA256)
	fmt.Fprint(c.App.Writer, r.Document)
	return nil
}

func policyExport(c *cli.Context) error {
	a, err := arguments(c, "FILE")
	if err != nil {
		return err
	}
	r, err := revisionAsked(c)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(a[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return &hinted{exitUsage, err.Error(), "name a file that isn't there yet"}
	}
	if _, err := f.WriteString(r.Document); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	fmt.Fprintf(c.App.ErrWriter, "revision %d, SHA-256 %s, is in %s\n", r.Revision, r.SHA256, a[0])
	return nil
}

func policyRollback(c *cli.Context) error {
	a, err := arguments(c, "REVISION")
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(a[0], 10, 64)
	if err != nil || n == 0 {
		return usage(fmt.Sprintf("%q is no number of a revision", a[0]))
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	now, err := inForce(c, cl)
	if err != nil {
		return err
	}
	p := adminapi.Proposal{RollbackTo: n, BaseRevision: now.Revision, Reason: c.String("reason"), BreakGlass: c.Bool("break-glass")}
	plan, err := planOf(c, cl, p)
	if err != nil {
		return err
	}
	plan.Document = ""
	printPlan(c.App.ErrWriter, plan)
	return propose(c, cl, p)
}
