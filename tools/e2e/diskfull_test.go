package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// The disk of the node that holds the gateway address fills up. The node says
// so and ends; another one takes over, and the terminal's session goes on. With
// space again the node comes back and has all that it missed.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	s := makeSite(t, 3)
	disks := smallDisks(s)
	for n := range s.nodes {
		s.startNode(n)
	}
	s.until("a node holds the gateway address", func() bool { return s.holder() != nil })
	s.sealctl("policy", "apply", s.layout.Policy)
	c, tap := s.carrier(1)
	p := s.attach(c, s.enlist(1))

	n := s.held()
	full := s.nodes[n]
	empty := disks.fill(n)
	for i := 2; !full.ended(); i++ { // each of them is written down
		if i > 5000 {
			t.Fatal("5000 changes were written to a full disk")
		}
		s.enlist(i % 1000)
	}
	if code := full.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("the node ended with exit code %d, want 1", code)
	}
	if !full.said("level=ERROR .*no space left on device") {
		t.Errorf("the node doesn't say why it ended:\n%s", full.lastWords(10))
	}
	s.until("another node holds the address", func() bool { return s.holder() != nil })
	s.ping(p)
	tap.noEnding()
	s.attach(c, s.enlist(1))

	empty()
	s.startNode(n)
	s.until("the node that came back has caught up", s.caughtUp)
	s.auditVerifies()
}

// disks are file systems of a few megabytes, one for each node's data, in a
// mount namespace of a process that does nothing else.
type disks struct {
	*site
	keeper *process
}

// smallDisks puts the nodes' data on disks of their own. Where that isn't
// permitted the test is skipped.
func smallDisks(s *site) *disks {
	s.Helper()
	private, enter := []string{"-m"}, []string{"-m"}
	if os.Geteuid() != 0 {
		private, enter = []string{"-Urm"}, []string{"-U", "-m", "--preserve-credentials"}
	}
	script := "set -e\n"
	for n := range s.nodes {
		dir := string(s.cfgs[n].Node.DataDir)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			s.Fatal(err)
		}
		script += fmt.Sprintf("mount -t tmpfs -o size=%dm,mode=700 tmpfs '%s'\n", diskMegabytes, dir)
	}
	script += "echo mounted\nexec sleep 100000\n"
	if out, err := exec.Command("unshare", append(private, "mount", "-t", "tmpfs", "tmpfs", s.dir)...).CombinedOutput(); err != nil {
		s.Skipf("no file system of its own can be mounted here: %v: %s", err, out)
	}
	d := &disks{s, start(s.T, s.dir, "disks", exec.Command("unshare", append(private, "sh", "-c", script)...))}
	s.until("the disks are there", func() bool { return d.keeper.said("(?m)^mounted$") || d.keeper.ended() })
	s.change = func(_ int, cmd *exec.Cmd) {
		args := append([]string{"nsenter", "-t", strconv.Itoa(d.keeper.cmd.Process.Pid)}, enter...)
		within := exec.Command("nsenter")
		cmd.Args = append(append(args, "--", cmd.Path), cmd.Args[1:]...)
		cmd.Path, cmd.Err = within.Path, within.Err
	}
	return d
}

// diskMegabytes is enough for a node to begin with.
const diskMegabytes = 96

// fill takes all space that is left on a node's disk, until empty is called.
func (d *disks) fill(node int) (empty func()) {
	d.Helper()
	name := filepath.Join("/proc", strconv.Itoa(d.keeper.cmd.Process.Pid), "root", string(d.cfgs[node].Node.DataDir), "filler")
	f, err := os.Create(name)
	if err != nil {
		d.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, zeros{}); !errors.Is(err, syscall.ENOSPC) {
		d.Fatalf("the disk can't be filled: %v", err)
	}
	return func() {
		d.Helper()
		if err := os.Remove(name); err != nil {
			d.Fatal(err)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
