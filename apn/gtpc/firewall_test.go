package gtpc

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/wmnsk/go-gtp/gtpv2/ie"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

func mustIMSI(s string) ident.IMSI {
	v, err := ident.ParseIMSI(s)
	if err != nil {
		panic(err)
	}
	return v
}

func mustPLMN(s string) ident.PLMN {
	v, err := ident.ParsePLMN(s)
	if err != nil {
		panic(err)
	}
	return v
}

func prefixes(list ...string) (all []netip.Prefix) {
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// oneCarrier is a policy with a carrier that has 127.0.20.1 and is held short.
func oneCarrier(alter func(c *policy.Carrier)) func() *policy.Rules {
	c := policy.Carrier{Name: "alpha", Peers: prefixes("127.0.20.1/32")}
	alter(&c)
	rules := &policy.Rules{Carriers: []policy.Carrier{c}}
	return func() *policy.Rules { return rules }
}

// A peer speaks the versions that its carrier has, about its own subscribers, and
// no faster than it may. What else it says is met with silence, under a name.
func TestFirewallReasons(t *testing.T) {
	one, two := gtptest.NewSGSN(), gtptest.New()
	foreigner := two
	foreigner.IMSI = "262011234567890"
	foreignerV1 := one
	foreignerV1.IMSI = "262011234567890"
	for _, c := range []struct {
		name   string
		alter  func(c *policy.Carrier)
		peer   netip.AddrPort
		passes [][]byte
		drops  [][]byte
		reason string
	}{
		{
			"no carrier has the peer", func(*policy.Carrier) {}, another,
			nil,
			[][]byte{two.Create(), two.Echo(), one.Echo(), {0}},
			countPeerNotOfCarrier,
		},
		{
			"GTPv2 alone", func(c *policy.Carrier) { c.Versions = []uint8{2} }, sgw,
			[][]byte{two.Create(), two.Delete(7)},
			[][]byte{one.Create(), one.Echo(), one.Delete(7)},
			countVersionNotOfPeer,
		},
		{
			"GTPv1 alone", func(c *policy.Carrier) { c.Versions = []uint8{1} }, sgw,
			[][]byte{one.Create(), one.Delete(7)},
			[][]byte{two.Create(), two.Echo(), two.Delete(7)},
			countVersionNotOfPeer,
		},
		{
			"subscribers", func(c *policy.Carrier) { c.IMSIPrefixes = []string{"46099", "46001"} }, sgw,
			[][]byte{two.Create(), one.Create(), two.Modify(7, true)},
			[][]byte{foreigner.Create(), foreignerV1.Create()},
			countIMSINotOfPeer,
		},
		{
			"serving networks", func(c *policy.Carrier) { c.PLMNs = []ident.PLMN{mustPLMN("46099")} }, sgw,
			[][]byte{two.Delete(7), two.Suspend(7)},
			[][]byte{two.Create(), one.Create(), two.Modify(7, false), one.Update(7)},
			countPLMNNotOfPeer,
		},
		{
			"radio accesses", func(c *policy.Carrier) { c.RATs = []policy.RAT{10} }, sgw,
			[][]byte{two.Delete(7)},
			[][]byte{two.Create(), one.Create(), two.Modify(7, false), one.Update(7), two.Change(7)},
			countRATNotOfPeer,
		},
	} {
		cfg := Config{Rules: oneCarrier(c.alter)}
		inBubble(t, cfg, answering("ok"), func(t *testing.T, r *rig) {
			for i, b := range c.passes {
				r.from(c.peer, b)
				if n := len(r.conn.sent()); n != 1 {
					t.Errorf("%s: request %d is not answered: %v", c.name, i, r.Counters())
				}
			}
			for i, b := range c.drops {
				r.from(c.peer, b)
				if n := len(r.conn.sent()); n != 0 || r.count(c.reason) != uint64(i+1) {
					t.Errorf("%s: request %d has %d answers: %v", c.name, i, n, r.Counters())
				}
			}
		})
	}
}

// What is sent to a peer goes where its requests say. They name its own side: not
// anybody in the world, who would be sent packets, nor another carrier, who would
// be burdened with sessions that aren't its own.
func TestFirewallAddresses(t *testing.T) {
	two := policy.Rules{Carriers: []policy.Carrier{
		{Name: "a", Peers: prefixes("127.0.20.0/26")}, {Name: "b", Peers: prefixes("127.0.20.64/26")},
	}}
	for _, c := range []struct {
		name  string
		rules *policy.Rules
		named string
		drops bool
	}{
		{"anybody", nil, "203.0.113.9", true},
		{"anybody, though a carrier has it", &policy.Rules{Carriers: []policy.Carrier{{Name: "a", Peers: prefixes("0.0.0.0/0")}}}, "203.0.113.9", true},
		{"one of the allow-list", nil, "127.0.20.77", false},
		{"of the same carrier", &two, "127.0.20.60", false},
		{"of another carrier", &two, "127.0.20.77", true},
		{"of no carrier", &two, "127.0.20.200", false},
	} {
		s, v, own := gtptest.New(), gtptest.NewSGSN(), gtptest.New()
		s.Addr = netip.MustParseAddr(c.named)
		v.Addr = s.Addr
		bearer := ie.NewGroupedIE(ie.BearerContext, ie.NewEPSBearerID(5),
			ie.NewFullyQualifiedTEIDNetIP(4, 9, s.Addr.AsSlice(), nil).WithInstance(1))
		inBubble(t, Config{Rules: func() *policy.Rules { return c.rules }}, answering("ok"), func(t *testing.T, r *rig) {
			for i, b := range [][]byte{
				s.Create(), s.Modify(7, true), v.Create(), v.Update(7), own.Request(34, 7, bearer),
			} {
				r.from(sgw, b)
				if n := len(r.conn.sent()); (n == 0) != c.drops || (r.count(countNamedNotOfPeer) != 0) != c.drops {
					t.Errorf("%s: request %d has %d answers: %v", c.name, i, n, r.Counters())
				}
			}
		})
	}
}

// A policy that changes is followed.
func TestFirewallFollowsPolicy(t *testing.T) {
	rules := new(policy.Rules)
	inBubble(t, Config{Rules: func() *policy.Rules { return rules }}, never(t), func(t *testing.T, r *rig) {
		for i, want := range []int{1, 0, 1} {
			rules = new(policy.Rules)
			if i == 1 {
				rules.Carriers = []policy.Carrier{{Name: "elsewhere", Peers: prefixes("10.0.0.0/8")}}
			}
			after(glimpseTime)
			r.from(sgw, gtptest.New().Echo())
			if n := len(r.conn.sent()); n != want {
				t.Errorf("policy %d: %d answers", i, n)
			}
		}
	})
}

// Who may speak, and how fast, may be said anew while a socket is served: the next
// message is judged by it.
func TestBoundsChange(t *testing.T) {
	inBubble(t, Config{AllowedPeers: prefixes("127.0.20.0/24"), CreateRate: 1}, answering("ok"), func(t *testing.T, r *rig) {
		s := gtptest.New()
		s.Addr = sgw.Addr()
		create := func(n int) (answered int) {
			for range n {
				s.Seq++
				r.from(sgw, s.Create())
				answered += len(r.conn.sent())
			}
			return answered
		}
		if n := create(5); n != 1 {
			t.Errorf("%d of 5 at one a second", n)
		}
		r.Bound(prefixes("127.0.30.0/24"), 3)
		after(time.Minute)
		if n := create(5); n != 0 || r.count(countPeerNotAllowed) != 5 {
			t.Errorf("%d answers to a peer that isn't allowed any more: %v", n, r.Counters())
		}
		if err := r.DeleteSession(t.Context(), &command.Session{Gtp: &command.GTPPath{PeerC: &command.FTEID{Address: sgw.Addr().AsSlice()}}}); !errors.Is(err, ErrNoPath) {
			t.Errorf("it is asked to delete a session: %v", err)
		}
		r.Bound(prefixes("127.0.20.0/31"), 3)
		if n := create(5); n != 3 {
			t.Errorf("%d of 5 at three a second", n)
		}
	})
}

func TestCreateRates(t *testing.T) {
	rules := oneCarrier(func(c *policy.Carrier) { c.Peers, c.CreatesPerSecond = prefixes("127.0.20.0/31"), 10 })
	cfg := Config{Rules: func() *policy.Rules {
		r := *rules()
		r.Carriers = append(r.Carriers[:1:1], policy.Carrier{Name: "beta", Peers: prefixes("127.0.20.2/32")})
		return &r
	}, CreateRate: 50}
	inBubble(t, cfg, answering("ok"), func(t *testing.T, r *rig) {
		s := gtptest.New()
		create := func(peer netip.AddrPort, n int) (answered int) {
			s.Addr = peer.Addr()
			for range n {
				s.Seq++
				r.from(peer, s.Create())
				answered += len(r.conn.sent())
			}
			return answered
		}
		// A second's worth at once, then its own pace, to the one peer.
		if n := create(sgw, 30); n != 10 || r.count(countCreateRatePeer) != 20 {
			t.Errorf("%d of 30 of one peer at once: %v", n, r.Counters())
		}
		after(time.Second / 2)
		if n := create(sgw, 30); n != 5 {
			t.Errorf("%d half a second later", n)
		}
		// The peer that has no limit of its own, up to that of all.
		after(time.Second)
		if n := create(another, 100); n != 50 || r.count(countCreateRate) != 50 {
			t.Errorf("%d of 100 of all peers: %v", n, r.Counters())
		}
		// Nothing but Creates counts, and what all may not costs the one nothing.
		for range 100 {
			s.Seq++
			r.from(sgw, s.Delete(7))
			r.from(sgw, s.Echo())
			if n := len(r.conn.sent()); n != 2 {
				t.Fatalf("%d answers to a delete and an echo", n)
			}
		}
		if n := create(sgw, 5); n != 0 {
			t.Errorf("%d of one peer when all have had theirs", n)
		}
		after(time.Second)
		if n := create(sgw, 20); n != 10 {
			t.Errorf("%d of 20 a second later", n)
		}
	})
}

// Addresses by the million leave the firewall's memory as it is, and a peer that
// was here before them in its rights.
func TestSpoofedFlood(t *testing.T) {
	const sources = 1_000_000
	wall := newFirewall(prefixes("10.0.0.0/8"), 1_000_000_000)
	rules := oneCarrier(func(c *policy.Carrier) { c.Peers, c.CreatesPerSecond = prefixes("10.0.0.0/8"), 50 })()
	now := time.Unix(1000, 0)
	peer := netip.MustParseAddr("10.99.99.99")
	create := gtptest.New().Create()
	passes := func(a netip.Addr) bool {
		_, reason := wall.screen(now, rules, a, create)
		if reason != "" && reason != countCreateRatePeer {
			t.Fatal(reason)
		}
		return reason == ""
	}
	for range 50 {
		if !passes(peer) {
			t.Fatal("the peer was held up before the flood")
		}
		now = now.Add(20 * time.Millisecond)
	}
	places, passed, peerPassed, peerAsked := len(wall.peers.places), 0, 0, 0
	for i := range uint32(sources) { // of a second and a half
		spoofed := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		if passes(spoofed) {
			passed++
		}
		now = now.Add(1500 * time.Nanosecond)
		if i%50_000 == 0 {
			peerAsked++
			if passes(peer) {
				peerPassed++
			}
		}
	}
	if len(wall.peers.places) != places || cap(wall.peers.places) != places {
		t.Error("the table has grown")
	}
	if peerPassed != peerAsked {
		t.Errorf("the peer got through %d times of %d", peerPassed, peerAsked)
	}
	// What passes: each place's worth, anew whenever it is full again, and the
	// shared bucket.
	if most := places*80 + 200; passed > most {
		t.Errorf("%d of %d passed, expected %d at most", passed, sources, most)
	}
	i := uint32(0)
	if n := testing.AllocsPerRun(1000, func() {
		i++
		passes(netip.AddrFrom4([4]byte{10, 200, byte(i >> 8), byte(i)}))
	}); n != 0 {
		t.Errorf("%v allocations for each", n)
	}
}

func TestBucket(t *testing.T) {
	var b bucket
	p := perSecond(4)
	now := time.Unix(1000, 0)
	take := func(n int) (taken int) {
		for range n {
			if b.allows(now, p) {
				b.spend(now, p)
				taken++
			}
		}
		return taken
	}
	if n := take(10); n != 4 {
		t.Errorf("%d at once, want 4", n)
	}
	now = now.Add(250*time.Millisecond - 1)
	if n := take(10); n != 0 {
		t.Errorf("%d before its time", n)
	}
	now = now.Add(1)
	if n := take(10); n != 1 {
		t.Errorf("%d after a quarter of a second, want 1", n)
	}
	now = now.Add(time.Hour)
	if n := take(10); n != 4 {
		t.Errorf("%d after an hour, want 4", n)
	}
	if p := perSecond(1 << 31); p.every != 0 || !new(bucket).allows(now, p) {
		t.Errorf("%+v", p)
	}
}

// What a message doesn't say isn't held against it: the procedures miss it.
func TestSilenceIsNoViolation(t *testing.T) {
	strict := policy.Carrier{IMSIPrefixes: []string{"46001"}, PLMNs: []ident.PLMN{mustPLMN("46001")}, RATs: []policy.RAT{6}}
	for _, m := range []gtp.Message{
		&gtp.CreateSessionRequest{}, &gtp.CreatePDPContextRequest{}, &gtp.ModifyBearerRequest{}, &gtp.UpdatePDPContextRequest{},
		&gtp.ChangeNotificationRequest{}, &gtp.DeleteSessionRequest{}, &gtp.Faulty{}, &gtp.EchoRequest{},
	} {
		if reason := inspect(&strict, m); reason != "" {
			t.Errorf("%T: %s", m, reason)
		}
	}
	for reason, m := range map[string]gtp.Message{
		countIMSINotOfPeer: &gtp.UpdatePDPContextRequest{IMSI: mustIMSI("262011234567890")},
		countPLMNNotOfPeer: &gtp.CreatePDPContextRequest{IMSI: mustIMSI(imsi), ServingNetwork: mustPLMN("46002")},
		countRATNotOfPeer:  &gtp.CreateSessionRequest{IMSI: mustIMSI(imsi), ServingNetwork: mustPLMN("46001"), RAT: 1},
	} {
		if got := inspect(&strict, m); got != reason {
			t.Errorf("%T: %q, want %q", m, got, reason)
		}
	}
}
