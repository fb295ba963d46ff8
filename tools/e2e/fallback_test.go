package e2e

import (
	"slices"
	"testing"
)

// The carrier falls silent and the phone comes over WireGuard: the same
// session, the same address, on either path, also when the holder dies
// meanwhile.
func TestFallback(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	c, tap := s.carrier(1)
	enlist, install := s.wireguard()
	sim := s.enlist(1, enlist)
	p := s.attach(c, sim, install)
	was := s.sessions(imsi(1))[0]
	on := func(path string) bool {
		t.Helper()
		all := s.sessions(imsi(1))
		return len(all) == 1 && all[0].ID == was.ID && all[0].Address == was.Address && all[0].Path == path && slices.Contains(all[0].Paths, "gtp")
	}
	if !on("gtp") || p.Address().String() != was.Address {
		t.Fatalf("the phone is at %s, its session is %+v", p.Address(), was)
	}

	c.Cut()
	if err := p.SwitchToFallback(s.soon()); err != nil {
		t.Fatal(err)
	}
	s.until("the session is on the fallback path", func() bool { return on("wireguard") })

	s.holder().kill()
	s.ping(p) // the phone takes 15 s to see that the new holder doesn't have its keys
	s.until("another node holds the address", func() bool { return s.holder() != nil })
	if _, err := p.App().Status(s.soon()); err != nil {
		t.Fatal(err)
	}

	c.Restore()
	if err := p.SwitchToCarrier(s.soon()); err != nil {
		t.Fatal(err)
	}
	s.until("the session is on the carrier's path", func() bool { return on("gtp") })
	s.ping(p)
	if p.Address().String() != was.Address {
		t.Errorf("the phone's address was %s and is %s", was.Address, p.Address())
	}
	tap.noEnding()
	s.auditVerifies()
}
