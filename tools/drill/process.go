package drill

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is a child of ours, its output in a file.
type process struct {
	name string
	argv []string
	log  string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// start runs a program; its output goes to name.log in dir, after what is there.
func start(dir, name string, argv ...string) (*process, error) {
	p := &process{name: name, argv: argv, log: filepath.Join(dir, name+".log")}
	return p, p.again()
}

// again runs the program, for the first time or once more.
func (p *process) again() error {
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	// What else fills this machine's disk is no matter of a directory that is
	// thrown away.
	cmd.Env = append(os.Environ(), "SEALEDGE_CLUSTER_ADMISSION_STOP=100")
	cmd.SysProcAttr = attributes()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		_ = cmd.Wait() // that it ended is enough
		close(done)
	}()
	return nil
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) signal(s syscall.Signal) error {
	if p.ended() {
		return fmt.Errorf("%s has ended:\n%s", p.name, p.lastWords())
	}
	return p.cmd.Process.Signal(s)
}

// stop asks the process to end, and ends it when it doesn't.
func (p *process) stop() {
	if p == nil || p.cmd == nil || p.ended() {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGCONT) // it may be frozen
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

func (p *process) lastWords() string {
	b, _ := os.ReadFile(p.log)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}
