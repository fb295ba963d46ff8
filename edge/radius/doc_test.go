package radius

import (
	"os"
	"strings"
	"testing"
)

// docs/router.md explains every counter.
func TestDocumentExplainsEveryCounter(t *testing.T) {
	doc, err := os.ReadFile("../../docs/router.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range newRig(t).s.Counters() {
		if !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("docs/router.md doesn't explain %q", name)
		}
	}
}
