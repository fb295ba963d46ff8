//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Lab is a Kubernetes that runs.
type Lab struct {
	Nodes []*Node

	dir      string
	binaries Binaries
	control  *machine
	cgroup   string // of all pods; from the root of each hierarchy
	logf     func(string, ...any)
}

// Node is a machine that pods run on.
type Node struct {
	Name string
	*machine
	index int
	cut   bool
}

// Addresses outside of the machines, in the network namespace of whoever starts the lab.
var (
	Outside    = netip.MustParseAddr("10.250.0.1") // on the nodes' network
	LAN        = netip.MustParsePrefix("10.77.0.0/16")
	control    = netip.MustParseAddr("10.250.0.2")
	DNS        = netip.MustParseAddr("10.96.0.10")
	services   = "10.96.0.0/16"
	pods       = "10.251.0.0/16"
	pauseImage = "sealedge.test/lab/pause:1"
)

func (n *Node) address() string { return fmt.Sprintf("10.250.0.%d", 11+n.index) }
func (n *Node) pods() string    { return fmt.Sprintf("10.251.%d.0/24", 1+n.index) }

// Config says what to start.
type Config struct {
	Nodes    int
	Binaries Binaries
	Outside  []netip.Addr // of the LAN, for those outside
	Logf     func(string, ...any)
}

// prefix is that of directories, in above, and cgroups; the id of the process follows.
const above, prefix = "/var/tmp", "sealedge-k8s-"

// Directory is where a process that has to do with labs keeps its files: Sweep finds
// it there when the process is gone.
func Directory() string { return filepath.Join(above, prefix+strconv.Itoa(os.Getpid())) }

// Start starts a Kubernetes, and returns when its nodes and its name service are
// ready. The caller is root, in a network and a mount namespace of its own, and
// called Machine first.
func Start(ctx context.Context, c Config) (*Lab, error) {
	for _, program := range []string{"etcd", "containerd", "ctr", "runc", "ip", "nsenter", "nft", "conntrack", "/usr/lib/cni/bridge"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("%w: see docs/kubernetes-lab.md for what is needed", err)
		}
	}
	dir := Directory()
	l := &Lab{dir: dir, cgroup: filepath.Base(dir), binaries: c.Binaries, logf: c.Logf}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return nil, err
	}
	if err := l.start(ctx, c); err != nil {
		l.Dump(context.Background())
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Lab) start(ctx context.Context, c Config) (err error) {
	if l.control, err = newMachine("control", filepath.Join(l.dir, "control")); err != nil {
		return err
	}
	for i := range c.Nodes {
		n := &Node{Name: fmt.Sprint("node", i+1), index: i}
		if n.machine, err = newMachine(n.Name, filepath.Join(l.dir, n.Name)); err != nil {
			return err
		}
		l.Nodes = append(l.Nodes, n)
	}
	if err := l.network(c.Outside); err != nil {
		return err
	}
	if err := l.startControl(ctx); err != nil {
		return err
	}
	l.logf("the API server answers")
	archives, err := l.images()
	if err != nil {
		return err
	}
	for _, n := range l.Nodes {
		if err := l.startNode(ctx, n, archives); err != nil {
			return err
		}
	}
	return l.furnish(ctx)
}

// Close ends everything and removes it.
func (l *Lab) Close() error {
	for _, n := range l.Nodes {
		if n.machine != nil {
			n.end()
		}
	}
	if l.control != nil {
		l.control.end()
	}
	return errors.Join(removeCgroups(l.cgroup), os.RemoveAll(l.dir))
}

// Sweep removes what labs of processes that are gone left.
func Sweep() error {
	var errs []error
	stale := func(name string) bool {
		pid, ours := strings.CutPrefix(name, prefix)
		if _, err := strconv.Atoi(pid); !ours || err != nil {
			return false
		}
		_, err := os.Stat("/proc/" + pid)
		return errors.Is(err, os.ErrNotExist)
	}
	roots, beside, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range slices.Concat(roots, beside, []string{above}) {
		entries, err := os.ReadDir(root)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !e.IsDir() || !stale(e.Name()) {
				continue
			}
			if root == above {
				errs = append(errs, os.RemoveAll(filepath.Join(root, e.Name())))
			} else {
				errs = append(errs, removeCgroups(e.Name()))
			}
		}
	}
	return errors.Join(errs...)
}

// until waits for something on a machine that may be busy with much else.
func until(ctx context.Context, what string, ok func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		case <-time.After(300 * time.Millisecond):
		}
	}
}
