package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a child of ours, its output in a file.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
	err  error         // written before done is closed
}

// start runs a program; its output goes to name.log in dir.
func start(dir, name string, argv ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	// What else fills this machine's disk is no matter of a directory that is
	// thrown away.
	p.cmd.Env = append(os.Environ(), "SEALEDGE_CLUSTER_ADMISSION_STOP=100")
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w (make build makes the programs)", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// ended tells with what a process ended by itself, nil while it runs.
func (p *process) ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended by itself (%v); its last words:\n%s", p.name, p.err, p.lastWords())
	default:
		return nil
	}
}

func (p *process) lastWords() string {
	b, _ := os.ReadFile(p.log)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// stop asks the process to end, and ends it when it doesn't.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// userHz is the unit of times in /proc/pid/stat: 1/100 s on every architecture
// that Go runs on.
const userHz = 100

// cpu is the processor time that the process has taken, in steps of 10 ms.
func (p *process) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	return cpuTime(b)
}

// cpuTime reads utime and stime, fields 14 and 15 (proc_pid_stat(5)). The
// second field is the program's name, and may hold anything.
func cpuTime(stat []byte) (time.Duration, error) {
	_, rest, ok := bytes.Cut(stat, []byte(") "))
	for ok && bytes.Contains(rest, []byte(") ")) {
		_, rest, ok = bytes.Cut(rest, []byte(") "))
	}
	w := bytes.Fields(rest)
	if !ok || len(w) < 13 {
		return 0, errors.New("process statistics in an unknown form")
	}
	user, err1 := strconv.ParseUint(string(w[11]), 10, 63)
	system, err2 := strconv.ParseUint(string(w[12]), 10, 63)
	return time.Duration(user+system) * (time.Second / userHz), errors.Join(err1, err2)
}

// resident is the memory that the process has in use, in bytes.
func (p *process) resident() (uint64, error) {
	v := field(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid), "VmRSS")
	kB, ok := strings.CutSuffix(v, " kB")
	if !ok {
		return 0, fmt.Errorf("%s: resident memory is %q", p.name, v)
	}
	n, err := strconv.ParseUint(kB, 10, 53)
	return n << 10, err
}
