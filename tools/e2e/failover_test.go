package e2e

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/sealedge/sealedge/tools/sealsim/carrier"
	"github.com/sealedge/sealedge/tools/sealsim/phone"
)

// The node that holds the gateway address dies while sessions live. The
// carrier notices nothing but a moment's silence: same tunnels, same addresses,
// same restart counter, and a request that it repeats gets the same bytes.
func TestHolderKilled(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	c, tap := s.carrier(1)
	var phones []*phone.Phone
	for n := range 3 {
		phones = append(phones, s.attach(c, s.enlist(n)))
	}
	gtpc := netip.AddrPortFrom(s.gateway, carrier.ControlPort)
	before, err := c.Echo(s.soon())
	if err != nil {
		t.Fatal(err)
	}
	was := s.sealctl("session", "list")
	requests := distinct(tap.all(func(f frame) bool { return f.is(carrier.ControlPort, createSessionRequest) }))
	answers := distinct(tap.all(func(f frame) bool { return f.is(carrier.ControlPort, createSessionResponse) }))
	if len(requests) != 3 || len(answers) != 3 {
		t.Fatalf("%d requests, %d answers", len(requests), len(answers))
	}

	dead := s.nodes[s.held()]
	dead.kill()
	for _, p := range phones {
		s.ping(p) // until the new holder answers, through the old tunnel
	}
	s.until("another node holds the address", func() bool { h := s.holder(); return h != nil && h != dead })

	after, err := c.Echo(s.soon())
	if err != nil {
		t.Fatal(err)
	}
	if after != before {
		t.Errorf("restart counter was %d and is %d: sessions were not lost", before, after)
	}
	if is := s.sealctl("session", "list"); is != was {
		t.Errorf("sessions were\n%sand are\n%s", was, is)
	}
	for i, r := range requests {
		same := func() int {
			return len(tap.all(func(f frame) bool { return f.heard && bytes.Equal(f.payload, answers[i].payload) }))
		}
		before, sent := same(), time.Time{}
		s.until("the new holder answers the repeated request as the old one did", func() bool {
			if time.Since(sent) > time.Second { // as carriers do: on a busy machine there may be yet another election
				tap.send(r.from, gtpc, r.payload)
				sent = time.Now()
			}
			return same() > before
		})
	}
	if n := tap.heardDistinct(createSessionResponse); n != 3 {
		t.Errorf("%d Create Session Responses that differ, want 3: one for each request", n)
	}
	if c.Bearers() != 3 {
		t.Errorf("the carrier has %d bearers, want 3", c.Bearers())
	}
	tap.noEnding()

	// The dead node comes back, and what it missed with it.
	s.startNode(int(dead.name[len("node")] - '1'))
	s.until("the node that came back has caught up", s.caughtUp)
	s.auditVerifies()
}
