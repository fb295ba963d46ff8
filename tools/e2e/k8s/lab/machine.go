//go:build linux

package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// machine is a machine of the lab, by its first process, which starts all others.
// They end with it.
type machine struct {
	name string
	dir  string
	cmd  *exec.Cmd
	logs string

	mu     sync.Mutex
	orders *json.Encoder // guarded by mu: one is answered before the next
	told   *json.Decoder // guarded by mu
	in     io.Closer
}

// order has a machine start a program.
type order struct {
	Log  string
	Args []string
}

// answer says how that went.
type answer struct {
	Pid   int // in the machine
	Error string
}

// machineName is set in the first process of a machine, machineDir is its directory.
const machineName, machineDir = "SEALEDGE_K8S_MACHINE", "SEALEDGE_K8S_DIR"

// Machine is to be called first thing by whoever starts a lab, as this program is
// also the first process of each machine. There, it doesn't return.
func Machine() {
	name := os.Getenv(machineName)
	if name == "" {
		return
	}
	if err := first(name, os.Getenv(machineDir)); err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// newMachine makes a machine, which runs nothing yet.
func newMachine(name, dir string) (*machine, error) {
	m := &machine{name: name, dir: dir, logs: filepath.Join(dir, "logs")}
	if err := os.MkdirAll(m.logs, 0o700); err != nil {
		return nil, err
	}
	m.cmd = exec.Command("/proc/self/exe")
	m.cmd.Env = append(os.Environ(), machineName+"="+name, machineDir+"="+dir, "HOME="+dir)
	m.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Setpgid:    true, // an interrupt at the terminal is for the test, which then ends us
	}
	in, err := m.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	words, err := os.Create(filepath.Join(m.logs, "machine.log"))
	if err != nil {
		return nil, err
	}
	defer words.Close()
	m.cmd.Stderr = words
	if err := m.cmd.Start(); err != nil {
		return nil, fmt.Errorf("machine %s: %w", name, err)
	}
	m.orders, m.told, m.in = json.NewEncoder(in), json.NewDecoder(out), in
	var ready answer
	if err := m.told.Decode(&ready); err != nil {
		m.end()
		said, _ := os.ReadFile(words.Name())
		return nil, fmt.Errorf("machine %s doesn't start: %w: %s", name, err, said)
	}
	return m, nil
}

// end ends everything on the machine, and waits for it.
func (m *machine) end() {
	_ = m.in.Close()
	gone := make(chan struct{})
	go func() {
		_ = m.cmd.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		_ = m.cmd.Process.Kill()
		<-gone
	}
}

// start starts a program there, whose words go to a file of its name.
func (m *machine) start(name string, args ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var a answer
	if err := m.orders.Encode(order{filepath.Join(m.logs, name+".log"), args}); err != nil {
		return fmt.Errorf("%s on %s: %w", name, m.name, err)
	}
	if err := m.told.Decode(&a); err != nil {
		return fmt.Errorf("%s on %s: %w", name, m.name, err)
	}
	if a.Error != "" {
		return fmt.Errorf("%s on %s: %s", name, m.name, a.Error)
	}
	return nil
}

// command is one that is run there from here.
func (m *machine) command(args ...string) *exec.Cmd {
	pid := strconv.Itoa(m.cmd.Process.Pid)
	return exec.Command("nsenter", slices.Concat([]string{"-t", pid, "-m", "-n", "-p", "--"}, args)...)
}

// run runs one, and gives what it said.
func (m *machine) run(args ...string) (string, error) {
	out, err := m.command(args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %s: %w: %s", m.name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// first is the first process of a machine: it makes the file systems what the
// machine's programs want, and starts and buries them until nobody gives orders.
func first(name, dir string) error {
	if err := fileSystems(dir); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(name)); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return err
	}
	dead := make(chan os.Signal, 64)
	signal.Notify(dead, syscall.SIGCHLD)
	go func() {
		for range dead {
			for {
				var how syscall.WaitStatus
				pid, err := syscall.Wait4(-1, &how, syscall.WNOHANG, nil)
				if pid <= 0 || err != nil {
					break
				}
				if how.Signaled() || how.ExitStatus() != 0 {
					fmt.Fprintf(os.Stderr, "%s process %d ended: status %d, signal %d\n", time.Now().Format(time.TimeOnly), pid, how.ExitStatus(), how.Signal())
				}
			}
		}
	}()
	answers, orders := json.NewEncoder(os.Stdout), json.NewDecoder(os.Stdin)
	if err := answers.Encode(answer{Pid: 1}); err != nil {
		return err
	}
	for {
		var o order
		switch err := orders.Decode(&o); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		var a answer
		pid, err := carryOut(o)
		if err != nil {
			a.Error = err.Error()
		}
		a.Pid = pid
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
}

func carryOut(o order) (pid int, err error) {
	out, err := os.OpenFile(o.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	path, err := exec.LookPath(o.Args[0])
	if err != nil {
		return 0, err
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SEALEDGE_") })
	p, err := os.StartProcess(path, o.Args, &os.ProcAttr{Dir: "/", Env: env, Files: []*os.File{nil, out, out}, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(os.Stderr, "%s process %d: %s\n", time.Now().Format(time.TimeOnly), p.Pid, filepath.Base(o.Log))
	return p.Pid, p.Release()
}

// private are directories that each machine has for itself, and forgets.
var private = []string{"/run", "/var/lib", "/var/log"}

// sysctls of the whole machine that the kubelet would set: it is shown what it wants
// to see.
var sysctls = map[string]string{"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1"}

func fileSystems(dir string) error {
	// Nothing that is mounted here is to be seen outside; but in pods, by and by.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for _, path := range private {
		if err := unix.Mount("tmpfs", path, "tmpfs", 0, "mode=755,size=256m"); err != nil {
			return fmt.Errorf("mount %s: %w", path, err)
		}
	}
	for _, path := range []string{"/run/netns", "/run/lock"} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
	}
	for key, value := range sysctls {
		shown := filepath.Join(dir, strings.ReplaceAll(key, "/", "."))
		if err := os.WriteFile(shown, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(shown, "/proc/sys/"+key, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("show %s: %w", key, err)
		}
	}
	return nil
}
