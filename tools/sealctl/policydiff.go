package main

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/bundle"
)

// onlineDiff asks the gateway. Lines are of the file, not of what the gateway
// calls it.
func onlineDiff(c *cli.Context, file string, doc []byte) (adminapi.PolicyDifference, error) {
	var d adminapi.PolicyDifference
	cl, err := newClient(c)
	if err != nil {
		return d, err
	}
	if err := cl.call(c.Context, http.MethodPost, stalePath(c, "/v1/policy/diff"), adminapi.PolicyDiff{Document: string(doc)}, &d); err != nil {
		return d, err
	}
	for i := range d.Settings {
		d.Settings[i].Where = inFile(d.Settings[i].Where, file)
	}
	for i := range d.Effects {
		for j := range d.Effects[i].Who {
			d.Effects[i].Who[j].Where = inFile(d.Effects[i].Who[j].Where, file)
		}
	}
	for i := range d.Findings {
		d.Findings[i].Where = inFile(d.Findings[i].Where, file)
	}
	return d, nil
}

// inFile puts the file's name where the gateway says "policy".
func inFile(where, file string) string {
	if line, ok := strings.CutPrefix(where, "policy:"); ok {
		return file + ":" + line
	}
	return where
}

// stalePath asks for what the node knows, where --stale was said.
func stalePath(c *cli.Context, path string) string {
	if c.Bool("stale") {
		return path + "?stale=true"
	}
	return path
}

func policyDiff(c *cli.Context) error {
	if c.NArg() != 2 {
		file, doc, err := readPolicy(c)
		if err != nil {
			return err
		}
		d, err := onlineDiff(c, file, doc)
		if err != nil {
			return err
		}
		return showDiff(c, d)
	}
	var sides [2]*policy.Rules
	for i, name := range c.Args().Slice() {
		doc, err := readFile(name)
		if err != nil {
			return err
		}
		if sides[i], _, err = bundle.Parse(name, doc); err != nil {
			return mistaken(err)
		}
	}
	found := bundle.Diff(sides[0], sides[1], bundle.Population{Now: time.Now()})
	d := adminapi.PolicyDifference{
		Touches: []string{}, Needed: sides[0].Control.Needed(found.Touches), Settings: []adminapi.PolicySetting{}, Effects: []adminapi.PolicyEffect{},
		Findings: findingsOf(bundle.Lint(sides[1], nil)),
	}
	for _, t := range found.Touches {
		d.Touches = append(d.Touches, string(t))
	}
	for _, x := range found.Settings {
		d.Settings = append(d.Settings, adminapi.PolicySetting{Key: x.Key, Old: x.Old, New: x.New, Touch: string(x.Touch), Where: x.Where, WhereOld: x.WhereOld})
	}
	return showDiff(c, d)
}

func showDiff(c *cli.Context, d adminapi.PolicyDifference) error {
	var rows [][]string
	for _, s := range d.Settings {
		rows = append(rows, []string{s.Key, s.Old, s.New, s.Touch, s.Where})
	}
	if c.String("output") != "table" {
		if err := show(c, d, nil, nil); err != nil {
			return err
		}
	} else if len(d.Settings) > 0 {
		if err := show(c, d, []string{"SETTING", "OLD", "NEW", "TOUCHES", "WHERE"}, rows); err != nil {
			return err
		}
		if err := showEffects(c, d.Effects); err != nil {
			return err
		}
	}
	if len(d.Settings) == 0 {
		fmt.Fprintln(c.App.ErrWriter, "nothing differs but words")
		return nil
	}
	fmt.Fprintf(c.App.ErrWriter, "touches %s: %s\n", strings.Join(d.Touches, ", "), approvalsNeeded(d.Needed))
	return finished(exitChanges)
}

func approvalsNeeded(n uint32) string {
	switch n {
	case 0:
		return "nobody else's approval is needed"
	case 1:
		return "one other person has to approve"
	}
	return fmt.Sprintf("%d other persons have to approve", n)
}

func showEffects(c *cli.Context, effects []adminapi.PolicyEffect) error {
	for i, e := range effects {
		if i == 0 {
			fmt.Fprintln(c.App.Writer)
		}
		sign := "+"
		if e.Loses {
			sign = "-"
		}
		fmt.Fprintf(c.App.Writer, "%s %s\n", sign, e.Text)
	}
	if !c.Bool("who") || len(effects) == 0 {
		return nil
	}
	var rows [][]string
	for _, e := range effects {
		for _, a := range e.Who {
			rows = append(rows, []string{a.Kind, a.ID, e.Text, a.Why, a.Where})
		}
		if more := e.Count - len(e.Who); more > 0 {
			rows = append(rows, []string{"", fmt.Sprintf("and %d more", more), e.Text, "", ""})
		}
	}
	fmt.Fprintln(c.App.Writer)
	left, err := table(c.App.Writer, []string{"KIND", "ID", "DETAIL", "WHY", "WHERE"}, rows)
	leftOut(c.App.ErrWriter, left)
	return err
}
