package e2e

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// bin is where the programs are, once built has been called.
var bin string

// worldBin is set in a process that has a network namespace of its own (inWorld):
// where the programs are.
const worldBin = "E2E_WORLD_BIN"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	// What else fills this machine's disk is no matter of the scenarios, nor how long an
	// election takes while it is busy.
	for name, value := range map[string]string{"SEALEDGE_CLUSTER_ADMISSION_STOP": "100", "SEALCTL_RETRY": "20s"} {
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	// A process that another made of this program uses the other's.
	if bin = os.Getenv(worldBin); bin == "" {
		var err error
		if bin, err = os.MkdirTemp("", "sealedge-e2e-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(bin)
	}
	// Scenarios wait more than they compute.
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// built makes the product's programs, once. The first scenario does it, and not
// TestMain: what is read before the tests run, the go command doesn't see.
var built = sync.OnceValue(func() error {
	if os.Getenv(worldBin) != "" {
		return nil
	}
	if err := readSources(); err != nil {
		return err
	}
	return build("./edge/sealedge", "./tools/sealctl", "./tools/sealserver")
})

// module is the root of the module, from here.
const module = "../.."

// build builds programs into bin, by package path.
func build(packages ...string) error {
	args := []string{"build", "-o", bin + "/"}
	if os.Getenv("E2E_RACE") != "" && strings.HasPrefix(packages[0], "./") { // others have their own
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, packages...)...)
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", strings.Join(packages, " "), err, out)
	}
	return nil
}

// readSources looks into every directory of the module, so that the go command
// knows what the programs are built of: else it would call a test's result
// cached when only they have changed.
func readSources() error {
	return filepath.WalkDir(module, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && path != module && (strings.HasPrefix(d.Name(), ".") || d.Name() == "build") {
			return fs.SkipDir
		}
		return err
	})
}
