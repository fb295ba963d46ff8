//go:build linux

package k8s

import (
	"maps"
	"slices"
	"strings"
)

// upgraded rolls all pods while packets flow and somebody stamps, and sees that each
// pod is another one, and that nothing else changed.
func (s *site) upgraded(what string, roll func()) {
	s.Helper()
	s.firstLeads()
	before := s.uids()
	epoch := s.epoch()
	s.during(what, func() {
		s.worker.useUp(func() {
			roll()
			s.rolledOut()
			s.awaitLeader()
		})
	})
	after := s.uids()
	for name, uid := range before {
		if after[name] == uid {
			s.Errorf("%s: pod %s is the one that it was", what, name)
		}
	}
	// One, unless the machine was so busy that leaders lost their leases meanwhile.
	s.Logf("%s: the gateway address had %d new holders", what, s.epoch()-epoch)
	s.held(what)
	s.caughtUp()
}

// firstLeads waits until the first node leads, as it does by itself in a cluster that
// has been in peace for some minutes.
func (s *site) firstLeads() {
	s.Helper()
	s.until("the first node leads", func() bool {
		leader := s.leader()
		if leader != "" && leader != node(0) {
			_, _ = s.trySealctl("cluster", "step-down") // if it came to nothing, once more
		}
		return leader == node(0)
	})
}

// uids are the pods of the nodes, by name.
func (s *site) uids() map[string]string {
	s.Helper()
	all := map[string]string{}
	for n := range s.nodes {
		all[node(n)] = s.uid(node(n))
	}
	return all
}

// epoch is that of the gateway address, which grows with each holder.
func (s *site) epoch() (most uint64) {
	for _, v := range s.status() {
		if v != nil {
			most = max(most, v.Epoch)
		}
	}
	return most
}

func (s *site) upgrade() {
	s.Helper()
	s.helm("upgrade", release, s.chart(), "-f", s.valuesFile(), "--wait", "--timeout", patience.String())
}

// changeValue upgrades to a value that rolls all pods.
func (s *site) changeValue() {
	s.upgraded("upgrade to another value", func() {
		s.set(map[string]any{"example.com/change": "1"}, "podAnnotations")
		s.upgrade()
	})
}

// changeImage upgrades to images of another tag.
func (s *site) changeImage() {
	const next = "next"
	for _, n := range s.lab.Nodes {
		for _, image := range []string{"sealedge", "sealedge-tools"} {
			if err := n.Tag(registry+"/"+image+":"+s.tag, registry+"/"+image+":"+next); err != nil {
				s.Fatal(err)
			}
		}
	}
	s.upgraded("upgrade to another image", func() {
		s.set(next, "image", "gateway", "tag")
		s.set(next, "image", "tools", "tag")
		s.upgrade()
	})
	s.imageIs(next)
}

// rollback goes back to the image before.
func (s *site) rollback() {
	s.upgraded("rollback", func() {
		s.helm("rollback", release, "--wait", "--timeout", patience.String())
	})
	s.set(s.tag, "image", "gateway", "tag")
	s.set(s.tag, "image", "tools", "tag")
	s.imageIs(s.tag)
}

// imageIs sees that all nodes run the image of a tag.
func (s *site) imageIs(tag string) {
	s.Helper()
	is := map[string]bool{}
	for image := range strings.FieldsSeq(s.kubectl("get", "pods", "-l", "app.kubernetes.io/component=gateway", "-o", "jsonpath={.items[*].spec.containers[*].image}")) {
		is[image] = true
	}
	if all := slices.Collect(maps.Keys(is)); len(all) != 1 || !strings.HasSuffix(all[0], ":"+tag) {
		s.Errorf("the nodes run %v, want tag %s", all, tag)
	}
}
