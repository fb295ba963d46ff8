//go:build linux

package k8s

import (
	"strings"
)

// uninstall takes the release away and brings it back: its volumes, and what the
// operator made, are there all the time, so the cluster goes on where it was.
func (s *site) uninstall() {
	s.helm("uninstall", release, "--wait", "--timeout", patience.String())
	s.kubectl("wait", "--for=delete", "pod", "-l", "app.kubernetes.io/component=gateway", "--timeout", patience.String())
	left := s.kubectl("get", "statefulsets,deployments,services,configmaps,cronjobs,poddisruptionbudgets,networkpolicies,serviceaccounts,roles,rolebindings,endpointslices",
		"-l", "app.kubernetes.io/instance="+release, "-o", "name")
	if left != "" {
		s.Errorf("uninstalling leaves\n%s", left)
	}
	claims := s.kubectl("get", "pvc", "-o", "name")
	for _, want := range []string{"data-" + node(0), "data-" + node(1), "data-" + node(2), fullname + "-backup"} {
		if !strings.Contains(claims, want+"\n") {
			s.Errorf("uninstalling takes the claim %s with it; there are\n%s", want, claims)
		}
	}
	s.kubectl("get", "secret", fullname+"-pki")

	s.helm("install", release, s.chart(), "-f", s.valuesFile(), "--wait", "--timeout", patience.String())
	s.awaitLeader()
	s.awaitMembers()
	s.allPing("installation on what was left")
	s.held("installation on what was left")
	s.worker.useUp(func() {})
}
