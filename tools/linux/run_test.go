package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/setup"
)

// The user of the unit, while nobody has made it.
const uid, gid = 65532, 65532

// ethernet makes a machine's interface, with a cable to nowhere.
const ethernet = "ip link add eth0 type veth peer name cable0 && ip link set cable0 up && ip link set eth0 up && ip addr add 192.0.2.11/24 dev eth0"

// patience is how long something may take to come about, on a busy machine.
const patience = time.Minute

// The daemon works with the unit's user and capabilities and no others: with each
// address driver and each inner driver. All that it asks of the kernel meanwhile is
// allowed by the unit.
func TestRunsAsTheUnitSays(t *testing.T) {
	needsRoot(t)
	needs(t, "unshare", "nsenter", "setpriv", "strace", "ip", "systemd-analyze")
	program := daemon(t)
	for _, c := range []struct {
		name, dropIn string
		interfaces   string // commands that make the machine's
		host, gw     string // addresses
		caps         uint64
		holds        func(t *testing.T, d *running) bool
	}{
		{"loopback", "", "", "127.0.1.1", "127.0.10.1", 0, func(t *testing.T, d *running) bool {
			return d.listens("udp", "127.0.10.1:2123")
		}},
		{
			"netlink", "netlink.conf", ethernet,
			"192.0.2.11", "192.0.2.10", 1<<12 | 1<<13, // CAP_NET_ADMIN, CAP_NET_RAW (capabilities(7))
			func(t *testing.T, d *running) bool {
				return strings.Contains(d.within("ip", "-o", "addr", "show", "dev", "eth0"), " 192.0.2.10/32 ") && d.listens("udp", "192.0.2.10:2123")
			},
		},
		{
			"tun", "tun.conf", "", "127.0.1.1", "127.0.10.1", 1<<12 | 1<<10, // CAP_NET_BIND_SERVICE
			func(t *testing.T, d *running) bool {
				return strings.Contains(d.within("ip", "-o", "addr", "show"), "sealedge0") && d.listens("tcp", "10.90.0.1:443")
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if _, err := os.Stat("/dev/net/tun"); err != nil && c.name == "tun" {
				if os.Getenv("CI") == "true" {
					t.Fatal(err)
				}
				t.Skip(err)
			}
			u := unit(t, c.dropIn)
			d := start(t, program, u, c.interfaces, c.host, c.gw, c.dropIn, true)
			d.until("it holds the address and serves inside", func() bool { return c.holds(t, d) })
			want := map[string]string{
				"Uid": fmt.Sprint(uid), "CapEff": fmt.Sprintf("%016x", c.caps), "CapBnd": fmt.Sprintf("%016x", c.caps), "NoNewPrivs": "1",
			}
			for key, v := range want {
				if got := d.state(key); got != v {
					t.Errorf("%s: %s, want %s", key, got, v)
				}
			}
			// The reload, which is a signal: the file is as it was.
			if reload := u.last("ExecReload"); !strings.HasSuffix(reload, " -HUP $MAINPID") {
				t.Errorf("ExecReload=%s", reload)
			}
			if err := syscall.Kill(d.process(), syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			d.until("it has looked at its configuration", func() bool { return strings.Contains(d.words(), "the configuration file is as the node runs") })
			// The stop: nobody is left to take over, which the drain says.
			if code := d.drain(); code != 0 {
				t.Errorf("the drain ends with exit code %d", code)
			}
			if code := d.stop(); code != 0 {
				t.Errorf("it ends with exit code %d:\n%s", code, d.words())
			}
			trace, err := os.ReadFile(filepath.Join(d.dir, "trace"))
			if err != nil {
				t.Fatal(err)
			}
			if bad := forbidden(t, u, string(trace)); len(bad) > 0 {
				t.Errorf("it asks the kernel for what the unit forbids: %v", bad)
			}
			if name := "openat"; c.name == "loopback" { // the trace would show it
				delete(u, "SystemCallFilter")
				u["SystemCallFilter"] = []string{"@system-service", "~" + name}
				if bad := forbidden(t, u, string(trace)); len(bad) != 1 || bad[0] != name {
					t.Errorf("without %s: %v", name, bad)
				}
			}
		})
	}
	// The drop-ins are needed: with the unit alone it doesn't start, and says why.
	for name, dropIn := range map[string]string{"netlink alone": "netlink.conf", "tun alone": "tun.conf"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := unit(t, dropIn)
			u["AmbientCapabilities"], u["CapabilityBoundingSet"] = nil, nil
			d := start(t, program, u, ethernet, "192.0.2.11", "192.0.2.10", dropIn, false)
			d.until("it ends", d.ended)
			if code := d.cmd.ProcessState.ExitCode(); code == 0 || !strings.Contains(d.words(), "AmbientCapabilities=") {
				t.Errorf("it ends with exit code %d:\n%s", code, d.words())
			}
		})
	}
}

// daemon builds the gateway as it is packaged.
func daemon(t *testing.T) string {
	t.Helper()
	dir := public(t)
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", dir+"/", "./edge/sealedge")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return filepath.Join(dir, "sealedge")
}

