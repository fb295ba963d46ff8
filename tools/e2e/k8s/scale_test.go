//go:build linux

package k8s

import (
	"slices"
	"strings"

	"github.com/sealedge/sealedge/edge/adminapi"
)

// scale goes from three nodes to five and back, on three machines, while packets flow
// and somebody stamps.
func (s *site) scale() {
	s.during("scaling to five nodes", func() {
		s.worker.useUp(func() {
			s.set("preferred", "antiAffinity")
			s.set(5, "peers")
			s.upgrade()
			s.rolledOut()
			s.set(5, "replicas")
			s.upgrade()
			s.rolledOut()
			s.nodes = 5
			s.awaitMembers()
		})
	})
	s.held("scaling to five nodes")
	s.caughtUp()

	s.during("scaling to three nodes", func() {
		s.worker.useUp(func() {
			s.set(3, "replicas")
			s.set(0, "peers")
			s.set("required", "antiAffinity")
			s.upgrade()
			s.nodes = 3
			s.rolledOut()
			s.awaitMembers()
		})
	})
	s.held("scaling to three nodes")
	s.caughtUp()
	if claims := s.kubectl("get", "pvc", "-o", "name"); !strings.Contains(claims, "data-"+node(4)) {
		s.Errorf("the volumes of nodes that are scaled away are kept, but there are only\n%s", claims)
	}
}

// awaitMembers waits until the cluster is of the nodes that there are.
func (s *site) awaitMembers() {
	s.Helper()
	s.until("the members are the nodes", func() bool {
		var names []string
		for _, m := range list[adminapi.Member](s, "cluster", "members") {
			names = append(names, m.Name)
		}
		slices.Sort(names)
		want := make([]string, s.nodes)
		for n := range want {
			want[n] = node(n)
		}
		return slices.Equal(names, want)
	})
}
