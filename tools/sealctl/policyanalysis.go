package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/policy/bundle"
)

// analysisCommands look at policy documents, and change nothing.
func analysisCommands() []*cli.Command {
	return []*cli.Command{
		{
			Name: "lint", Usage: "find rules that don't do what they seem to do", ArgsUsage: "FILE", Action: policyLint,
			Flags: []cli.Flag{&cli.BoolFlag{Name: "online", Usage: "look at the cluster's allow-list as well"}},
			Description: withExamples("Rules that can never match, that earlier ones decide already, that contradict others, or without which nothing would change; with --online also\nnames that nobody on the allow-list has. The exit code is 1 when there are findings that aren't just notes.",
				"sealctl policy lint policy.yaml", "sealctl policy lint policy.yaml --online -o json"),
		},
		{
			Name: "test", Usage: "run the tests that a policy file carries", ArgsUsage: "FILE", Action: policyTest,
			Description: withExamples("The exit code is 1 when one fails; such a document can't be applied.", "sealctl policy test policy.yaml"),
		},
		{
			Name: "diff", Usage: "what a policy file would change, and for whom", ArgsUsage: "FILE | OLD NEW", Action: policyDiff,
			Flags: []cli.Flag{&cli.BoolFlag{Name: "who", Usage: "list the terminals, barrels, orders and sessions as well"}},
			Description: withExamples("With one file: against the policy in force, over the allow-list, the open orders and the live sessions. With two: against each other, without a\ncluster. The exit code is 3 when there are differences.",
				"sealctl policy diff policy.yaml", "sealctl policy diff policy.yaml --who", "sealctl policy diff old.yaml new.yaml -o json"),
		},
		{
			Name: "explain", Usage: "what would be decided, and why", ArgsUsage: "attach|hotspot|use KEY=VALUE...", Action: policyExplain,
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "document", Usage: "decide by the policy in `FILE`, not by the one in force"},
				&cli.BoolFlag{Name: "offline", Usage: "with --document: without a cluster, for a terminal that is as the keys say"},
			},
			Description: withExamples("Every rule that was judged is listed with its line. imsi and barrel name records of the allow-list, and other keys say what is so instead; what\nisn't said is taken from the terminal's session, or assumed to be as the policy would like it. The exit code is 4 when it is refused.\n\n"+explainKeys(),
				"sealctl policy explain attach imsi=460010000000001 plmn=46001", "sealctl policy explain use imsi=460010000000001 barrel=SB-0001 at=2026-11-23T10:00:00+08:00",
				"sealctl policy explain use --document policy.yaml --offline sealType=finance groups=finance,staff"),
		},
		{
			Name: "schema", Usage: "print the JSON Schema of policy files, for editors", Action: policySchema,
			Description: withExamples("", "sealctl policy schema > policy.schema.json"),
		},
	}
}

// readFile reads a policy file without judging it.
func readFile(name string) ([]byte, error) {
	doc, err := os.ReadFile(name)
	if err != nil {
		return nil, &hinted{exitUsage, err.Error(), "name a policy file; 'sealedge init' writes a first one"}
	}
	return doc, nil
}

func mistaken(err error) error {
	return &hinted{exitDenied, err.Error(), "nothing was sent; mend the lines named above"}
}

func policyLint(c *cli.Context) error {
	file, doc, err := readPolicy(c)
	if err != nil {
		return err
	}
	var found []adminapi.PolicyFinding
	if c.Bool("online") {
		d, err := onlineDiff(c, file, doc)
		if err != nil {
			return err
		}
		found = d.Findings
	} else {
		rules, _, err := bundle.Parse(file, doc)
		if err != nil {
			return mistaken(err)
		}
		found = findingsOf(bundle.Lint(rules, nil))
	}
	var rows [][]string
	serious := 0
	for _, f := range found {
		kind := f.Kind
		if f.Note {
			kind += " (note)"
		} else {
			serious++
		}
		rows = append(rows, []string{f.Where, kind, f.Text, f.Mend})
	}
	if len(found) == 0 && c.String("output") == "table" {
		fmt.Fprintln(c.App.ErrWriter, file+": nothing to find fault with")
		return nil
	}
	if err := show(c, found, []string{"WHERE", "FINDING", "DETAIL", "WHAT TO DO"}, rows); err != nil {
		return err
	}
	if serious > 0 {
		return finished(exitFailed)
	}
	return nil
}

func findingsOf(list []bundle.Finding) []adminapi.PolicyFinding {
	out := []adminapi.PolicyFinding{}
	for _, f := range list {
		out = append(out, adminapi.PolicyFinding(f))
	}
	return out
}

// testResult is a test in json and yaml.
type testResult struct {
	Name   string `json:"name"`
	Where  string `json:"where"`
	Passed bool   `json:"passed"`
	Code   string `json:"code,omitempty"`
	Answer string `json:"answer"`
}

func policyTest(c *cli.Context) error {
	a, err := arguments(c, "FILE")
	if err != nil {
		return err
	}
	doc, err := readFile(a[0])
	if err != nil {
		return err
	}
	outcomes, err := bundle.RunTests(a[0], doc)
	if err != nil {
		return mistaken(err)
	}
	list := []testResult{}
	var rows [][]string
	failed := 0
	for _, o := range outcomes {
		r := testResult{Name: o.Test.Name, Where: o.Test.Where, Passed: o.Passed, Code: string(o.Decision.Code), Answer: o.Text}
		word := "passed"
		if !o.Passed {
			word = "failed"
			failed++
		}
		list = append(list, r)
		rows = append(rows, []string{word, r.Where, r.Name, r.Answer})
	}
	if err := show(c, list, []string{"RESULT", "WHERE", "TEST", "DETAIL"}, rows); err != nil {
		return err
	}
	fmt.Fprintf(c.App.ErrWriter, "%d of %d tests passed\n", len(outcomes)-failed, len(outcomes))
	if failed > 0 {
		return finished(exitFailed)
	}
	return nil
}

func policySchema(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	_, err := c.App.Writer.Write(bundle.Schema())
	return err
}
