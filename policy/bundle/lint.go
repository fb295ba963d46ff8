package bundle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/region"
)

// Finding is something about a document that is allowed and most likely meant
// otherwise.
type Finding struct {
	Kind  string   `json:"kind"`            // see the Finding constants
	Rule  string   `json:"rule,omitempty"`  // id
	By    []string `json:"by,omitempty"`    // ids of the rules that make it so
	Where string   `json:"where,omitempty"` // file:line
	Text  string   `json:"text"`
	Mend  string   `json:"mend,omitempty"`
	Note  bool     `json:"note,omitempty"` // worth knowing, and no reason to refuse the document
}

// The kinds of findings.
const (
	FindingUnreachable   = "unreachable"    // no request matches the rule
	FindingShadowed      = "shadowed"       // earlier rules decide all that it matches, as it would
	FindingContradictory = "contradictory"  // earlier rules decide all that it matches, otherwise
	FindingOverruled     = "overruled"      // earlier rules decide a part of what it forbids otherwise
	FindingRedundant     = "redundant"      // without it later rules would decide alike
	FindingUnmeetable    = "unmeetable"     // over a path that it matches nobody can show what it requires
	FindingNothing       = "nothing-passes" // the rules for an action let nothing through
	FindingNobody        = "names-nobody"   // the allow-list has none of those that it names
	FindingUnused        = "unused"         // nothing refers to it
	FindingUndecided     = "undecided"      // it would take too long to tell
)

// String is the finding on one line, with its place first, as compilers do.
func (f Finding) String() string {
	var b strings.Builder
	if f.Where != "" {
		b.WriteString(f.Where + ": ")
	}
	b.WriteString(f.Kind + ": " + f.Text)
	if f.Mend != "" {
		b.WriteString("; " + f.Mend)
	}
	return b.String()
}

// The bounds of what lint computes: for one rule, and for a document.
const (
	ruleBudget = 20_000
	lintBudget = 1_000_000
)

// Lint looks for rules that don't do what they seem to do. The answers are
// exact: a rule is said to be shadowed if and only if no request that the rest
// of the document lets through comes to it. p, the allow-list, may be nil.
func Lint(r *policy.Rules, p *Population) []Finding {
	l := linter{rules: r, left: lintBudget}
	for _, a := range []policy.Action{policy.ActionAttach, policy.ActionHotspot, policy.ActionUse} {
		l.action(a)
	}
	l.unused()
	if p != nil {
		l.nobody(p)
	}
	order := map[string]int{}
	for i, rule := range r.Table {
		order[rule.ID] = i
	}
	slices.SortStableFunc(l.found, func(a, b Finding) int { return order[a.Rule] - order[b.Rule] })
	return l.found
}

type linter struct {
	rules *policy.Rules
	found []Finding
	left  region.Budget
}

func (l *linter) find(kind string, rule *policy.Rule, by []string, mend, format string, args ...any) {
	l.found = append(l.found, Finding{
		Kind: kind, Rule: rule.ID, By: by, Where: l.rules.Sources["spec/rules/"+rule.ID], Text: fmt.Sprintf(format, args...), Mend: mend,
		Note: kind == FindingOverruled || kind == FindingUndecided,
	})
}

// action looks at the rules for one action.
func (l *linter) action(a policy.Action) {
	s, err := newSpace(a, l.rules)
	if err != nil {
		return // one document has one zone
	}
	table := s.compile(l.rules, a)
	if len(table) == 0 {
		return
	}
	base := s.base(l.rules)
	passes, undecided := false, false
	for i, c := range table {
		var cells []region.Box
		for _, b := range base {
			if cell, ok := s.And(b, c.box); ok {
				cells = append(cells, cell)
			}
		}
		if len(cells) == 0 {
			l.unreachable(s, c, base)
			continue
		}
		rest, by, err := l.reaches(s, cells, table[:i])
		switch {
		case err != nil:
			undecided = true
			l.find(FindingUndecided, c.rule, nil, "give rules conditions that overlap less", "whether anything comes to rule %s would take too long to tell", c.rule.ID)
		case len(rest) == 0:
			l.covered(c, by)
		default:
			passes = passes || c.rule.Permit
			l.overruled(s, c, by)
			l.unmeetable(s, c, rest)
			l.redundant(s, c, rest, table[i+1:])
		}
	}
	if !passes && !undecided {
		l.found = append(l.found, Finding{
			Kind: FindingNothing, Where: l.rules.Sources["spec/rules"], Text: fmt.Sprintf("the rules for %s let nothing through, so that every %s is refused", a, a),
			Mend: fmt.Sprintf("add a rule that permits, or remove the rules for %s", a),
		})
	}
}

