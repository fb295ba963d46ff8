package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/rivo/uniseg"
)

// Columns of every table, by their titles.
var (
	// wordy columns have sentences: they are the first to be cut where the terminal
	// is too narrow.
	wordy = []string{"REASON", "WHY", "EXCUSE", "WHAT HAPPENS", "DETAIL", "WORDS", "LABEL", "PROBLEM", "WHAT TO DO", "FINDING", "WHAT IT IS", "OLD", "NEW"}
	// telling columns have a state, which is coloured and never cut.
	telling = []string{"STATE", "ROLE", "DECISION", "VERDICT", "RESULT", "ANSWERS", "OUTCOME", "EFFECT"}
	// whole columns have what is copied: the terminal may break the line.
	whole = []string{"VALUE"}
)

// colours of the words in telling columns.
var colours = map[string]paint{
	"active": green, "open": green, "leader": green, "leads": green, "voter": green, "voter, drained": yellow, "allow": green, "allowed": green,
	"approved": green, "applied": green, "in force": green, "passed": green, "ok": green,
	"suspended": yellow, "pending": yellow, "proposed": yellow, "reserved": yellow, "stopped": yellow, "waiting": yellow,
	"overdue": yellow, "expired": yellow, "behind": yellow, "joins": yellow, "conflict": yellow, "withdrawn": yellow,
	"revoked": red, "refused": red, "refuse": red, "forbid": red, "denied": red, "deny": red, "rejected": red, "down": red,
	"failed": red, "tampered": red, "no": red,
}

const (
	gap       = 2  // between columns
	leastCut  = 12 // columns that a cut column keeps
	ellipsis  = "…"
	emptyCell = "-"
)

// table writes rows under a header. On a terminal it fits them to its width and
// returns the titles of the columns that it had to leave out; in a pipe nothing
// is ever cut.
func table(w io.Writer, header []string, rows [][]string) (left []string, err error) {
	s := screenOf(w)
	all := make([][]string, 0, len(rows)+1)
	all = append(all, header)
	for _, r := range rows {
		cells := make([]string, len(header))
		for i := range header {
			if i < len(r) {
				cells[i] = clean(r[i])
			}
			if cells[i] == "" {
				cells[i] = emptyCell
			}
		}
		all = append(all, cells)
	}
	widths := make([]int, len(header))
	for _, r := range all {
		for i, cell := range r {
			widths[i] = max(widths[i], uniseg.StringWidth(cell))
		}
	}
	if s.terminal && s.width > 0 {
		left = fit(header, widths, s.width)
	}
	out := bufio.NewWriter(w)
	for n, r := range all {
		writeRow(out, s, header, r, widths, n == 0)
	}
	return left, out.Flush()
}

// writeRow writes a row; columns of width 0 are left out.
func writeRow(b *bufio.Writer, s screen, header, cells []string, widths []int, head bool) {
	last := len(cells) - 1
	for last > 0 && widths[last] == 0 {
		last--
	}
	for i, cell := range cells {
		if widths[i] == 0 {
			continue
		}
		cell = shorten(cell, widths[i])
		pad := widths[i] - uniseg.StringWidth(cell)
		switch {
		case head:
			cell = s.painted(bold, cell)
		case slices.Contains(telling, header[i]):
			cell = s.painted(colours[strings.ToLower(cell)], cell)
		}
		b.WriteString(cell) // Flush has the error
		if i < last {
			b.WriteString(strings.Repeat(" ", pad+gap))
		}
	}
	b.WriteByte('\n')
}

// fit changes widths so that a row has at most limit columns, if it can: wordy
// columns are cut, then columns are left out (width 0), from the right to the
// left, except for the first, which names the row, those that tell its state, and
// whole ones.
func fit(header []string, widths []int, limit int) (left []string) {
	over := func() int {
		sum := -gap
		for _, w := range widths {
			if w > 0 {
				sum += w + gap
			}
		}
		return sum - limit
	}
	shrink := func(i, least int) {
		if n := over(); n > 0 && widths[i] > least {
			widths[i] = max(widths[i]-n, least)
		}
	}
	for _, title := range wordy {
		if i := slices.Index(header, title); i >= 0 {
			shrink(i, max(leastCut, len(title)))
		}
	}
	for i := len(header) - 1; i > 0 && over() > 0; i-- {
		if !slices.Contains(slices.Concat(telling, wordy, whole), header[i]) {
			left = append(left, header[i])
			widths[i] = 0
		}
	}
	// What is still too much has nothing but words and states beside its name.
	for i := len(header) - 1; i >= 0; i-- {
		if !slices.Contains(slices.Concat(telling, whole), header[i]) && widths[i] > 0 {
			shrink(i, leastCut)
		}
	}
	slices.Reverse(left)
	return left
}

// shorten cuts text to a width, and shows that it did.
func shorten(text string, width int) string {
	if uniseg.StringWidth(text) <= width {
		return text
	}
	var b strings.Builder
	used := 0
	for g := uniseg.NewGraphemes(text); g.Next() && used+g.Width() < width; used += g.Width() {
		b.WriteString(g.Str())
	}
	return b.String() + ellipsis
}

// clean makes text of one line out of what others wrote: a label must not move
// the cursor of who reads it, nor look like two lines.
func clean(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case unicode.IsSpace(r):
			b.WriteByte(' ')
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}

// cleanLines is clean for text of several lines.
func cleanLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = clean(l)
	}
	return strings.Join(lines, "\n")
}

// leftOut says which columns a table doesn't show, and where they are.
func leftOut(stderr io.Writer, left []string) {
	if len(left) > 0 {
		fmt.Fprintf(stderr, "left out, as the terminal is too narrow: %s; -o json has them\n", strings.Join(left, ", "))
	}
}
