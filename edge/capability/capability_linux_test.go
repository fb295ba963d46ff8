package capability

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A process of its own, since threads of tests aren't to lose anything; and without
// cgo, as the image's.
func TestRaise(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root has capabilities to lay down and take again")
	}
	program := filepath.Join(t.TempDir(), "raise")
	build := exec.Command("go", "build", "-o", program, "./testdata/raise")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	out, err := exec.Command(program).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	const none = "0000000000000000"
	if len(lines) != 3 || lines[1] != "down "+none {
		t.Fatalf("threads that differ, or that laid nothing down:\n%s", out)
	}
	before, after := strings.TrimPrefix(lines[0], "before "), strings.TrimPrefix(lines[2], "up ")
	if before != after || after == none {
		t.Errorf("laid down %s, took %s", before, after)
	}
}

// With everything in hand there is nothing to do, and cgo doesn't matter.
func TestRaiseWhatIsThere(t *testing.T) {
	if err := Raise(); err != nil {
		t.Error(err)
	}
}
