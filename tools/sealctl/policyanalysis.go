package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
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

// explainKeys lists the keys of explain.
func explainKeys() string {
	var b strings.Builder
	b.WriteString("Keys (lists with commas):\n")
	for _, f := range bundle.Fields() {
		fmt.Fprintf(&b, "   %-10s %s\n", f.Key, f.Help)
	}
	return strings.TrimSuffix(b.String(), "\n")
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
		d.Settings[i].Where = named(d.Settings[i].Where, file)
	}
	for i := range d.Effects {
		for j := range d.Effects[i].Who {
			d.Effects[i].Who[j].Where = named(d.Effects[i].Who[j].Where, file)
		}
	}
	for i := range d.Findings {
		d.Findings[i].Where = named(d.Findings[i].Where, file)
	}
	return d, nil
}

// named puts the file's name where the gateway says "policy".
func named(where, file string) string {
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

func policyExplain(c *cli.Context) error {
	action, given, err := asked(c.Args().Slice())
	if err != nil {
		return err
	}
	q := adminapi.PolicyQuestion{Action: action, Given: given}
	file := c.String("document")
	if file != "" {
		doc, err := readFile(file)
		if err != nil {
			return err
		}
		q.Document = string(doc)
	}
	var a adminapi.PolicyAnswer
	switch {
	case c.Bool("offline") && file == "":
		return usage("--offline takes --document: which policy decides?")
	case c.Bool("offline"):
		if a, err = answerOffline(file, q); err != nil {
			return err
		}
	default:
		if a, err = answerOnline(c, file, q); err != nil {
			return err
		}
	}
	var rows [][]string
	for _, r := range a.Reasons {
		verdict := "ok"
		switch {
		case r.Skipped:
			verdict = "-"
		case !r.OK:
			verdict = "no"
		}
		rows = append(rows, []string{verdict, r.Rule, r.Where, r.Text})
	}
	if err := show(c, a, []string{"VERDICT", "RULE", "WHERE", "WHY"}, rows); err != nil {
		return err
	}
	if len(a.Assumed) > 0 {
		fmt.Fprintln(c.App.ErrWriter, "assumed: "+strings.Join(a.Assumed, "; "))
	}
	fmt.Fprintln(c.App.ErrWriter, a.Text)
	if !a.Allowed {
		return finished(exitDenied)
	}
	return nil
}

// asked reads an action and KEY=VALUEs.
func asked(args []string) (string, map[string][]string, error) {
	if len(args) == 0 || strings.Contains(args[0], "=") {
		return "", nil, usage("say which action: " + strings.Join(policy.ActionNames(), ", "))
	}
	if _, err := policy.ParseAction(args[0]); err != nil {
		return "", nil, usage(err.Error())
	}
	given := map[string][]string{}
	for _, arg := range args[1:] {
		key, value, ok := strings.Cut(arg, "=")
		i := slices.IndexFunc(bundle.Fields(), func(f bundle.Field) bool { return f.Key == key })
		switch {
		case !ok || value == "":
			return "", nil, usage(fmt.Sprintf("%q is no KEY=VALUE", arg))
		case i < 0:
			return "", nil, usage(fmt.Sprintf("there is no key %q", key))
		case given[key] != nil:
			return "", nil, usage(fmt.Sprintf("%s is said twice", key))
		case bundle.Fields()[i].List:
			given[key] = strings.Split(value, ",")
		default:
			given[key] = []string{value}
		}
	}
	return args[0], given, nil
}

func answerOnline(c *cli.Context, file string, q adminapi.PolicyQuestion) (a adminapi.PolicyAnswer, err error) {
	cl, err := newClient(c)
	if err != nil {
		return a, err
	}
	if err := cl.call(c.Context, http.MethodPost, stalePath(c, "/v1/policy/explain"), q, &a); err != nil {
		var p *wire.Problem
		if errors.As(err, &p) && p.Code == wire.CodeBadRequest && file != "" {
			p.Detail = strings.ReplaceAll(p.Detail, "policy:", file+":")
		}
		return a, err
	}
	if file != "" {
		for i := range a.Reasons {
			a.Reasons[i].Where = named(a.Reasons[i].Where, file)
		}
		a.Text = strings.ReplaceAll(a.Text, "(policy:", "("+file+":")
	}
	return a, nil
}

func answerOffline(file string, asked adminapi.PolicyQuestion) (a adminapi.PolicyAnswer, err error) {
	rules, _, err := bundle.Parse(file, []byte(asked.Document))
	if err != nil {
		return a, mistaken(err)
	}
	var q bundle.Question
	q.Action, _ = policy.ParseAction(asked.Action)
	for _, f := range bundle.Fields() {
		if v := asked.Given[f.Key]; v != nil {
			if err := q.Set(f.Key, v...); err != nil {
				return a, usage(err.Error())
			}
		}
	}
	if err := q.Complete(rules); err != nil {
		return a, usage(err.Error())
	}
	d := q.Ask(rules)
	return adminapi.PolicyAnswer{
		Allowed: d.Allowed, Code: string(d.Code), Rule: bundle.Decider(d), Text: bundle.Answer(d), Assumed: append([]string{}, q.Assumed()...), Reasons: adminapi.ReasonsOf(d),
	}, nil
}

func policySchema(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	_, err := c.App.Writer.Write(bundle.Schema())
	return err
}
