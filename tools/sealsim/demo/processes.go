package demo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a program that the demo keeps running, as a service manager would:
// when it dies by itself, or by somebody's hand, it is started again. Its words
// go to a file.
type process struct {
	name string
	path string
	args []string
	log  string

	mu     sync.Mutex
	cmd    *exec.Cmd     // guarded by mu: the one that runs, or ran last
	wanted bool          // guarded by mu: it is to run
	done   chan struct{} // guarded by mu: closed when cmd ended
}

// processes starts and ends programs, by pid.
type processes struct {
	bin, dir string
	died     func(name string) // hears of a program that ended though it is wanted

	mu  sync.Mutex
	all []*process // guarded by mu
}

// rest is how long the demo waits before it starts a dead program again.
const rest = 300 * time.Millisecond

// start runs a program of the product in the demo's directory.
func (ps *processes) start(name, program string, args ...string) (*process, error) {
	p := &process{name: name, path: filepath.Join(ps.bin, program), args: args, log: filepath.Join(ps.dir, name+".log")}
	if err := ps.launch(p); err != nil {
		return nil, err
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.all = append(ps.all, p)
	return p, nil
}

// launch starts the program and watches over it.
func (ps *processes) launch(p *process) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.Command(p.path, p.args...)
	cmd.Stdout, cmd.Stderr = out, out
	// What else fills this machine's disk is no matter of a directory that is
	// thrown away.
	cmd.Env = append(os.Environ(), "SEALEDGE_CLUSTER_ADMISSION_STOP=100")
	// A Ctrl-C is for the demo, which ends its programs itself; and if the demo
	// is killed, they end with it.
	cmd.SysProcAttr = attributes()
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start %s: %w (build the programs with 'make build')", p.path, err), out.Close())
	}
	done := make(chan struct{})
	p.cmd, p.done, p.wanted = cmd, done, true
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		_ = out.Close()
		close(done)
		p.mu.Lock()
		again := p.wanted
		p.mu.Unlock()
		if !again {
			return
		}
		ps.died(p.name)
		<-time.After(rest)
		p.mu.Lock()
		again = p.wanted
		p.mu.Unlock()
		if again {
			_ = ps.launch(p) // it could be started before
		}
	}()
	return nil
}

// kill ends the program as a power cut would, and leaves it dead.
func (p *process) kill() {
	done := p.end((*os.Process).Kill)
	<-done
}

// end sends the program a last signal; it isn't started again.
func (p *process) end(signal func(*os.Process) error) (done <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted = false
	_ = signal(p.cmd.Process) // it may be gone
	return p.done
}

// grace is how long a program may take to stop.
const grace = 10 * time.Second

// stop ends all programs, the last started first.
func (ps *processes) stop() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range slices.Backward(ps.all) {
		done := p.end(func(o *os.Process) error { return o.Signal(syscall.SIGTERM) })
		select {
		case <-done:
		case <-time.After(grace):
			p.kill()
		}
	}
}

// run runs a program to its end and returns what it printed.
func (ps *processes) run(ctx context.Context, stdin, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(ps.bin, program), args...)
	cmd.Dir = ps.dir
	cmd.Stdin = strings.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// sealctl runs the operator's tool.
func (ps *processes) sealctl(ctx context.Context, args ...string) (string, error) {
	return ps.run(ctx, "", "sealctl", append([]string{"--context", "sealctl.yaml"}, args...)...)
}

// tails returns the last words of each program, for when the demo fails.
func (ps *processes) tails() string {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	var b strings.Builder
	for _, p := range ps.all {
		raw, err := os.ReadFile(p.log)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
		lines = lines[max(0, len(lines)-6):]
		fmt.Fprintf(&b, "\n%s says last (%s):\n  %s\n", p.name, p.log, strings.Join(lines, "\n  "))
	}
	return b.String()
}

// roots is the CA of the demo's own making.
func (ps *processes) roots() (*x509.CertPool, error) {
	pem, err := os.ReadFile(filepath.Join(ps.dir, "pki", "ca.pem"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("pki/ca.pem holds no certificate")
	}
	return pool, nil
}

// nodeStatus is what 'sealctl cluster status -o json' says of a node.
type nodeStatus struct {
	Address string
	Error   string
	Status  *struct {
		Node      string
		IsLeader  bool   `json:"is_leader"`
		Holder    string `json:"holder"`
		Applied   uint64
		AuditSeq  uint64 `json:"audit_sequence"`
		AuditHead string `json:"audit_head"`
	}
}

func (ps *processes) status(ctx context.Context) ([]nodeStatus, error) {
	out, err := ps.sealctl(ctx, "cluster", "status", "-o", "json")
	var list []nodeStatus
	if jerr := json.Unmarshal([]byte(out), &list); jerr != nil {
		return nil, errors.Join(err, jerr)
	}
	return list, nil // a node that is down is in the list
}

// leader waits for a node that leads and holds the gateway address.
func (ps *processes) leader(ctx context.Context) (string, error) {
	var last error
	for {
		list, err := ps.status(ctx)
		for _, n := range list {
			if n.Status != nil && n.Status.IsLeader && n.Status.Holder == n.Status.Node {
				return n.Status.Node, nil
			}
		}
		last = err
		if err := pause(ctx); err != nil {
			return "", errors.Join(errors.New("no node leads"), last)
		}
	}
}

// poll is how often the demo looks whether something has come about.
const poll = 50 * time.Millisecond

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(poll):
		return nil
	}
}

// until waits for a condition.
func until(ctx context.Context, what string, ok func() (bool, error)) error {
	for {
		done, err := ok()
		if done {
			return nil
		}
		if perr := pause(ctx); perr != nil {
			return errors.Join(fmt.Errorf("%s: it did not come about in time", what), err)
		}
	}
}

func clientTLS(roots *x509.CertPool) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots}
}
