package drill

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// bin is where the programs under test are.
var bin string

func TestMain(m *testing.M) {
	if !Isolated() {
		began, err := Isolate(context.Background())
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit):
			os.Exit(exit.ExitCode())
		case began && err == nil:
			os.Exit(0)
		}
		if os.Getenv("CI") != "" && os.Geteuid() == 0 {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Fprintln(os.Stderr, "on loopback alone:", err)
	}
	code := func() int {
		dir, err := os.MkdirTemp("", "sealedge-drill-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		bin = dir
		return m.Run()
	}()
	os.Exit(code)
}

// module is the root of the module, from here.
const module = "../.."

// built makes the programs, once. It looks into every directory of the module
// first, so that the go command knows what the tests depend on.
var built = sync.OnceValue(func() error {
	err := filepath.WalkDir(module, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && path != module && (strings.HasPrefix(d.Name(), ".") || d.Name() == "build") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-o", bin+"/", "./edge/sealedge", "./tools/sealserver")
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
})

// local starts a drill cluster with a canary. The machine may be busy: a disk
// that is slow for that ends no node, unless it is very slow.
func local(t *testing.T) *Target {
	t.Helper()
	if err := built(); err != nil {
		t.Fatal(err)
	}
	l, err := StartLocal(t.Context(), LocalConfig{Bin: bin, Dir: filepath.Join(t.TempDir(), "site"), Set: []string{"cluster.disk_stall=8s"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Stop)
	cfg, err := l.Canary(t.Context(), 8, 16)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCanary(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	use, err := l.Use(t.Context(), 24)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Use(t.Context(), use); err != nil {
		t.Fatal(err)
	}
	return &Target{Admin: l.Admin(), Canary: c, Hands: l, Destructive: true, UseEvery: 2, Aside: l.Restore}
}

func TestLocalDrills(t *testing.T) {
	target := local(t)
	for _, d := range Drills() {
		t.Run(d.Name, func(t *testing.T) {
			if err := target.Allowed(d); err != nil {
				if os.Getenv("CI") != "" && os.Geteuid() == 0 {
					t.Fatal(err)
				}
				t.Skip(err)
			}
			for i := range 2 {
				r, err := target.Run(t.Context(), d)
				if err != nil {
					t.Fatal(err)
				}
				if !r.Passed() || r.Sent == 0 || r.Sessions != 8 || (r.SealUse > 0) != (i == 0) {
					t.Errorf("%+v", r)
				}
			}
		})
	}
}
