package pathwatch

import (
	"os"
	"strings"
	"testing"
)

// The example of docs/path-watcher.md is the one that is executed here.
func TestDocumentedExampleIsTheExecutedOne(t *testing.T) {
	page, err := os.ReadFile("../../docs/path-watcher.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(source), "func Example() {\n")
	code, output, _ := strings.Cut(code, "	// Output:\n")
	var body, printed strings.Builder
	for line := range strings.Lines(code) {
		body.WriteString(strings.TrimPrefix(line, "\t"))
	}
	for line := range strings.Lines(output) {
		if text, ok := strings.CutPrefix(line, "\t// "); ok {
			printed.WriteString(text)
		}
	}
	if !strings.Contains(string(page), "```go\n"+body.String()+"```\n") {
		t.Errorf("docs/path-watcher.md shows another program than:\n%s", body.String())
	}
	if !strings.Contains(string(page), "```text\n"+printed.String()+"```\n") {
		t.Errorf("docs/path-watcher.md shows other words than:\n%s", printed.String())
	}
}
