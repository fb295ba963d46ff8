package check

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// docs/check.md has every exit code as the program means it.
func TestExitCodesAsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/check.md")
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	seen := make(map[Outcome]bool)
	for code, o := range outcomes {
		if seen[o.name] || ExitCode(o.name) != code {
			t.Errorf("%s: exit code %d", o.name, ExitCode(o.name))
		}
		seen[o.name] = true
		fmt.Fprintf(&table, "| %d | `%s` | %s |\n", code, o.name, o.meaning)
	}
	if !strings.Contains(string(page), table.String()) {
		t.Errorf("docs/check.md has not this table:\n%s", table.String())
	}
}
