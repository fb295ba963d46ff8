package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Report is all that one run of the benchmark found.
type Report struct {
	Machine Machine  `json:"machine"`
	Command string   `json:"command"`
	Figures []Figure `json:"figures"`
	// Disturbed counts runs during which the leader changed. They are measured
	// once more.
	Disturbed int      `json:"disturbed"`
	Notes     []string `json:"notes,omitempty"`  // what was left out, and why
	Failed    []string `json:"failed,omitempty"` // parts that ended with an error
}

// part explains a table.
type part struct {
	name  string
	title string
	notes []string
}

// write prints the report for people: a table for each part that was measured.
func (r *Report) write(w io.Writer) error {
	if err := r.Machine.write(w); err != nil {
		return err
	}
	for _, p := range parts {
		var rows []Figure
		for _, f := range r.Figures {
			if f.Part == p.name {
				rows = append(rows, f)
			}
		}
		if len(rows) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s\n", p.title)
		for _, n := range p.notes {
			fmt.Fprintf(w, "  %s\n", n)
		}
		if err := table(w, rows); err != nil {
			return err
		}
	}
	if r.Disturbed > 0 {
		fmt.Fprintf(w, "\nThe leader changed during %d runs, which were measured once more.\n", r.Disturbed)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(w, "\n"+n)
	}
	for _, f := range r.Failed {
		fmt.Fprintln(w, "\nFAILED "+f)
	}
	return nil
}

// table prints rows under the columns that any of them has.
func table(out io.Writer, rows []Figure) error {
	var columns []string
	nodes := false
	for _, f := range rows {
		nodes = nodes || f.Nodes > 0
		for _, v := range f.Values {
			if !slices.Contains(columns, v.column()) {
				columns = append(columns, v.column())
			}
		}
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	head := append([]string{"case"}, columns...)
	if nodes {
		head = append([]string{"nodes"}, head...)
	}
	fmt.Fprintln(w, strings.Join(head, "\t")+"\t")
	for _, f := range rows {
		cells := []string{f.Case}
		if nodes {
			cells = []string{strconv.Itoa(f.Nodes), f.Case}
			if f.Nodes == 0 {
				cells[0] = "-"
			}
		}
		for _, c := range columns {
			cell := "-"
			if i := slices.IndexFunc(f.Values, func(v Value) bool { return v.column() == c }); i >= 0 {
				cell = spread(f.Values[i])
			}
			cells = append(cells, cell)
		}
		fmt.Fprintln(w, strings.Join(cells, "\t")+"\t")
	}
	return w.Flush()
}

func (v Value) column() string { return strings.TrimSpace(v.Name + " " + v.Unit) }

// spread shows a median, and by how much the runs strayed from it when that is
// worth knowing.
func spread(v Value) string {
	s := number(v.Median)
	if v.Median == 0 {
		return s
	}
	if off := max(v.Max-v.Median, v.Median-v.Min) / math.Abs(v.Median); off >= 0.1 {
		s += fmt.Sprintf(" ±%.0f%%", 100*off)
	}
	return s
}

// number shows three digits that count.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a >= 10_000:
		return grouped(int64(math.Round(v)))
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
