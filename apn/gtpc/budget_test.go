package gtpc

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/policy"
)

// Passwords can't be tried one after the other: after some wrong ones not even the
// right one is looked at, until time has passed. Nobody else is held up.
func TestPasswordsAreNotTriedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peer := newSite(t, demanding(policy.AuthenticationPAP)), gtptest.New()
		withPassword(t, s)
		try := func(password string) uint8 {
			peer.Seq++
			return gtptest.Read(s.handle(t, showing(peer, 0xc023, pap("phone", password)))).Cause()
		}
		if c := try(password); c != 16 {
			t.Fatalf("cause %d", c)
		}
		for i := range 10 {
			if c := try(fmt.Sprint("guess ", i)); c != 92 {
				t.Fatalf("cause %d", c)
			}
		}
		if c := try(password); c != 92 {
			t.Errorf("the eleventh try: cause %d", c)
		}
		time.Sleep(11 * time.Second)
		if c := try(password); c != 16 {
			t.Errorf("later: cause %d", c)
		}
	})
}

// A peer that names sessions at random finds none that is another's, and keeps
// its own.
func TestGuessingAtSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, victim := newSite(t), gtptest.New()
		teid := gtptest.Read(s.handle(t, victim.Create())).TEIDOf(1)
		guesser := victim
		guesser.Addr = another.Addr()
		modify := func(teid uint32) uint8 {
			guesser.Seq++
			m, err := gtp.Parse(guesser.Modify(teid, true))
			if err != nil {
				t.Fatal(err)
			}
			return gtptest.Read(s.Handle(t.Context(), another, m).Datagram).Cause()
		}
		for i := range uint32(100) {
			if c := modify(teid + i + 1); c != 64 {
				t.Fatalf("cause %d", c)
			}
		}
		if c := modify(teid); c != 64 {
			t.Errorf("after a hundred guesses: cause %d", c)
		}
		time.Sleep(2 * time.Second)
		if c := modify(teid); c != 16 {
			t.Errorf("a handover later: cause %d", c)
		}
		modify(1)
		modify(2)
		if c := modify(teid); c != 16 {
			t.Errorf("its own session: cause %d", c)
		}
	})
}

// A peer can't fill the log with requests that are in order and change nothing.
func TestAcceptancesAreLoggedSparsely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peer := newSite(t), gtptest.New()
		teid := gtptest.Read(s.handle(t, peer.Create())).TEIDOf(1)
		for range 1000 {
			peer.Seq++
			s.handle(t, peer.Modify(teid, false))
		}
		if n := s.log.lines(); n != 100 {
			t.Errorf("%d lines", n)
		}
	})
}

// Changes of a session are entries of the log; no peer makes as many of them as
// it likes.
func TestChangesOfASessionAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peer := newSite(t), gtptest.New()
		teid := gtptest.Read(s.handle(t, peer.Create())).TEIDOf(1)
		flip := func() uint8 {
			peer.Seq++
			peer.UserTEID++
			return gtptest.Read(s.handle(t, peer.Modify(teid, true))).Cause()
		}
		for i := range 60 {
			if c := flip(); c != 16 {
				t.Fatalf("change %d: cause %d", i, c)
			}
		}
		before := s.state.Index()
		if c := flip(); c != 73 || s.state.Index() != before {
			t.Errorf("cause %d, and %d entries", c, s.state.Index()-before)
		}
		if c := gtptest.Read(s.handle(t, peer.Delete(teid))).Cause(); c != 16 {
			t.Errorf("it can't be deleted: cause %d", c)
		}
	})
}
