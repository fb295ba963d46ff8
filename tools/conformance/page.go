package main

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

const head = `# Conformance

What the specifications of GTP ask of a packet gateway on S5/S8, S2a and S2b (PGW) and on Gn/Gp (GGSN), what this gateway
does about it, and the tests that show it. ` + "`make conformance`" + ` makes this page of the catalogue
(` + "`apn/gtp/gtptest/conformance.txt`" + `) and of a run of the tests, each of which says what it shows; a claim that no test
shows is an error. Do not edit it.

| status | meaning |
|---|---|
| yes | done as the clause asks |
| refused | answered with the cause in the note |
| passed over | received, and as good as not there, as TS 29.274 7.7.9 and TS 29.060 11.1.11 have it |
| n/a | never received or sent here, for the reason in the note |

Where the gateway departs from a clause, [divergences.md](divergences.md) says why; what its causes make a phone do,
[causes.md](causes.md). A row without an information element is about the procedure as such. Elements that are
seldom used share a row.
`

// titles are those of the specifications.
var titles = map[string]string{
	"29.274": "GTPv2-C: S5/S8, S2a, S2b",
	"29.060": "GTPv1-C: Gn/Gp",
	"29.281": "GTP-U",
}

// render makes the page: by specification, then by clause, then as the catalogue
// has it.
func render(rows []gtptest.Row, shown tests) []byte {
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b gtptest.Row) int {
		return cmp.Or(cmp.Compare(a.Spec, b.Spec), compareClauses(a.Clause, b.Clause))
	})
	var b bytes.Buffer
	b.WriteString(head)
	for len(rows) > 0 {
		spec := rows[0].Spec
		n := slices.IndexFunc(rows, func(r gtptest.Row) bool { return r.Spec != spec })
		if n < 0 {
			n = len(rows)
		}
		section(&b, spec, rows[:n], shown)
		rows = rows[n:]
	}
	return b.Bytes()
}

func section(b *bytes.Buffer, spec string, rows []gtptest.Row, shown tests) {
	count := map[gtptest.Status]int{}
	for _, r := range rows {
		count[r.Status]++
	}
	fmt.Fprintf(b, "\n## TS %s, %s\n\n", spec, titles[spec])
	fmt.Fprintf(b, "%d rows: %d yes, %d refused, %d passed over, %d not applicable.\n\n", len(rows),
		count[gtptest.Yes], count[gtptest.Refused], count[gtptest.PassedOver], count[gtptest.NotApplicable])
	b.WriteString("| clause | procedure | information element | status | note | shown by |\n|---|---|---|---|---|---|\n")
	for _, r := range rows {
		line(b, r.Clause, r.Procedure, r.Element, string(r.Status), r.Note, strings.Join(shown[r.ID()], ", "))
	}
}

// line writes one row of a table.
func line(b *bytes.Buffer, cells ...string) {
	b.WriteByte('|')
	for _, c := range cells {
		if c != "" {
			b.WriteString(" " + c)
		}
		b.WriteString(" |")
	}
	b.WriteByte('\n')
}

// compareClauses orders clauses as the specification does: 7.2 before 7.10, 7.5
// before 7.5A, and what has no clause last.
func compareClauses(a, b string) int {
	if a == "" || b == "" {
		return cmp.Compare(b, a) // the empty one is the lesser string
	}
	return slices.CompareFunc(strings.Split(a, "."), strings.Split(b, "."), func(a, b string) int {
		na, la := part(a)
		nb, lb := part(b)
		return cmp.Or(cmp.Compare(na, nb), cmp.Compare(la, lb))
	})
}

// part takes a part of a clause's number apart: "5B" is 5 and B.
func part(s string) (number int, letters string) {
	digits := strings.TrimRight(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
	number, _ = strconv.Atoi(digits)
	return number, s[len(digits):]
}

// shownOn reads which tests a page names, by row.
func shownOn(doc []byte) tests {
	shown := tests{}
	spec := ""
	for l := range strings.Lines(string(doc)) {
		l = strings.TrimSuffix(l, "\n")
		if s, ok := strings.CutPrefix(l, "## TS "); ok {
			spec, _, _ = strings.Cut(s, ",")
			continue
		}
		cells := strings.Split(l, "|")
		if spec == "" || len(cells) != 8 {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		r := gtptest.Row{Spec: spec, Procedure: cells[2], Element: cells[3]}
		for test := range strings.SplitSeq(cells[6], ", ") {
			if strings.Contains(test, ".Test") {
				shown.add(r.ID(), test)
			}
		}
	}
	return shown
}
