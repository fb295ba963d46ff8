package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// monitored is a cluster of three whose nodes tell how they fare.
func monitored(t *testing.T) *site {
	t.Helper()
	s := makeSite(t, 3)
	s.change = func(n int, cmd *exec.Cmd) {
		cmd.Args = slices.Insert(cmd.Args, len(cmd.Args)-1, "--set", "telemetry.listen="+s.telemetry(n))
	}
	for n := range s.nodes {
		s.startNode(n)
	}
	s.until("a node holds the gateway address", func() bool { return s.holder() != nil })
	return s
}

// telemetry is where a node tells how it fares.
func (s *site) telemetry(node int) string { return fmt.Sprintf("%s:9090", s.ip(1, byte(node+1))) }

// fetch gets a page; code 0: nobody answers.
func (s *site) fetch(url string) (code int, body string) {
	s.Helper()
	r, err := http.NewRequestWithContext(s.soon(), http.MethodGet, url, nil)
	if err != nil {
		s.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, ""
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, ""
	}
	return answer.StatusCode, string(raw)
}

// ready asks a node whether it is.
func (s *site) ready(node int) (bool, string) {
	s.Helper()
	code, body := s.fetch("http://" + s.telemetry(node) + "/readyz?verbose")
	return code == http.StatusOK && strings.HasSuffix(body, "\nready\n"), body
}

// A node without a quorum is not ready and says why; it lives, since ending it would
// mend nothing. When the others are back it is ready again.
func TestReadinessWithoutAQuorum(t *testing.T) {
	t.Parallel()
	s := monitored(t)
	for n := range s.nodes {
		s.until("each node is ready", func() bool { ok, _ := s.ready(n); return ok })
	}
	left := s.held() // who led, and may think that it still does
	others := slices.DeleteFunc([]int{0, 1, 2}, func(n int) bool { return n == left })
	for _, n := range others {
		s.nodes[n].kill()
	}
	s.until("the node that is left isn't ready", func() bool {
		ok, body := s.ready(left)
		return !ok && strings.Contains(body, "\n[-]caught-up: ") && strings.Contains(body, "[+]running ok") && strings.Contains(body, "[+]member ok")
	})
	s.until("it knows that it leads nobody", func() bool {
		_, metrics := s.fetch("http://" + s.telemetry(left) + "/metrics")
		return strings.Contains(metrics, `sealedge_ready{check="caught-up"} 0`) && strings.Contains(metrics, "sealedge_raft_leader_lease_held 0") &&
			strings.Contains(metrics, `sealedge_gateway_address_held{gateway="gw1"} 0`)
	})
	_, body := s.ready(left)
	t.Logf("it says:\n%s", body)
	if code, body := s.fetch("http://" + s.telemetry(left) + "/livez"); code != http.StatusOK {
		t.Errorf("it doesn't live: %d %s", code, body)
	}
	s.startNode(others[0])
	for _, n := range []int{left, others[0]} {
		s.until("two are ready again", func() bool { ok, _ := s.ready(n); return ok })
	}
}
