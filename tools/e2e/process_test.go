package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is a program that a test started; its words go to a file.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	log  string
	ours bool          // it has to end well when it is asked to
	done chan struct{} // closed when it has ended; then cmd.ProcessState tells how
}

// start runs a program and ends it with the test. The log of a program that is
// started again goes on.
func start(t *testing.T, dir, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: cmd, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	orphan(cmd.SysProcAttr)
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		_ = cmd.Wait() // how it ended is in ProcessState
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop()
		if race := strings.Index(p.words(), "WARNING: DATA RACE"); race >= 0 {
			t.Errorf("%s: %.4000s", p.name, p.words()[race:])
		}
		if t.Failed() {
			t.Logf("%s says last:\n%s", p.name, p.lastWords(25))
		}
	})
	return p
}

// grace is how long a program may take to stop: longer than any time-out that it could
// wait for by mistake on a machine with nothing else to do, and no measure on a busy one.
const grace = 30 * time.Second

// stop asks the program to end. One that doesn't is a failure.
func (p *process) stop() {
	p.t.Helper()
	if p.ended() {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		if code := p.cmd.ProcessState.ExitCode(); p.ours && code != 0 {
			p.t.Errorf("%s ends with exit code %d when it is asked to end:\n%s", p.name, code, p.lastWords(5))
		}
	case <-time.After(grace):
		before := len(p.words())
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // it says what its goroutines do
		<-p.done
		p.t.Errorf("%s does not stop within %v; it says:\n%s\nand its goroutines:\n%.60000s", p.name, grace, lastLines(p.words()[:before], 10), p.words()[before:])
	}
}

// kill ends the program as a power cut would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be gone
	<-p.done
}

// ended tells whether the program has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) words() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

// said tells whether the program's words match a regular expression.
func (p *process) said(pattern string) bool {
	return regexp.MustCompile(pattern).MatchString(p.words())
}

func (p *process) lastWords(n int) string { return lastLines(p.words(), n) }

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// patience is how long a condition may take to come about. It is long because
// the machine may be busy; nothing waits longer than it must.
const patience = 90 * time.Second

// until waits for a condition, looking often.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline, tick := time.NewTimer(patience), time.NewTicker(20*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
