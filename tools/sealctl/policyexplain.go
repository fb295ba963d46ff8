package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/bundle"
)

// explainKeys lists the keys of explain.
func explainKeys() string {
	var b strings.Builder
	b.WriteString("Keys (lists with commas):\n")
	for _, f := range bundle.Fields() {
		fmt.Fprintf(&b, "   %-10s %s\n", f.Key, f.Help)
	}
	return strings.TrimSuffix(b.String(), "\n")
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
			a.Reasons[i].Where = inFile(a.Reasons[i].Where, file)
			a.Reasons[i].Text = strings.ReplaceAll(a.Reasons[i].Text, "(policy:", "("+file+":")
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
