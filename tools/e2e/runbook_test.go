package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

// Disasters, by the book: the commands of docs/runbooks are executed as they stand
// there, on a cluster with a phone, a barrel and a seal server. A stamping that was
// made after the backup is forgotten by the gateway, and counted all the same.
func TestRunbooks(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.keygen()
	s.startServer()
	office := s.office()
	c, _ := s.carrier(1)
	w := s.worker(1, c)
	use := func(order string) {
		t.Helper()
		w.stampOnce(order) // w is another worker after the restore
	}
	order := office.Order("WO-1", 4)
	use(order)
	s.follow("backup.md")
	use(order)
	if o := ledger(s, order); o.Confirmed != 2 {
		t.Fatalf("before the restore: %+v", o)
	}

	s.follow("restore.md")
	if o := ledger(s, order); o.Confirmed != 1 {
		t.Errorf("the backup was of before the second stamping: %+v", o)
	}
	var e adminapi.Epoch
	epoch := func() {
		s.until("node 1 tells the epoch", func() bool { e = adminapi.Epoch{}; return s.ask(0, "/v1/epoch", &e) == nil })
	}
	if epoch(); e.Number != 2 || e.Frozen || e.Unaccounted != 1 {
		t.Errorf("%+v", e)
	}
	// The phone's session is of before: the carrier's gateway was told that it is
	// lost, and the phone attaches again.
	w.barrel.Leave()
	w = s.out(1, s.attach(c, s.sim(1)), w.barrel)
	_, err := w.app.RequestUse(s.soon(), order, w.id, 3)
	refused(t, "as many as the ledger knows to be left", err, wire.CodeOrderExhausted)
	use(order)
	use(office.Order("WO-2", 2))

	s.follow("lost-quorum.md")
	if epoch(); e.Number != 3 || e.Frozen || e.Unaccounted != 1 {
		t.Errorf("%+v", e)
	}
	// Nothing was lost this time.
	if o := ledger(s, order); o.Confirmed != 2 || o.Reserved != 0 {
		t.Errorf("after the recovery: %+v", o)
	}
	_, err = w.app.RequestUse(s.soon(), order, w.id, 3)
	refused(t, "more than can be left", err, wire.CodeOrderExhausted)
	if n := w.barrel.Impressions(); n != 4 {
		t.Errorf("%d impressions on paper, want 4", n)
	}
	s.auditVerifies()
}

// keygen puts an age-keygen into bin that knows one identity: the real one is not
// a part of the product.
func (s *site) keygen() {
	s.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		s.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\ncase $1 in\n-o) echo '%s' >$2 ;;\n-y) echo '%s' ;;\nesac\n", id, id.Recipient())
	if err := os.WriteFile(filepath.Join(bin, "age-keygen"), []byte(script), 0o700); err != nil {
		s.Fatal(err)
	}
}

// step is what a runbook has done: a block of commands, or what is said of nodes,
// barrels and the rest of the world in a comment.
var step = regexp.MustCompile("(?m)^ *```sh\n((?s:.*?))^ *```|<!-- ([a-z]+): (.*?) -->")

// follow executes a runbook.
func (s *site) follow(book string) {
	s.Helper()
	text, err := os.ReadFile(filepath.Join(module, "docs", "runbooks", book))
	if err != nil {
		s.Fatal(err)
	}
	steps := step.FindAllStringSubmatch(string(text), -1)
	commands := 0
	for _, m := range steps {
		if m[1] != "" {
			commands++
		}
	}
	if fences := strings.Count(string(text), "```sh\n"); commands == 0 || commands != fences {
		s.Fatalf("%s has %d blocks of commands, and %d are understood", book, fences, commands)
	}
	for _, m := range steps {
		switch {
		case m[1] != "":
			s.shell(book, m[1])
		case m[2] == "barrels":
			s.until(book+": every barrel was counted", func() bool {
				var e adminapi.Epoch
				return s.ask(0, "/v1/epoch", &e) == nil && len(e.Uncounted) == 0
			})
		case m[2] == "nodes":
			s.operate(book, strings.Fields(m[3]))
		case s.happens[m[2]] != nil:
			s.happens[m[2]](strings.Fields(m[3]))
		default:
			s.Fatalf("%s: nobody sees to it that %q", book, m[0])
		}
	}
}

// operate starts, stops or kills nodes.
func (s *site) operate(book string, words []string) {
	s.Helper()
	for _, w := range words[1:] {
		n, err := strconv.Atoi(w)
		if err != nil {
			s.Fatalf("%s: %v", book, words)
		}
		switch words[0] {
		case "start":
			s.startNode(n - 1)
		case "upgrade":
			s.upgrade(n - 1)
		case "stop":
			s.nodes[n-1].stop()
		case "kill":
			s.nodes[n-1].kill()
		default:
			s.Fatalf("%s: %v", book, words)
		}
	}
	if words[0] == "start" {
		s.until(book+": all nodes are members and agree", func() bool {
			var members []adminapi.Member
			return s.holder() != nil && askAll(s, 0, "/v1/cluster/members", &members) == nil && len(members) == len(s.nodes) && s.caughtUp()
		})
	}
}

// shell runs commands where the site's files are.
func (s *site) shell(book, commands string) {
	s.Helper()
	cmd := exec.CommandContext(s.soon(), "/bin/sh", "-eu", "-c", commands)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		s.Fatalf("%s: %v\n%s\n%s", book, err, commands, out)
	}
}
