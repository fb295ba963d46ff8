package session

import (
	"net/netip"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv2/ie"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/policy"
)

const stranger = "127.0.20.9:2123"

// A restart counter is the sender's own to tell. A peer that names another's
// address with a newer counter would have all of that one's sessions released.
func TestNobodyRestartsForAnother(t *testing.T) {
	w, s, teid := attached(t) // the SGW's counter is 7
	v := gtptest.NewSGSN()
	v.Addr = s.Addr
	forged, forgedV1 := s, v
	forged.Restarts, forgedV1.Restarts = 8, 8
	for name, raw := range map[string][]byte{"create-session": forged.Create(), "create-pdp-context": forgedV1.Create()} {
		if o := w.from(stranger, raw); o.Restart != nil {
			t.Errorf("%s of another peer: %+v", name, o.Restart)
		}
	}
	// Nor can who holds a session say it by moving that one to the other's address.
	own := s
	own.Addr = netip.MustParseAddr("127.0.20.9")
	w.apply(w.from(stranger, own.Modify(teid, true)).Command)
	if o := w.from(stranger, forged.Modify(teid, true)); o.Command == nil || o.Restart != nil {
		t.Errorf("modify-bearer: %+v", o)
	}
	// What it tells isn't kept as the other's either.
	forged.Restarts = 200
	forged.Addr = netip.MustParseAddr("127.0.20.8")
	w.apply(w.from(stranger, forged.Create()).Command)
	if p := w.state.Peer(forged.Addr); p == nil || p.RestartKnown {
		t.Errorf("on record of a peer that was only spoken of: %+v", p)
	}
}

// A peer takes over the sessions of its own carrier's subscribers only.
func TestTakeoverIsWithinTheCarrier(t *testing.T) {
	w, s, teid := attached(t)
	taker := s
	taker.Addr, taker.ControlTEID = netip.MustParseAddr("127.0.20.9"), 0x99
	w.rules.Carriers = []policy.Carrier{
		{Name: "a", Peers: []netip.Prefix{netip.MustParsePrefix("127.0.20.1/32")}},
		{Name: "b", Peers: []netip.Prefix{netip.MustParsePrefix("127.0.20.9/32")}, IMSIPrefixes: []string{"26201"}},
	}
	faulty := taker.Request(34, teid, ie.NewFullyQualifiedTEIDNetIP(6, 0x99, taker.Addr.AsSlice(), nil), ie.NewAggregateMaximumBitRate(0, 0).WithInstance(0))
	for name, raw := range map[string][]byte{"modify": taker.Modify(teid, true), "another request": faulty} {
		if o := w.from(stranger, raw); o.Command != nil || gtptest.Read(o.Response).Cause() != 64 {
			t.Errorf("%s of a peer whose carrier doesn't have the subscriber: %+v", name, o)
		}
	}
	w.rules.Carriers[1].IMSIPrefixes = []string{"26201", "46001"}
	if o := w.from(stranger, taker.Modify(teid, true)); o.Command == nil {
		t.Errorf("%+v", o)
	}
}

// A peer that has named too many sessions that aren't there takes over none.
func TestGuessesAreTold(t *testing.T) {
	w, s, teid := attached(t)
	taker := s
	taker.Addr = netip.MustParseAddr("127.0.20.9")
	if o := w.from(stranger, taker.Modify(teid^1, true)); !o.Astray {
		t.Errorf("a takeover of nothing: %+v", o)
	}
	for name, o := range map[string]Outcome{
		"own": w.from("127.0.20.1:2123", s.Modify(teid, true)), "takeover": w.from(stranger, taker.Modify(teid, true)),
		"no takeover": w.from(stranger, taker.Delete(teid^1)),
	} {
		if o.Astray {
			t.Errorf("%s: %+v", name, o)
		}
	}
	m := parsed(t, taker.Modify(teid, true))
	o := w.gateway.Decide(m, netip.MustParseAddrPort(stranger), View{State: w.state, Rules: w.rules, NoTakeover: true}, 0)
	if o.Command != nil || gtptest.Read(o.Response).Cause() != 64 {
		t.Errorf("%+v", o)
	}
	m = parsed(t, s.Modify(teid, true))
	if o := w.gateway.Decide(m, netip.MustParseAddrPort("127.0.20.1:2123"), View{State: w.state, Rules: w.rules, NoTakeover: true}, 0); o.Cause != 16 {
		t.Errorf("its own session: %+v", o)
	}
}

// Sets that no session depends on cost no entry of the log.
func TestLostSetsOfNobody(t *testing.T) {
	w, s, _ := attached(t)
	if o := w.decide(s.LostSets(4), 0); o.Command != nil || gtptest.Read(o.Response).Cause() != 16 {
		t.Errorf("%+v", o)
	}
}

func parsed(t *testing.T, raw []byte) gtp.Message {
	t.Helper()
	m, err := gtp.Parse(raw)
	if m == nil {
		t.Fatal(err)
	}
	return m
}
