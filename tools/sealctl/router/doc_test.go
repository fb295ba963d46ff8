package router

import (
	"os"
	"strings"
	"testing"
)

// What docs/router.md shows of a file is in one that is written.
func TestDocumentShowsWhatIsWritten(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/router.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(doc), "```nft\n")
	shown, _, ok := strings.Cut(after, "```")
	files, err := settings(true).Files("hostapd")
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	found := false
	for _, f := range files {
		found = found || strings.Contains(f.Content, shown)
		if !strings.Contains(string(doc), "`"+f.Name+"`") {
			t.Errorf("docs/router.md doesn't name %s", f.Name)
		}
	}
	if !found {
		t.Errorf("no file has\n%s", shown)
	}
}
