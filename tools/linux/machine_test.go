package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// machine is a computer for a test: a network namespace, and a copy of this machine's
// file system that is written to memory and goes with it. systemd doesn't run there;
// what it would do with the unit, start and stop do.
type machine struct {
	t      *testing.T
	name   string
	keeper *exec.Cmd // whose namespaces they are
	root   string    // of its file system, in its mount namespace
	daemon *exec.Cmd // nil: was never started
	done   chan struct{}
	log    string
}

// boot makes a machine. Whoever boots first has the switch, br0; the others get an
// interface, eth0, with a cable to it.
func boot(t *testing.T, name, address string, first *machine) *machine {
	t.Helper()
	dir := public(t)
	m := &machine{t: t, name: name, root: filepath.Join(dir, "root"), log: filepath.Join(dir, "log")}
	ready, signal, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	m.keeper = exec.Command("unshare", "-n", "-m", "sh", "-ec", `
		mount -t tmpfs tmpfs "$0"
		mkdir "$0/upper" "$0/work" "$0/root"
		mount -t overlay overlay -o "lowerdir=/,upperdir=$0/upper,workdir=$0/work" "$0/root"
		mount --bind /proc "$0/root/proc"
		mount --bind /dev "$0/root/dev"
		mount -t tmpfs tmpfs "$0/root/run"
		mount -t tmpfs tmpfs "$0/root/tmp"
		mount -t tmpfs tmpfs "$0/root/root"
		ip link set lo up
		echo ready >&3
		exec sleep 100000 3>&-`, dir)
	m.keeper.ExtraFiles = []*os.File{signal}
	m.keeper.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var words strings.Builder
	m.keeper.Stderr = &words
	if err := m.keeper.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.kill()
		_ = m.keeper.Process.Kill()
		_ = m.keeper.Wait()
	})
	_ = signal.Close()
	if n, _ := ready.Read(make([]byte, 8)); n == 0 {
		t.Fatalf("%s doesn't boot: %s", name, words.String())
	}
	if first == nil {
		m.sh("ip link add br0 type bridge; ip link set br0 up; ip addr add " + address + " dev br0")
		return m
	}
	first.sh(fmt.Sprintf("ip link add %s type veth peer name eth0 netns %d; ip link set %s master br0 up", name, m.keeper.Process.Pid, name))
	m.sh("ip link set eth0 up; ip addr add " + address + " dev eth0")
	return m
}

// within is a command that runs on the machine.
func (m *machine) within(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{
		"-t", fmt.Sprint(m.keeper.Process.Pid), "-n", "-m", "chroot", m.root,
	}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "SEALCTL_RETRY=20s"} // for elections on a busy machine
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// sh runs commands as root, in its home directory; they have to end well.
func (m *machine) sh(commands string) string {
	m.t.Helper()
	out, err := m.within("sh", "-euc", "cd /root\n"+commands).CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s: %v\n%s\n%s", m.name, err, commands, out)
	}
	return string(out)
}

// put makes a file in root's home directory.
func (m *machine) put(name string, content []byte) {
	m.t.Helper()
	cmd := m.within("tee", "/root/"+name)
	cmd.Stdin = strings.NewReader(string(content))
	cmd.Stdout = nil
	if err := cmd.Run(); err != nil {
		m.t.Fatal(err)
	}
}

// get reads a file of root's home directory.
func (m *machine) get(name string) []byte {
	m.t.Helper()
	out, err := m.within("cat", "/root/"+name).Output()
	if err != nil {
		m.t.Fatal(err)
	}
	return out
}

// unit is what is installed, with the drop-ins that are there.
func (m *machine) unit() settings {
	m.t.Helper()
	return parse(m.sh("cat /usr/lib/systemd/system/sealedge.service /etc/systemd/system/sealedge.service.d/*.conf"))
}

// start is "systemctl start sealedge", as far as the unit matters.
func (m *machine) start() {
	m.t.Helper()
	u := m.unit()
	user := u.last("User")
	m.sh("test -e " + u.last("ConditionPathExists") + "; install -d -o " + user + " -g " + u.last("Group") + " -m " + u.last("StateDirectoryMode") + " /var/lib/" + u.last("StateDirectory"))
	m.daemon = m.within(append(privileges(u, user, u.last("Group")), strings.Fields(u.last("ExecStart"))...)...)
	// A busy machine's disk and clock are no matter of this test.
	m.daemon.Env = append(m.daemon.Env, append(u["Environment"],
		"SEALEDGE_CLUSTER_DISK_STALL=20s", "SEALEDGE_CLUSTER_ADMISSION_STOP=100", "SEALEDGE_CLUSTER_HEARTBEAT_TIMEOUT=1s",
		"SEALEDGE_CLUSTER_ELECTION_TIMEOUT=1s", "SEALEDGE_CLUSTER_LEADER_LEASE=500ms")...)
	out, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer out.Close()
	m.daemon.Stdout, m.daemon.Stderr = out, out
	before := m.said("node is up")
	if err := m.daemon.Start(); err != nil {
		m.t.Fatal(err)
	}
	daemon, done := m.daemon, make(chan struct{})
	m.done = done
	go func() {
		_ = daemon.Wait() // how it ended is in ProcessState
		close(done)
	}()
	await(m.t, m.name+" is up", m.words, func() bool { return m.said("node is up") > before })
}

// said is how often the daemon has said something.
func (m *machine) said(what string) int {
	b, _ := os.ReadFile(m.log) // nothing, if it was never started
	return strings.Count(string(b), fmt.Sprintf("msg=%q", what))
}

// stop is "systemctl stop sealedge".
func (m *machine) stop() {
	m.t.Helper()
	u := m.unit()
	drain := m.within(append(privileges(u, u.last("User"), u.last("Group")), strings.Fields(strings.TrimPrefix(u.last("ExecStop"), "-"))...)...)
	if out, err := drain.CombinedOutput(); err != nil {
		m.t.Errorf("%s: drain: %v: %s", m.name, err, out)
	}
	if err := m.daemon.Process.Signal(syscall.SIGTERM); err != nil {
		m.t.Errorf("%s: %v\n%s", m.name, err, m.words())
	}
	select {
	case <-m.done:
		if code := m.daemon.ProcessState.ExitCode(); code != 0 {
			m.t.Errorf("%s ends with exit code %d:\n%s", m.name, code, m.words())
		}
	case <-time.After(patience):
		m.t.Fatalf("%s doesn't stop:\n%s", m.name, m.words())
	}
}

func (m *machine) kill() {
	if m.daemon != nil {
		_ = m.daemon.Process.Kill() // it may be gone
		<-m.done
	}
}

func (m *machine) words() string {
	b, _ := os.ReadFile(m.log) // nothing, if it was never started
	lines := strings.Split(string(b), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}
