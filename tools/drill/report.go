package drill

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"
	"time"
)

// Report is what a run of drills showed.
type Report struct {
	Started time.Time `json:"started"`
	Command string    `json:"command"` // that made it
	Version string    `json:"version"` // of the nodes
	Where   string    `json:"where"`   // what cluster it was
	Machine Machine   `json:"machine"` // that the canary ran on
	Results []Result  `json:"results"`
}

// Result is one drill, round by round.
type Result struct {
	Drill   string  `json:"drill"`
	Summary string  `json:"summary"`
	Rounds  []Round `json:"rounds"`
	// Timeline is of the round with the longest gap.
	Timeline []Point `json:"timeline,omitempty"`
	// Error is why the rounds ended before their time.
	Error string `json:"error,omitempty"`
}

// Gap is what counts of a round, in milliseconds: of a fault that ends a holder
// the time from it until packets are forwarded again, else the longest silence.
func (r *Result) Gap(i int) float64 {
	if d, ok := Find(r.Drill); ok && d.Destructive && d.moves {
		return r.Rounds[i].Recovered
	}
	return r.Rounds[i].Silence
}

// Gaps are those of all rounds.
func (r *Result) Gaps() []float64 {
	all := make([]float64, len(r.Rounds))
	for i := range r.Rounds {
		all[i] = r.Gap(i)
	}
	return all
}

// Add takes a round into the result.
func (r *Result) Add(round Round) {
	r.Rounds = append(r.Rounds, round)
	last := len(r.Rounds) - 1
	for i := range last {
		if r.Gap(i) >= r.Gap(last) {
			return
		}
	}
	r.Timeline = round.timeline
}

// Totals are sums over the rounds.
type Totals struct {
	Rounds, Passed              int
	Sessions, LostSessions      int
	Acknowledged, LostWrites    int
	Probes, LostProbes, Late    int
	Notice                      Notice
	Signalling, Mended, UndoGap []float64
	SealUse                     []float64
}

// Totals sums the rounds up.
func (r *Result) Totals() (t Totals) {
	for i := range r.Rounds {
		round := &r.Rounds[i]
		t.Rounds++
		if round.Passed() {
			t.Passed++
		}
		t.Sessions += round.Sessions
		t.LostSessions += len(round.LostSessions)
		t.Acknowledged += round.Acknowledged
		t.LostWrites += len(round.LostWrites)
		t.Probes += round.Sent
		t.LostProbes += round.Lost
		t.Late += round.Late
		t.Notice.Deletes += round.Notice.Deletes
		t.Notice.ErrorIndications += round.Notice.ErrorIndications
		t.Notice.RestartChanges += round.Notice.RestartChanges
		if round.Signalling > 0 {
			t.Signalling = append(t.Signalling, round.Signalling)
		}
		if round.SealUse > 0 {
			t.SealUse = append(t.SealUse, round.SealUse)
		}
		t.Mended = append(t.Mended, round.Mended)
		t.UndoGap = append(t.UndoGap, round.UndoSilence)
	}
	return t
}

// Passed tells whether every round of every drill did.
func (r *Report) Passed() bool {
	for i := range r.Results {
		if t := r.Results[i].Totals(); t.Passed != t.Rounds || r.Results[i].Error != "" {
			return false
		}
	}
	return true
}

// Table prints a row for each drill, and what went wrong.
func (r *Report) Table(w io.Writer) error {
	fmt.Fprintf(w, "%s, %s, %s\n%s\n\n", r.Started.Format(time.RFC3339), r.Where, r.Version, r.Machine)
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "DRILL\tROUNDS\tPASSED\tGAP P50\tP90\tP99\tMAX\tSESSIONS LOST\tWRITES LOST\tDELETES\tERROR INDICATIONS\tRESTARTS")
	for i := range r.Results {
		res := &r.Results[i]
		t, g := res.Totals(), res.Gaps()
		fmt.Fprintf(tw, "%s\t%d\t%d\t%s\t%s\t%s\t%s\t%d of %d\t%d of %d\t%d\t%d\t%d\n", res.Drill, t.Rounds, t.Passed,
			inMillis(Quantile(g, 0.5)), inMillis(Quantile(g, 0.9)), inMillis(Quantile(g, 0.99)), inMillis(Quantile(g, 1)),
			t.LostSessions, t.Sessions, t.LostWrites, t.Acknowledged, t.Notice.Deletes, t.Notice.ErrorIndications, t.Notice.RestartChanges)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for i := range r.Results {
		res := &r.Results[i]
		for n := range res.Rounds {
			for _, list := range [][]string{res.Rounds[n].Faults, res.Rounds[n].LostSessions, res.Rounds[n].LostWrites} {
				for _, f := range list {
					fmt.Fprintf(w, "%s, round %d: %s\n", res.Drill, n+1, f)
				}
			}
		}
		if res.Error != "" {
			fmt.Fprintf(w, "%s: %s\n", res.Drill, res.Error)
		}
	}
	return nil
}

func inMillis(v float64) string { return strconv.FormatFloat(v, 'f', 0, 64) + " ms" }

// Write writes the report as JSON, with a line for each round.
func (r *Report) Write(w io.Writer) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	// A quote within a string has a backslash before it.
	for _, begin := range []string{`{"at":`, `"results":`, `"timeline":`} {
		b = bytes.ReplaceAll(b, []byte(begin), []byte("\n"+begin))
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// ReadReport reads a file that Write made.
func ReadReport(file string) (*Report, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := new(Report)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s is no report of drills: %w", file, err)
	}
	return r, nil
}
