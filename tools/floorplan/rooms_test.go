package floorplan

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var quoted = regexp.MustCompile("`([a-z0-9/]+)`")

// roomsIn are the packages that the rows of a page's tables name first. In a row that
// says so the others are below the first one.
func roomsIn(page string) (rooms []string) {
	for line := range strings.Lines(page) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		under := ""
		for i, m := range quoted.FindAllStringSubmatch(cells[1], -1) {
			rooms = append(rooms, under+m[1])
			if i == 0 && strings.Contains(cells[1], "below it") {
				under = m[1] + "/"
			}
		}
	}
	return rooms
}

func TestRoomsIn(t *testing.T) {
	got := roomsIn("`text`\n| `a/b`, `c` | what `they` are |\n| `d`, and `e`, `f` below it | x |\n")
	if want := []string{"a/b", "c", "d", "d/e", "d/f"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestArchitecture: docs/architecture.md says what each package is for, and names none
// that isn't there.
func TestArchitecture(t *testing.T) {
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, house, _ := strings.Cut(string(text), "## The house\n")
	house, _, _ = strings.Cut(house, "\n## ")
	named := roomsIn(house)
	var there []string
	for _, p := range list(t) {
		there = append(there, strings.TrimPrefix(p.ImportPath, module))
	}
	for _, room := range there {
		if !slices.Contains(named, room) {
			t.Errorf("docs/architecture.md doesn't say what %s is for", room)
		}
	}
	for _, room := range named {
		if !slices.Contains(there, room) {
			t.Errorf("docs/architecture.md names %s, which isn't there", room)
		}
	}
}
