//go:build linux

package k8s

import (
	"strings"
)

// chart is what is installed.
func (s *site) chart() string { return s.file("charts", "sealedge") }

// install has an operator install the chart as docs/install-kubernetes.md says, and
// helm wait until all is ready.
func (s *site) install() {
	if err := s.lab.Apply(s.soon(), "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+namespace+"}\n"); err != nil {
		s.Fatal(err)
	}
	s.kubectl("apply", "-f", s.layout.Secret)
	s.operators()
	said := s.helm("install", release, s.chart(), "-f", s.valuesFile(), "--wait", "--timeout", patience.String())
	if !strings.Contains(said, "STATUS: deployed") {
		s.Errorf("helm says: %s", said)
	}
	machines := map[string]bool{}
	for n := range 3 {
		machines[s.on(node(n)).Name] = true
	}
	if len(machines) != 3 {
		s.Errorf("the nodes are on %v, not on a machine each", machines)
	}
	s.awaitLeader()
	s.sealctl("policy", "apply", s.layout.Policy)
	s.caughtUp()
}
