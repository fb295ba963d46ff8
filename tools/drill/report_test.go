package drill

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func sample() *Report {
	kill := Result{Drill: "leader-kill"}
	for i := range 10 {
		kill.Add(Round{
			Recovered: float64(400 + 10*i), Silence: 500, Sessions: 8, Sent: 100, Lost: 40, Acknowledged: 5, Signalling: 450,
			timeline: []Point{{At: -10, RTT: 0.3}, {At: 0, Lost: 5}, {At: 10, RTT: float64(i)}},
		})
	}
	bad := Round{Silence: 30, Sessions: 8, LostWrites: []string{"the attach of somebody is gone"}, Notice: Notice{Deletes: 2}}
	return &Report{Where: "a <test>", Results: []Result{kill, {Drill: "planned-handover", Rounds: []Round{{Silence: 20}, bad}, Error: "no more"}}}
}

func TestReport(t *testing.T) {
	r := sample()
	if r.Passed() {
		t.Error("a report with lost writes passes")
	}
	if g := r.Results[0].Timeline; len(g) != 3 || g[2].RTT != 9 {
		t.Errorf("the timeline is not of the worst round: %v", g)
	}
	if tot := r.Results[0].Totals(); tot.Passed != 10 || tot.Sessions != 80 || tot.LostProbes != 400 || len(tot.Signalling) != 10 {
		t.Errorf("%+v", tot)
	}
	var table bytes.Buffer
	if err := r.Table(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"leader-kill       10      10      440 ms   480 ms  490 ms  490 ms  0 of 80        0 of 50",
		"planned-handover  2       1       20 ms    30 ms   30 ms   30 ms   0 of 8         1 of 0       2        0",
		"planned-handover, round 2: the attach of somebody is gone\n", "planned-handover: no more\n",
	} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, table.String())
		}
	}
}

func TestReportIsKept(t *testing.T) {
	var b, again bytes.Buffer
	if err := sample().Write(&b); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "r.json")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := ReadReport(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Write(&again); err != nil || !bytes.Equal(again.Bytes(), b.Bytes()) {
		t.Errorf("a report changes when it is read: %v\n%s", err, again.Bytes())
	}
}

// What is drawn is well-formed, with a bar for each round.
func TestSVG(t *testing.T) {
	var b bytes.Buffer
	if err := sample().SVG(&b); err != nil {
		t.Fatal(err)
	}
	bars := strings.Count(b.String(), `fill="#47a"`)
	if bars != 11 || strings.Count(b.String(), `fill="#d33"/>`) != 1 || strings.Contains(b.String(), "NaN") {
		t.Errorf("%d bars:\n%s", bars, b.String())
	}
	for dec := xml.NewDecoder(&b); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestHistogram(t *testing.T) {
	want := "  400 to   450 ms     2  ##################################################\n" +
		"  450 to   500 ms     0\n" +
		"  500 to   550 ms     0\n" +
		"  550 to   600 ms     0\n" +
		"  600 to   650 ms     0\n" +
		"  650 to   700 ms     0\n" +
		"  700 to   750 ms     0\n" +
		"  750 to   800 ms     0\n" +
		"  800 to   850 ms     0\n" +
		"  850 to   900 ms     0\n" +
		"  900 to   950 ms     0\n" +
		"  950 to  1000 ms     1  #########################\n"
	if got := Histogram([]float64{410, 440, 980}); got != want {
		t.Errorf("got\n%s", got)
	}
	if Histogram(nil) != "" {
		t.Error("a histogram of nothing")
	}
}
