//go:build linux

package k8s

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sealedge/sealedge/tools/e2e/k8s/lab"
)

// Environment: enabled has the scenarios run, stay keeps the cluster afterwards, until
// an interrupt, images is a directory with images that were made before. within is set in the process that has networks of its own, to what
// was prepared for it.
const (
	enabled = "SEALEDGE_K8S"
	stay    = "SEALEDGE_K8S_STAY"
	images  = "SEALEDGE_K8S_IMAGES"
	within  = "SEALEDGE_K8S_WITHIN"
)

// module is the root of the module, from here.
const module = "../../.."

// registry is what the images are called by; there is none of that name.
const registry = "sealedge.test"

func TestMain(m *testing.M) {
	lab.Machine()
	switch {
	case os.Getenv(enabled) == "":
		fmt.Println("nothing is run: make k8s-e2e")
		os.Exit(0)
	case os.Getenv(within) != "":
		if err := enter(os.Getenv(within)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	if err := outer(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// outer prepares everything that takes networks or the user's caches, and has this
// program run once more, in namespaces. It outlives that, to tidy up behind it.
func outer() (err error) {
	if os.Geteuid() != 0 {
		return errors.New("a Kubernetes in namespaces takes root")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := lab.Sweep(); err != nil {
		return err
	}
	dir := lab.Directory()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir), lab.Sweep()) }()
	if err := prepare(ctx, dir); err != nil {
		return err
	}
	again := exec.Command("/proc/self/exe", os.Args[1:]...)
	again.Env = append(os.Environ(), within+"="+dir)
	again.Stdout, again.Stderr = os.Stdout, os.Stderr
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	life, err := again.StdinPipe()
	if err != nil {
		return err
	}
	if err := again.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- again.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		_ = life.Close() // it ends by that
		err = errors.Join(ctx.Err(), <-ended)
	}
	return err
}

// prepare builds what the scenarios need.
func prepare(ctx context.Context, dir string) error {
	logf := func(format string, a ...any) { fmt.Printf(format+"\n", a...) }
	if _, err := lab.Build(ctx, ".", logf); err != nil {
		return err
	}
	steps := [][]string{
		{"build", "-trimpath", "-o", filepath.Join(dir, "bin") + "/", "./edge/sealedge", "./tools/sealctl", "./tools/sealserver"},
		{"run", "./tools/image", "-once", "-worktree", "-arch", runtime.GOARCH, "-registry", registry, "-out", filepath.Join(dir, "image")},
		{"run", "./tools/chart", "helm"},
	}
	// Somebody may work on it while this runs.
	if err := os.CopyFS(filepath.Join(dir, "charts", "sealedge"), os.DirFS(filepath.Join(module, "charts", "sealedge"))); err != nil {
		return err
	}
	if made := os.Getenv(images); made != "" {
		steps = slices.Delete(steps, 1, 2)
		if err := os.Symlink(made, filepath.Join(dir, "image")); err != nil {
			return err
		}
	}
	for _, args := range steps {
		logf("go %s", strings.Join(args[:2], " "))
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = module
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as the images
		var words strings.Builder
		cmd.Stderr = &words
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, &words)
		}
		if args[len(args)-1] == "helm" {
			if err := os.Symlink(strings.TrimSpace(string(out)), filepath.Join(dir, "bin", "helm")); err != nil {
				return err
			}
		}
	}
	return nil
}

// enter makes the namespaces that this process is in habitable.
func enter(dir string) error {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with who started us, or when he wants us to end
		os.Exit(1)
	}()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	names := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(names, []byte("nameserver "+lab.DNS.String()+"\n"), 0o644); err != nil {
		return err
	}
	return unix.Mount(names, "/etc/resolv.conf", "", unix.MS_BIND, "")
}
