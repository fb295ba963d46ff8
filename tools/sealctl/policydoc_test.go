package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/policy/bundle"
)

// What docs/policy.md shows of the offline commands is what they print, but for the
// width of columns and what is left out as "...".
func TestPolicyDocument(t *testing.T) {
	raw, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, file, found := strings.Cut(string(raw), "```yaml\n# policy.yaml\n")
	file, _, closed := strings.Cut(file, "```")
	if !found || !closed {
		t.Fatal("there is no policy.yaml")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte("# policy.yaml\n"+file), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	commands := 0
	for _, block := range strings.Split(string(raw), "```console\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		for _, part := range strings.Split("\n"+block, "\n$ ")[1:] {
			line, shown, _ := strings.Cut(part, "\n")
			var out bytes.Buffer
			run(t.Context(), strings.Fields(line), &out, &out)
			commands++
			compareShown(t, line, shown, out.String())
		}
	}
	if commands < 3 {
		t.Errorf("only %d commands are shown", commands)
	}
}

// compareShown finds the lines that are shown in what was printed, in their order.
func compareShown(t *testing.T, command, shown, printed string) {
	t.Helper()
	fold := func(s string) []string {
		var out []string
		for l := range strings.Lines(s) {
			if l = strings.Join(strings.Fields(l), " "); l != "" {
				out = append(out, l)
			}
		}
		return out
	}
	rest := fold(printed)
	skips := false
	for _, want := range fold(shown) {
		if want == "..." {
			skips = true
			continue
		}
		for skips && len(rest) > 0 && rest[0] != want {
			rest = rest[1:]
		}
		if len(rest) == 0 || rest[0] != want {
			t.Errorf("%s doesn't print %q:\n%s", command, want, printed)
			return
		}
		rest, skips = rest[1:], false
	}
}

// Every YAML example of docs/policy.md is a document, or a part of one.
func TestPolicyExamples(t *testing.T) {
	raw, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := strings.Split(string(raw), "```yaml\n")[1:]
	for _, block := range examples {
		block, _, _ = strings.Cut(block, "```")
		if !strings.HasPrefix(block, "spec:") {
			continue // policy.yaml, that the commands read
		}
		doc := string(bundle.Default(bundle.Params{}))
		// The example's sections stand instead of the first policy's.
		for section, next := range map[string]string{"  admission:\n": "  # What a barrel verifies", "  fallback:\n": "  # Devices that are no barrels"} {
			if strings.Contains(block, section) {
				before, after, _ := strings.Cut(doc, section)
				_, after, _ = strings.Cut(after, next)
				doc = before + next + after
			}
		}
		if _, _, err := bundle.Parse("example", []byte(doc+strings.TrimPrefix(block, "spec:"))); err != nil {
			t.Errorf("%v:\n%s", err, block)
		}
	}
	if len(examples) < 4 {
		t.Errorf("only %d examples", len(examples))
	}
}
