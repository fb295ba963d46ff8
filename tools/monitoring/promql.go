package main

import (
	"fmt"
	"slices"
	"strings"
)

// selector is a metric as an expression uses it.
type selector struct {
	series   string
	matchers []matcher
	ranged   bool     // over a time: [5m]
	within   []string // the functions and aggregations around it, from the outside
}

type matcher struct{ label, op, value string }

// use is what an expression uses.
type use struct {
	selectors []selector
	labels    []string // that it groups or joins by
}

// scan finds what an expression of PromQL uses. It is no parser: promtool says whether
// an expression is right.
func scan(expr string) (use, error) {
	s := &scanner{rest: expr}
	var u use
	var around []string // a function's name, or "" for a mere parenthesis
	last := ""          // the name before a parenthesis
	pending := ""       // an aggregation whose labels come first
	for {
		t := s.next()
		switch {
		case t == "":
			if len(around) > 0 {
				return u, fmt.Errorf("a parenthesis is open at the end of %q", expr)
			}
			return u, nil
		case t == "(":
			if last == "" {
				last = pending
			}
			around = append(around, last)
			last, pending = "", ""
			continue
		case t == ")":
			if len(around) == 0 {
				return u, fmt.Errorf("a parenthesis too many in %q", expr)
			}
			around = around[:len(around)-1]
		case slices.Contains([]string{"by", "without", "on", "ignoring", "group_left", "group_right"}, t):
			if s.peek() == "(" {
				u.labels = append(u.labels, s.list()...)
			}
			if t == "by" || t == "without" {
				pending, last = last, ""
				continue
			}
		case slices.Contains([]string{"and", "or", "unless", "bool", "offset", "inf"}, strings.ToLower(t)):
		case !name(t):
		default:
			if next := s.peek(); next == "(" || next == "by" || next == "without" {
				last = t
				continue
			}
			sel := selector{series: t, within: slices.Clone(around)}
			if s.peek() == "{" {
				var err error
				if sel.matchers, err = s.matchers(); err != nil {
					return u, fmt.Errorf("%w in %q", err, expr)
				}
			}
			if s.peek() == "[" {
				sel.ranged = true
				for t := s.next(); t != "]"; t = s.next() {
					if t == "" {
						return u, fmt.Errorf("a range is open at the end of %q", expr)
					}
				}
			}
			u.selectors = append(u.selectors, sel)
		}
		last = ""
	}
}

// name tells whether a token is a name: a unit after a number is none, since the
// number begins the token.
func name(t string) bool {
	c := t[0]
	return c == '_' || c == ':' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

type scanner struct{ rest string }

// next takes a token: a name, a number with its unit, a string or one character.
func (s *scanner) next() string {
	s.rest = strings.TrimLeft(s.rest, " \t\n")
	if s.rest == "" {
		return ""
	}
	n := 1
	switch c := s.rest[0]; {
	case c == '"':
		for n < len(s.rest) && s.rest[n] != '"' {
			if s.rest[n] == '\\' {
				n++
			}
			n++
		}
		n++
	case word(c):
		for n < len(s.rest) && word(s.rest[n]) {
			n++
		}
	case strings.HasPrefix(s.rest, "=~"), strings.HasPrefix(s.rest, "!~"), strings.HasPrefix(s.rest, "!="):
		n = 2
	}
	n = min(n, len(s.rest))
	t := s.rest[:n]
	s.rest = s.rest[n:]
	return t
}

func word(c byte) bool {
	return c == '_' || c == ':' || c == '.' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func (s *scanner) peek() string {
	before := s.rest
	t := s.next()
	s.rest = before
	return t
}

// list takes names in parentheses.
func (s *scanner) list() (names []string) {
	for t := s.next(); t != ")" && t != ""; t = s.next() {
		if name(t) {
			names = append(names, t)
		}
	}
	return names
}

var unquote = strings.NewReplacer(`\\`, `\`, `\"`, `"`)

func (s *scanner) matchers() (all []matcher, err error) {
	s.next()
	for {
		switch t := s.next(); {
		case t == "}":
			return all, nil
		case t == ",":
		case t != "" && name(t):
			m := matcher{label: t, op: s.next()}
			value := s.next()
			if len(value) < 2 || value[0] != '"' {
				return nil, fmt.Errorf("%s is compared with %q", m.label, value)
			}
			m.value = unquote.Replace(value[1 : len(value)-1])
			all = append(all, m)
		default:
			return nil, fmt.Errorf("not understood: %q", t)
		}
	}
}
