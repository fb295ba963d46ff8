package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// namespace is a machine of its own as far as the network goes. A process that
// sleeps keeps it.
type namespace struct{ keeper *exec.Cmd }

// errNoNamespaces says why there are no network namespaces to measure between.
var errNoNamespaces = errors.New("without the fallback path")

func newNamespace() (*namespace, error) {
	for _, program := range []string{"ip", "nsenter", "sleep"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("%w: %w", errNoNamespaces, err)
		}
	}
	n := &namespace{exec.Command("sleep", "infinity")}
	n.keeper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := n.keeper.Start(); err != nil {
		return nil, fmt.Errorf("%w: a network namespace takes root: %w", errNoNamespaces, err)
	}
	return n, nil
}

func (n *namespace) pid() string { return strconv.Itoa(n.keeper.Process.Pid) }

// inside is the command line that runs argv there, as the same process.
func (n *namespace) inside(argv ...string) []string {
	return append([]string{"nsenter", "-t", n.pid(), "-n", "--"}, argv...)
}

// do runs commands there, one in a line.
func (n *namespace) do(ctx context.Context, lines string) error {
	for line := range strings.Lines(lines) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if _, err := n.output(ctx, words...); err != nil {
			return err
		}
	}
	return nil
}

// output runs a command there and returns what it prints.
func (n *namespace) output(ctx context.Context, argv ...string) ([]byte, error) {
	in := n.inside(argv...)
	cmd := exec.CommandContext(ctx, in[0], in[1:]...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, said.String())
	}
	return out, nil
}

func (n *namespace) close() {
	_ = n.keeper.Process.Signal(os.Kill) // it may be gone
	_ = n.keeper.Wait()
}
