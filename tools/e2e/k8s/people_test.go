//go:build linux

package k8s

import (
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/sealedge/sealedge/tools/e2e/people"
)

// office is the seal server, outside of Kubernetes, and people in their browsers.
type office struct {
	*people.Office
	log string
}

// startOffice starts the reference seal server, with its people, for the whole site.
func (s *site) startOffice() {
	s.Helper()
	program := s.file("bin", "sealserver")
	for name, role := range map[string]string{people.Applicant: "applicant", people.Approver: "approver"} {
		cmd := exec.CommandContext(s.soon(), program, "add-user", "--config", s.layout.SealServer, "--role", role, name)
		cmd.Stdin = strings.NewReader(people.Password(name) + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			s.Fatalf("add-user: %v: %s", err, out)
		}
	}
	o := &office{people.New(s, s.sealServer().String(), s.roots()), s.file("sealserver.log")}
	out, err := os.Create(o.log)
	if err != nil {
		s.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(program, "serve", "--config", s.layout.SealServer)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.life.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	s.until("the seal server serves", func() bool { return strings.Contains(o.words(), "seal server ready") })
	s.life.Cleanup(o.Close)
	s.people = o
}

func (o *office) words() string {
	b, _ := os.ReadFile(o.log)
	return string(b)
}

// tail is the end of a log.
func tail(file string) string {
	b, _ := os.ReadFile(file)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
