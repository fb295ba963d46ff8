package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/sealedge/sealedge/tools/drill"
)

// goal is what the figures are held against, in milliseconds; 0: there is none.
type goal struct {
	drill, figure string
	p50, p99      float64
}

var goals = []goal{
	{"leader-kill", "unplanned failover: kill -9 of the holder to the first forwarded packet of an existing session", 500, 1000},
	{"node-freeze", "frozen node (SIGSTOP of the holder), the same", 600, 1200},
	{"hung-disk", "hung disk of the holder, the same", 0, 1500},
	{"partition", "holder cut off from the other nodes, the same", 0, 0},
	{"planned-handover", "planned handover: longest silence", 0, 100},
	{"address-move", "address moved away and back: longest silence", 0, 100},
	{"restore", "backup and restore beside the cluster: longest silence", 0, 0},
	{"slow-disk", "slow disk of the holder: longest silence", 0, 0},
}

// part is what is made of the reports: a table of all, then each drill.
func part(reports []*drill.Report) string {
	var b strings.Builder
	b.WriteString("| figure | target p50 / p99 | p50 | p90 | p99 | largest | samples |\n|---|---|---|---|---|---|---|\n")
	for _, g := range goals {
		if res := find(reports, g.drill); res != nil {
			v := res.Gaps()
			fmt.Fprintf(&b, "| [%s](#%s) | %s | %s | %s | %s | %s | %d |\n", g.figure, g.drill, g,
				seconds(drill.Quantile(v, 0.5)), seconds(drill.Quantile(v, 0.9)), seconds(drill.Quantile(v, 0.99)), seconds(drill.Quantile(v, 1)), len(v))
		}
	}
	b.WriteString("\n" + sums(reports) + "\n")
	for _, r := range reports {
		for i := range r.Results {
			section(&b, r, &r.Results[i])
		}
	}
	return b.String()
}

func (g goal) String() string {
	switch {
	case g.p50 > 0:
		return seconds(g.p50) + " / " + seconds(g.p99)
	case g.p99 > 0:
		return "- / " + seconds(g.p99)
	}
	return "-"
}

func seconds(ms float64) string {
	if ms < 100 {
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.2f s", ms/1000)
}

func find(reports []*drill.Report, name string) *drill.Result {
	for _, r := range reports {
		for i := range r.Results {
			if r.Results[i].Drill == name {
				return &r.Results[i]
			}
		}
	}
	return nil
}

// sums is what peers noticed in all rounds together, and what was lost.
func sums(reports []*drill.Report) string {
	var all drill.Totals
	for _, r := range reports {
		for i := range r.Results {
			t := r.Results[i].Totals()
			all.Rounds += t.Rounds
			all.Passed += t.Passed
			all.Sessions += t.Sessions
			all.LostSessions += t.LostSessions
			all.Acknowledged += t.Acknowledged
			all.LostWrites += t.LostWrites
			all.Notice.Deletes += t.Notice.Deletes
			all.Notice.ErrorIndications += t.Notice.ErrorIndications
			all.Notice.RestartChanges += t.Notice.RestartChanges
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| over all %d rounds (%d without a fault) | target | measured |\n|---|---|---|\n", all.Rounds, all.Passed)
	fmt.Fprintf(&b, "| acknowledged writes lost | 0 | %d of %d |\n", all.LostWrites, all.Acknowledged)
	fmt.Fprintf(&b, "| sessions kept | all | %d of %d |\n", all.Sessions-all.LostSessions, all.Sessions)
	fmt.Fprintf(&b, "| changes of the GTP restart counter that the peer saw | 0 | %d |\n", all.Notice.RestartChanges)
	fmt.Fprintf(&b, "| Deletes that the peer got | 0 | %d |\n", all.Notice.Deletes)
	fmt.Fprintf(&b, "| Error Indications that the peer got | 0 | %d |\n", all.Notice.ErrorIndications)
	return b.String()
}

// section is one drill.
func section(b *strings.Builder, r *drill.Report, res *drill.Result) {
	t, gaps := res.Totals(), res.Gaps()
	fmt.Fprintf(b, "### %s\n\n%s.\n\n", res.Drill, strings.ToUpper(res.Summary[:min(1, len(res.Summary))])+res.Summary[min(1, len(res.Summary)):])
	fmt.Fprintf(b, "`%s`, %s, %s, %s; %s.\n\n", r.Command, r.Started.Format(time.DateTime), r.Where, r.Version, r.Machine)
	b.WriteString("| in ms | p50 | p90 | p99 | largest | samples |\n|---|---|---|---|---|---|\n")
	for _, row := range []struct {
		name string
		of   []float64
	}{
		{"gap", gaps},
		{"until every session was served", each(res, func(r *drill.Round) float64 { return r.All })},
		{"longest silence", each(res, func(r *drill.Round) float64 { return r.Silence })},
		{"until an attach or detach was acknowledged", t.Signalling},
		{"until a seal could be used, the barrel being back", t.SealUse},
		{"longest silence when it was undone", t.UndoGap},
		{"from there until the cluster was whole", t.Mended},
	} {
		if len(row.of) > 0 {
			fmt.Fprintf(b, "| %s | %.0f | %.0f | %.0f | %.0f | %d |\n", row.name, drill.Quantile(row.of, 0.5), drill.Quantile(row.of, 0.9),
				drill.Quantile(row.of, 0.99), drill.Quantile(row.of, 1), len(row.of))
		}
	}
	fmt.Fprintf(b, "\n%d of %d rounds without a fault. Of %d sessions %d were lost, of %d acknowledged writes %d; the peer got %d Deletes and\n%d Error Indications, and the restart counter changed %d times. Of %d probes %d were lost; %d answers came late.\n\n",
		t.Passed, t.Rounds, t.Sessions, t.LostSessions, t.Acknowledged, t.LostWrites, t.Notice.Deletes, t.Notice.ErrorIndications, t.Notice.RestartChanges,
		t.Probes, t.LostProbes, t.Late)
	for i := range res.Rounds {
		for _, f := range res.Rounds[i].Faults {
			fmt.Fprintf(b, "Round %d: %s.\n\n", i+1, f)
		}
	}
	if res.Error != "" {
		fmt.Fprintf(b, "The rounds ended early: %s.\n\n", res.Error)
	}
	fmt.Fprintf(b, "The gap, and how many rounds had it:\n\n```\n%s```\n\n![The probes of the worst round, and the gap of each round](reliability/%s.svg)\n\n", drill.Histogram(gaps), res.Drill)
}

func each(res *drill.Result, value func(*drill.Round) float64) (all []float64) {
	for i := range res.Rounds {
		all = append(all, value(&res.Rounds[i]))
	}
	return all
}
