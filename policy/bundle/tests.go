package bundle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/document"
)

// maxTests bounds the tests that a document carries.
const maxTests = 1000

// Test is a question that a document answers for itself, and the answer that it
// is to give.
type Test struct {
	Name   string
	Where  string // file:line
	Permit bool
	Code   policy.Code // of a refusal; empty: any
	Rule   string      // id of the rule that is to decide; empty: any, or none

	question Question
	at       document.Value // of what is expected
}

// Outcome is what became of a test.
type Outcome struct {
	Test     Test
	Passed   bool
	Text     string // what was answered, and why
	Decision policy.Decision
}

// RunTests reads a document and runs its tests. The error is that of Parse, but
// for tests that fail.
func RunTests(file string, doc []byte) ([]Outcome, error) {
	p, err := parse(file, doc)
	if err != nil {
		return nil, err
	}
	return p.outcomes(), nil
}

func (p *parser) outcomes() []Outcome {
	out := make([]Outcome, len(p.tests))
	for i, t := range p.tests {
		out[i] = t.run(p.rules)
	}
	return out
}

// run asks the question.
func (t Test) run(r *policy.Rules) Outcome {
	q := t.question
	o := Outcome{Test: t}
	if err := q.Complete(r); err != nil {
		o.Text = err.Error()
		return o
	}
	o.Decision = q.Ask(r)
	rule := Decider(o.Decision)
	o.Passed = o.Decision.Allowed == t.Permit && (t.Code == "" || t.Code == o.Decision.Code) && (t.Rule == "" || t.Rule == rule)
	o.Text = Answer(o.Decision)
	return o
}

// Decider is the id of the document's rule that a decision was made by; empty when
// there was none.
func Decider(d policy.Decision) string {
	for _, r := range d.Reasons() {
		if r.Document && !r.Skipped {
			return r.Rule
		}
	}
	return ""
}

// Answer is a decision in one sentence, with the line that decides.
func Answer(d policy.Decision) string {
	if !d.Allowed {
		why, where := refusal(d)
		if where != "" {
			where = " (" + where + ")"
		}
		return fmt.Sprintf("refused (%s): %s%s", d.Code, why, where)
	}
	for _, r := range d.Reasons() {
		if r.Document && !r.Skipped {
			return fmt.Sprintf("permitted by rule %s (%s)", r.Rule, r.Source)
		}
	}
	return "permitted"
}

// expectation is what the test wants, in words.
func (t Test) expectation() string {
	s := "permit"
	if !t.Permit {
		s = "refuse"
	}
	if t.Code != "" {
		s += fmt.Sprintf(" (%s)", t.Code)
	}
	if t.Rule != "" {
		s += " by rule " + t.Rule
	}
	return s
}

// readTests reads the tests of a document.
func (p *parser) readTests(v document.Value) {
	items := v.List()
	if len(items) > maxTests {
		v.Report(fmt.Sprintf("keep it at %d", maxTests), "there are %d tests", len(items))
		return
	}
	names := map[string]bool{}
	for _, item := range items {
		m := item.Map()
		t := Test{Where: item.Where()}
		name := m.Need("name", "name: a lost phone stays out")
		if t.Name = name.Text(); names[t.Name] {
			name.Report("name them apart", "a test of that name is there already")
		}
		names[t.Name] = true
		t.question.Action, _ = document.Parse(m.Need("action", "action: use"), policy.ParseAction)
		terminal, request := m.Get("terminal").Map(), m.Get("request").Map()
		for _, f := range fieldsOfQuestion {
			if f.Terminal {
				say(&t.question, f, terminal.Get(f.Key))
			} else {
				say(&t.question, f, request.Get(f.Key))
			}
		}
		terminal.Close()
		request.Close()
		p.expect(m.Need("expect", "expect: {decision: refuse}"), &t)
		m.Close()
		p.tests = append(p.tests, t)
	}
}

// say reads one field of a question.
func say(q *Question, f Field, v document.Value) {
	if !v.Present() {
		return
	}
	var values []string
	if f.List {
		values = document.Each(v, text)
	} else if s, ok := document.Parse(v, text); ok {
		values = []string{s}
	} else {
		return
	}
	if err := q.Set(f.Key, values...); err != nil {
		v.Report("", "%s", strings.TrimPrefix(err.Error(), f.Key+": "))
	}
}

func (p *parser) expect(v document.Value, t *Test) {
	m := v.Map()
	t.at = v
	decision, code, rule := m.Need("decision", "decision: refuse"), m.Get("code"), m.Get("rule")
	t.Permit, _ = document.Parse(decision, verdict)
	t.Code = policy.Code(code.Text())
	if code.Present() && t.Permit {
		code.Report("remove it", "what is permitted has no code")
	}
	m.Close()
	if t.Rule = rule.Text(); t.Rule == "" {
		return
	}
	ids := make([]string, len(p.rules.Table))
	for i, r := range p.rules.Table {
		ids[i] = r.ID
	}
	document.Parse(rule, oneOf("rule", "spec.rules", slices.Values(ids)))
}

func verdict(s string) (permit bool, err error) {
	switch s {
	case "permit":
		return true, nil
	case "refuse":
		return false, nil
	}
	return false, fmt.Errorf("want permit or refuse, have %q", s)
}

// runTests makes mistakes of the tests that fail.
func (p *parser) runTests() {
	for _, o := range p.outcomes() {
		if !o.Passed {
			o.Test.at.Report("mend the rules, or the test", "test %q fails: it wants %s, and it is %s", o.Test.Name, o.Test.expectation(), o.Text)
		}
	}
}
