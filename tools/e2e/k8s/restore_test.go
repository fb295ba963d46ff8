//go:build linux

package k8s

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/setup"
	"github.com/sealedge/sealedge/edge/wire"
)

// backupIdentity is the file with which backups can be read, as the runbook calls it.
const backupIdentity = "backup-identity.txt"

// backupValues has the chart take backups that the site can read.
func (s *site) backupValues() map[string]any {
	s.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		s.Fatal(err)
	}
	s.write(s.file("company", backupIdentity), id.String()+"\n")
	return map[string]any{"enabled": true, "recipients": []string{id.Recipient().String()}, "existingSecret": "seals-backup", "storageClass": "local"}
}

// operators makes the Secrets of those that act in the cluster by themselves.
func (s *site) operators() {
	s.Helper()
	for name, role := range map[string]string{"backup": "backup", "operator": "operator"} {
		as := map[string]string{"backup": "backup", "operator": "scaling"}[name]
		if _, err := setup.AddOperator(s.file("company"), as, []string{role}, time.Now()); err != nil {
			s.Fatal(err)
		}
		s.kubectl("create", "secret", "generic", "seals-"+name, "--from-file="+s.file("company", "operators", as))
	}
}

// backupAndRestore has the CronJob take a backup, loses what was stamped afterwards
// with all volumes, and follows the runbook.
func (s *site) backupAndRestore() {
	s.kubectl("create", "job", "by-hand", "--from=cronjob/"+fullname+"-backup")
	s.kubectl("wait", "--for=condition=complete", "job/by-hand", "--timeout", patience.String())
	backup := strings.TrimSpace(s.kubectl("get", "pods", "-l", "job-name=by-hand", "-o", "jsonpath={.items[0].metadata.name}")) + ".backup"

	s.worker.useUp(func() {})
	forgotten := fmt.Sprintf("WO-%d", s.orders)
	s.worker.barrel.Leave()
	s.follow("restore.md", strings.NewReplacer("seals-sealedge-backup-29393417-x7k2p.backup", backup))
	s.rolledOut()
	s.awaitLeader()
	s.awaitMembers()

	counter := s.traffic.counter
	s.reattach()
	if s.traffic.counter == counter {
		s.Errorf("the carrier wasn't told that sessions are lost: the restart counter is %d still", counter)
	}
	s.worker.goOut()
	var e adminapi.Epoch
	s.until("the barrel is counted", func() bool {
		out, err := s.trySealctl("epoch", "show", "-o", "json")
		return err == nil && json.Unmarshal([]byte(out), &e) == nil && len(e.Uncounted) == 0
	})
	if s.unaccounted = uint32(e.Unaccounted); s.unaccounted != 2 {
		s.Errorf("two stampings were forgotten, and %d are unaccounted for", s.unaccounted)
	}
	s.sealctl("epoch", "close", "--yes")
	s.worker.insist("refusal of what was used up after the backup", func() error {
		_, err := s.worker.app.RequestUse(s.soon(), forgotten, s.worker.id, 1)
		var p *wire.Problem
		if errors.As(err, &p) && (p.Status == http.StatusConflict || p.Status == http.StatusForbidden) {
			return nil
		}
		if err == nil {
			s.Fatalf("%s was used up before the restoration, and is used once more", forgotten)
		}
		return err
	})
	s.worker.useUp(func() {})
	s.held("after the restoration")
	s.caughtUp()
}

var (
	section = regexp.MustCompile(`(?s)## On Kubernetes\n(.*?)\n(\*\*If it fails|## |$)`)
	block   = regexp.MustCompile("(?ms)^ *```\n(.*?)^ *```")
)

// follow executes what a runbook says of Kubernetes, as it stands there, where the
// files of the company are.
func (s *site) follow(book string, change *strings.Replacer) {
	s.Helper()
	text, err := os.ReadFile(filepath.Join(module, "docs", "runbooks", book))
	if err != nil {
		s.Fatal(err)
	}
	part := section.FindSubmatch(text)
	if part == nil {
		s.Fatalf("%s says nothing of Kubernetes", book)
	}
	blocks := block.FindAllSubmatch(part[1], -1)
	if len(blocks) < 3 {
		s.Fatalf("%s has %d steps", book, len(blocks))
	}
	s.shelter()
	for _, b := range blocks {
		commands := change.Replace(string(b[1]))
		cmd := exec.CommandContext(s.soon(), "/bin/sh", "-eux", "-c", commands)
		cmd.Dir = s.file("company")
		cmd.Env = []string{"HOME=" + s.dir, "KUBECONFIG=" + s.lab.Kubeconfig(), "PATH=" + s.file("bin") + ":" + os.Getenv("PATH")}
		out, err := cmd.CombinedOutput()
		s.Logf("%s:\n%s", book, out)
		if err != nil {
			s.Fatalf("%s: %v", book, err)
		}
	}
}

// shelter makes the directory that commands are given in what operators have: the
// chart, their values, and kubectl.
func (s *site) shelter() {
	s.Helper()
	for file, is := range map[string]string{s.file("company", "charts"): s.file("charts"), s.file("company", "values.yaml"): s.valuesFile()} {
		_ = os.Remove(file) // of another time
		if err := os.Symlink(is, file); err != nil {
			s.Fatal(err)
		}
	}
	script := "#!/bin/sh\nexec " + s.lab.Command() + ` "$@"` + "\n"
	if err := os.WriteFile(s.file("bin", "kubectl"), []byte(script), 0o700); err != nil {
		s.Fatal(err)
	}
}
