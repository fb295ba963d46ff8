package main

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/tools/sealctl/devicefile"
)

// importReport is what became of an import.
type importReport struct {
	DryRun    bool         `json:"dry_run"`
	Rows      int          `json:"rows"`
	Added     int          `json:"added"`
	Changed   int          `json:"changed"`
	Unchanged int          `json:"unchanged"`
	Pending   int          `json:"pending"`   // others have to approve them
	Refused   int          `json:"refused"`   // by the gateway
	Malformed int          `json:"malformed"` // never sent
	NotSent   int          `json:"not_sent"`
	Changes   []uint64     `json:"changes,omitempty"` // that wait for approval
	Problems  []rowProblem `json:"problems"`

	rows      []devicefile.Row
	outcomes  []string        // of rows; empty: none yet
	terminals map[string]bool // that the files put on the list
}

// rowProblem is a row that isn't carried out, and why.
type rowProblem struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Kind   string `json:"kind"`
	Device string `json:"device"`
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

// malformed is the code of rows that aren't sent.
const malformed = "malformed"

func newImportReport(dryRun bool, rows []devicefile.Row) *importReport {
	r := &importReport{
		DryRun: dryRun, Rows: len(rows), Problems: []rowProblem{},
		rows: rows, outcomes: make([]string, len(rows)), terminals: map[string]bool{},
	}
	for i, row := range rows {
		switch {
		case row.Err != nil:
			r.outcomes[i] = malformed
			r.problem(i, malformed, row.Err.Error())
		case row.Kind == devicefile.Terminals:
			r.terminals[row.Name] = true
		}
	}
	r.count()
	return r
}

func (r *importReport) problem(i int, code, reason string) {
	row := r.rows[i]
	r.Problems = append(r.Problems, rowProblem{row.File, row.Line, row.Kind, row.Name, code, reason})
}

// note writes down what became of a row, or of the custody that it gives.
func (r *importReport) note(i int, o adminapi.RowOutcome, custody bool) {
	before := r.outcomes[i]
	switch {
	case before == adminapi.RowRefused: // one reason is enough
	case o.Outcome == adminapi.RowRefused:
		if custody {
			o.Detail = "checked_out_to: " + o.Detail
		}
		r.outcomes[i] = adminapi.RowRefused
		r.problem(i, o.Code, o.Detail)
	case before == "" || before == adminapi.RowUnchanged || o.Outcome == adminapi.RowPending:
		r.outcomes[i] = o.Outcome
	}
}

// count sums up.
func (r *importReport) count() {
	n := map[string]int{}
	for _, o := range r.outcomes {
		n[o]++
	}
	r.Added, r.Changed, r.Unchanged = n[adminapi.RowAdded], n[adminapi.RowChanged], n[adminapi.RowUnchanged]
	r.Pending, r.Refused, r.Malformed, r.NotSent = n[adminapi.RowPending], n[adminapi.RowRefused], n[malformed], n[""]
	slices.Sort(r.Changes)
	r.Changes = slices.Compact(r.Changes)
	at := map[string]int{} // files, in their order
	for _, row := range r.rows {
		if _, known := at[row.File]; !known {
			at[row.File] = len(at)
		}
	}
	slices.SortStableFunc(r.Problems, func(a, b rowProblem) int {
		return cmp.Or(cmp.Compare(at[a.File], at[b.File]), cmp.Compare(a.Line, b.Line))
	})
}

// told is how many problems are told on standard error.
const told = 20

func (r *importReport) show(c *cli.Context) error {
	r.count()
	w := c.App.ErrWriter
	for i, p := range r.Problems {
		if i == told {
			fmt.Fprintf(w, "and %d more; --report FILE has them all\n", len(r.Problems)-told)
			break
		}
		fmt.Fprintf(w, "%s:%d: %s: %s\n", p.File, p.Line, cmp.Or(clean(p.Device), "-"), clean(p.Reason))
	}
	if name := c.String("report"); name != "" {
		if err := r.write(name); err != nil {
			return &hinted{exitFailed, fmt.Sprintf("the report cannot be written: %v", err), "the import itself is done, as the table says"}
		}
	}
	var cells []string
	for _, n := range []int{r.Rows, r.Added, r.Changed, r.Unchanged, r.Pending, r.Refused, r.Malformed, r.NotSent} {
		cells = append(cells, strconv.Itoa(n))
	}
	return show(c, r, []string{"ROWS", "ADDED", "CHANGED", "UNCHANGED", "PENDING", "REFUSED", "MALFORMED", "NOT SENT"}, [][]string{cells})
}

// write writes the problems as JSON or as a table, readable by its owner alone.
func (r *importReport) write(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	write := r.writeTable
	if strings.HasSuffix(strings.ToLower(name), ".json") {
		write = func(w io.Writer) error { return writeJSON(w, r) }
	}
	if err := write(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func (r *importReport) writeTable(w io.Writer) error {
	cw := csv.NewWriter(w)
	_ = cw.Write([]string{"file", "line", "kind", "device", "code", "reason"}) // Flush has the error
	for _, p := range r.Problems {
		_ = cw.Write([]string{p.File, strconv.Itoa(p.Line), p.Kind, p.Device, p.Code, p.Reason})
	}
	cw.Flush()
	return cw.Error()
}

// outcome is how an import ends that was sent to its end.
func (r *importReport) outcome() error {
	switch {
	case r.Refused+r.Malformed > 0:
		return &hinted{exitDenied, fmt.Sprintf("%d of %d rows were refused", r.Refused+r.Malformed, r.Rows), "mend them and import the file again: what is done stays as it is"}
	case r.DryRun && r.Added+r.Changed+r.Pending > 0:
		return finished(exitChanges)
	case r.Pending > 0:
		var ids []string
		for _, id := range r.Changes {
			ids = append(ids, strconv.FormatUint(id, 10))
		}
		return &hinted{exitApproval, fmt.Sprintf("%d rows wait for approval, as change %s", r.Pending, strings.Join(ids, ", ")), "have another seal administrator look at it with 'sealctl change show' and approve it"}
	}
	return nil
}