// reaches returns what of some requests comes past earlier rules, and which
// of those take any.
func (l *linter) reaches(s *space, cells []region.Box, earlier []compiled) (rest []region.Box, by []compiled, err error) {
	budget := min(region.Budget(ruleBudget), l.left)
	given := budget
	defer func() { l.left -= given - max(budget, 0) }()
	rest = cells
	for _, e := range earlier {
		left, err := s.Without(rest, []region.Box{e.box}, &budget)
		if err != nil {
			return nil, nil, err
		}
		if len(left) != len(rest) || !sameBoxes(left, rest) {
			by = append(by, e)
		}
		if rest = left; len(rest) == 0 {
			break
		}
	}
	return rest, by, nil
}

// sameBoxes tells whether nothing was taken out: Minus returns the very box then.
func sameBoxes(a, b []region.Box) bool {
	for i := range a {
		if &a[i][0] != &b[i][0] {
			return false
		}
	}
	return true
}

func ids(rules []compiled) []string {
	var out []string
	for _, c := range rules {
		out = append(out, c.rule.ID)
	}
	return out
}

// covered reports a rule to which nothing comes.
func (l *linter) covered(c compiled, by []compiled) {
	names := strings.Join(ids(by), ", ")
	same := !slices.ContainsFunc(by, func(e compiled) bool { return e.rule.Permit != c.rule.Permit || e.rule.Require != c.rule.Require })
	if same {
		l.find(FindingShadowed, c.rule, ids(by), "remove it, or put it before them", "rule %s never decides: all that it matches is decided alike by %s", c.rule.ID, names)
		return
	}
	l.find(FindingContradictory, c.rule, ids(by), "put it before them, or narrow them", "rule %s, which would %s, never decides: all that it matches is decided by %s", c.rule.ID, does(c.rule), names)
}

func does(r *policy.Rule) string {
	switch {
	case !r.Permit:
		return "forbid"
	case r.Require != policy.Require{}:
		return "require " + requireWords(&r.Require)
	}
	return "permit"
}

// overruled notes a rule that forbids, of which earlier ones permit a part, unless
// they are for nothing else: so exceptions are written.
func (l *linter) overruled(s *space, c compiled, by []compiled) {
	if c.rule.Permit {
		return
	}
	var permits []compiled
	for _, e := range by {
		budget := region.Budget(ruleBudget)
		if beyond, err := s.Minus(e.box, c.box, &budget); e.rule.Permit && err == nil && len(beyond) > 0 {
			permits = append(permits, e)
		}
	}
	if len(permits) > 0 {
		l.find(FindingOverruled, c.rule, ids(permits), "put it first if it is to hold always", "a part of what rule %s forbids is permitted by %s", c.rule.ID, strings.Join(ids(permits), ", "))
	}
}

// unmeetable reports a requirement that nobody can meet over a path that the rule
// decides on.
func (l *linter) unmeetable(s *space, c compiled, rest []region.Box) {
	for _, path := range []policy.PathKind{policy.PathGTP, policy.PathWireGuard} {
		possible := path.Possible()
		if c.rule.Action == policy.ActionAttach {
			possible = path.Attaching()
		}
		over := s.All()
		s.Match(over, dimPath, pathSet(path))
		if missing := c.rule.Require.Credentials &^ possible; missing != 0 && len(s.within(rest, over)) > 0 {
			l.find(FindingUnmeetable, c.rule, nil, "make it a rule for each path, with paths in its match", "rule %s decides over the %s path too, where nobody can show %s: it refuses everything there", c.rule.ID, path, missing)
		}
	}
}

// redundant reports a rule without which later ones would decide alike.
func (l *linter) redundant(s *space, c compiled, rest []region.Box, later []compiled) {
	budget := min(region.Budget(ruleBudget), l.left)
	given := budget
	parts, err := s.split(rest, later, &budget)
	l.left -= given - max(budget, 0)
	if err != nil {
		return // it does decide; that is what matters
	}
	var by []string
	for _, p := range parts {
		if p.rule == nil || p.rule.Permit != c.rule.Permit || p.rule.Require != c.rule.Require {
			return
		}
		if !slices.Contains(by, p.rule.ID) {
			by = append(by, p.rule.ID)
		}
	}
	l.find(FindingRedundant, c.rule, by, "remove it", "without rule %s all that it decides would be decided alike by %s", c.rule.ID, strings.Join(by, ", "))
}
