package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/tools/drill"
)

// The page that is committed says what the committed results say.
func TestPageIsOfTheResults(t *testing.T) {
	const docs = "../../docs"
	page, err := os.ReadFile(filepath.Join(docs, "reliability.md"))
	if err != nil {
		t.Fatal(err)
	}
	made, err := fill(string(page), filepath.Join(docs, "reliability"))
	if err != nil {
		t.Fatal(err)
	}
	if made != string(page) {
		t.Error("docs/reliability.md is not of the results in docs/reliability: run go run ./tools/reliability -page")
	}
}

func TestFill(t *testing.T) {
	dir := t.TempDir()
	r := &drill.Report{Command: "sealctl drill", Where: "here", Results: []drill.Result{{Drill: "leader-kill", Summary: "it dies"}}}
	for _, gap := range []float64{410, 420, 980} {
		r.Results[0].Add(drill.Round{Recovered: gap, Sessions: 16, Acknowledged: 4, LostWrites: []string{"one"}})
	}
	f, err := os.Create(filepath.Join(dir, "leader-kill.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := r.Write(f); err != nil {
		t.Fatal(err)
	}
	page, err := fill("# Title\n\n"+begins+"\nold\n"+ends+"\n\nwritten by hand\n", dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# Title\n", "written by hand\n", "| 0.50 s / 1.00 s | 0.42 s | 0.98 s | 0.98 s | 0.98 s | 3 |", "| acknowledged writes lost | 0 | 3 of 12 |",
		"| sessions kept | all | 48 of 48 |", "0 of 3 rounds without a fault", "It dies.", "950 to  1000 ms     1",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	if strings.Contains(page, "\nold\n") {
		t.Error("the old part is still there")
	}
	if again, err := fill(page, dir); err != nil || again != page {
		t.Error("made again, the page differs")
	}
	if _, err := fill("# Title\n", dir); err == nil {
		t.Error("a page without the lines is filled")
	}
}

func TestParse(t *testing.T) {
	if all, err := parse(standard); err != nil || len(all) != len(goals) {
		t.Errorf("%v, %v", all, err)
	}
	for _, bad := range []string{"", "leader-kill", "leader-kill=0", "earthquake=3", "leader-kill=many"} {
		if all, err := parse(bad); err == nil {
			t.Errorf("%q: %v", bad, all)
		}
	}
}
