package devicefile

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docs/import.md names every column, and no other; its example imports.
func TestDocumentation(t *testing.T) {
	raw, err := os.ReadFile("../../../docs/import.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(raw)
	name := regexp.MustCompile("`([a-z0-9_]+)`")
	for _, kind := range []string{Terminals, Barrels} {
		_, table, ok := strings.Cut(doc, "| column of "+kind+" | |\n")
		if !ok {
			t.Fatalf("no table of the columns of %s", kind)
		}
		table, _, _ = strings.Cut(table, "\n\n")
		var documented []string
		for row := range strings.Lines(table) {
			first := strings.SplitN(row, "|", 3)[1]
			for _, m := range name.FindAllStringSubmatch(first, -1) {
				documented = append(documented, m[1])
			}
		}
		want := names(kind)
		slices.Sort(documented)
		slices.Sort(want)
		if !slices.Equal(documented, want) {
			t.Errorf("%s:\ndocumented %v\n     there %v", kind, documented, want)
		}
	}

	_, example, _ := strings.Cut(doc, "    terminals:\n")
	example, _, _ = strings.Cut(example, "\n\n")
	example = "terminals:\n" + strings.ReplaceAll("\n"+example, "\n    ", "\n")
	dir := t.TempDir()
	for file, content := range map[string]string{"phone.txt": "open sesame", "SB-0001.psk": "q83vASNFZ4mrze8BI0VniQ=="} {
		content = strings.ReplaceAll(content, " ", "-")
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := Read("import.md", YAML, dir, strings.NewReader(example))
	if err != nil || len(rows) != 2 {
		t.Fatalf("%d rows, %v\n%s", len(rows), err, example)
	}
	for _, r := range rows {
		if r.Err != nil {
			t.Errorf("line %d: %v", r.Line, r.Err)
		}
	}
}