// public is a directory that every user may look into.
func public(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sealedge-linux-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// running is the daemon as the unit starts it, on a machine of its own: a network
// namespace.
type running struct {
	t    *testing.T
	dir  string
	cmd  *exec.Cmd
	pid  int
	unit settings
	exe  string
	done chan struct{}
	out  *os.File
}

// start makes a cluster of one node, installs its files as tmpfiles.d has them, and
// starts it.
func start(t *testing.T, program string, u settings, interfaces, host, gateway, dropIn string, traced bool) *running {
	t.Helper()
	d := &running{t: t, dir: public(t), unit: u, exe: program, done: make(chan struct{})}
	etc, data := filepath.Join(d.dir, "etc"), filepath.Join(d.dir, "data")
	if _, err := setup.Init(etc, setup.Options{
		Hosts: []netip.Addr{netip.MustParseAddr(host)}, Gateway: netip.MustParseAddr(gateway), Now: time.Now(),
	}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{etc, filepath.Join(etc, "pki")} {
		files, err := os.ReadDir(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range append([]os.DirEntry{}, files...) {
			if !f.IsDir() {
				own(t, filepath.Join(path, f.Name()), 0, 0o640)
			}
		}
		own(t, path, 0, 0o750)
	}
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	own(t, data, uid, 0o700)
	var err error
	if d.out, err = os.Create(filepath.Join(d.dir, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.out.Close() })

	script := "set -e; ip link set lo up; "
	if interfaces != "" {
		script += interfaces + "; "
	}
	args := []string{"-n", "sh", "-c", script + `exec "$@"`, "sh"}
	if traced {
		args = append(args, "strace", "-f", "-qq", "-o", filepath.Join(d.dir, "trace"))
	}
	d.cmd = exec.Command("unshare", append(append(args, d.privileges()...), d.command("ExecStart")...)...)
	d.cmd.Env = append(d.environment(), "SEALEDGE_CLUSTER_DISK_STALL=20s", "SEALEDGE_CLUSTER_ADMISSION_STOP=100")
	d.cmd.Stdout, d.cmd.Stderr = d.out, d.out
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = d.cmd.Wait() // how it ended is in ProcessState
		close(d.done)
	}()
	t.Cleanup(func() {
		if !d.ended() {
			if d.pid != 0 {
				_ = syscall.Kill(d.pid, syscall.SIGKILL)
			}
			_ = d.cmd.Process.Kill()
			<-d.done
		}
	})
	return d
}

func own(t *testing.T, path string, user int, mode os.FileMode) {
	t.Helper()
	if err := os.Chown(path, user, gid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// privileges are the unit's, with a user that needn't be made.
func (d *running) privileges() []string { return privileges(d.unit, fmt.Sprint(uid), fmt.Sprint(gid)) }

// here is what the unit says, with this machine's places.
func (d *running) here(s string) string {
	return strings.NewReplacer("/usr/bin/sealedge", d.exe, "/etc/sealedge/sealedge.yaml", filepath.Join(d.dir, "etc", "node1.yaml"),
		"/var/lib/sealedge", filepath.Join(d.dir, "data")).Replace(s)
}

func (d *running) command(key string) []string {
	return strings.Fields(d.here(strings.TrimPrefix(d.unit.last(key), "-")))
}

func (d *running) environment() []string {
	env := []string{"PATH=" + os.Getenv("PATH")}
	for _, v := range d.unit["Environment"] {
		env = append(env, d.here(v))
	}
	return env
}

func (d *running) ended() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

func (d *running) words() string {
	b, err := os.ReadFile(d.out.Name())
	if err != nil {
		d.t.Fatal(err)
	}
	return string(b)
}

func (d *running) until(what string, ok func() bool) {
	d.t.Helper()
	await(d.t, what, d.words, ok)
}

// await waits for a condition, looking often; words are what is printed if it doesn't
// come about.
func await(t *testing.T, what string, words func() string, ok func() bool) {
	t.Helper()
	deadline, tick := time.NewTimer(patience), time.NewTicker(50*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within %v: %s\n%s", patience, what, words())
		}
	}
}

// process is the daemon itself, under unshare and strace; 0: not yet.
func (d *running) process() int {
	if d.pid != 0 {
		return d.pid
	}
	all, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		d.t.Fatal(err)
	}
	for _, link := range all {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		args, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		if exe, failed := os.Readlink(link); err == nil && failed == nil && exe == d.exe && bytes.Contains(args, []byte(d.dir)) {
			d.pid = pid
		}
	}
	return d.pid
}

// state is a line of the daemon's /proc/PID/status.
func (d *running) state(key string) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.process()))
	if err != nil {
		d.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.Fields(v)[0]
		}
	}
	return ""
}

// within runs a command on the daemon's machine; "" while there is none.
func (d *running) within(args ...string) string {
	if d.process() == 0 {
		return ""
	}
	out, _ := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(d.pid), "-n"}, args...)...).Output()
	return string(out)
}

// listens tells whether a socket is bound there.
func (d *running) listens(network, at string) bool {
	if d.process() == 0 {
		return false
	}
	a := netip.MustParseAddrPort(at)
	ip := a.Addr().As4()
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", d.pid, network))
	return err == nil && strings.Contains(string(table), fmt.Sprintf(": %02X%02X%02X%02X:%04X ", ip[3], ip[2], ip[1], ip[0], a.Port()))
}

// drain is the unit's ExecStop.
func (d *running) drain() int {
	args := append(d.privileges(), d.command("ExecStop")...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = d.environment()
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Logf("%v: %s", err, out)
	}
	return cmd.ProcessState.ExitCode()
}

// stop is systemd's after it.
func (d *running) stop() int {
	if err := syscall.Kill(d.process(), syscall.SIGTERM); err != nil {
		d.t.Fatal(err)
	}
	d.until("it ends", d.ended)
	return d.cmd.ProcessState.ExitCode()
}
