package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/rivo/uniseg"
)

func TestTableInAPipeIsWhole(t *testing.T) {
	long := strings.Repeat("because ", 40)
	var b strings.Builder
	left, err := table(&b, []string{"ORDER", "STATE", "REASON"}, [][]string{{"WO-1", "suspended", long}, {"WO-22", "", "合同章 lost"}, {"WO-3"}})
	if err != nil || left != nil {
		t.Fatal(left, err)
	}
	want := "ORDER  STATE      REASON\nWO-1   suspended  " + long + "\nWO-22  -          合同章 lost\nWO-3   -          -\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

// What others wrote into a record neither moves the cursor nor makes a line.
func TestTableShowsNoControlCharacters(t *testing.T) {
	var b strings.Builder
	if _, err := table(&b, []string{"LABEL"}, [][]string{{"a\x1b[2Jb\nc\td\u202ee"}}); err != nil {
		t.Fatal(err)
	}
	if want := "LABEL\na\\x1b[2Jb c d\\u202ee\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestFit(t *testing.T) {
	header := []string{"ORDER", "STATE", "SEAL", "LEFT", "REASON"}
	natural := []int{10, 9, 8, 4, 60}
	for _, c := range []struct {
		limit int
		want  []int
		left  []string
	}{
		{200, []int{10, 9, 8, 4, 60}, nil},
		{99, []int{10, 9, 8, 4, 60}, nil},
		{80, []int{10, 9, 8, 4, 41}, nil},
		{51, []int{10, 9, 8, 4, 12}, nil},
		{50, []int{10, 9, 8, 0, 12}, []string{"LEFT"}},
		{40, []int{10, 9, 0, 0, 12}, []string{"SEAL", "LEFT"}},
		{10, []int{10, 9, 0, 0, 12}, []string{"SEAL", "LEFT"}}, // there is no room for what it is about
	} {
		widths := slices.Clone(natural)
		left := fit(header, widths, c.limit)
		if !slices.Equal(widths, c.want) || !slices.Equal(left, c.left) {
			t.Errorf("%d columns: got %v without %v, want %v without %v", c.limit, widths, left, c.want, c.left)
		}
	}
}

// What a person copies is never cut, and never left out.
func TestFitKeepsValues(t *testing.T) {
	widths := []int{9, 64}
	if left := fit([]string{"WHAT", "VALUE"}, widths, 40); left != nil || !slices.Equal(widths, []int{9, 64}) {
		t.Errorf("got %v without %v", widths, left)
	}
}

func TestShorten(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"lost", 4, "lost"},
		{"lost documents", 8, "lost do…"},
		{"合同章在路上", 8, "合同章…"}, // each takes two columns
		{"合同章在路上", 7, "合同章…"},
		{"e\u0301e\u0301e\u0301", 2, "e\u0301…"}, // a letter and its accent stay together
	} {
		got := shorten(c.text, c.width)
		if got != c.want || uniseg.StringWidth(got) > c.width {
			t.Errorf("%q to %d: got %q, want %q", c.text, c.width, got, c.want)
		}
	}
}
