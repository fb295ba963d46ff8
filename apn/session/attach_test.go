package session

import (
	"crypto/md5"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv2/ie"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/credential"
	"github.com/sealedge/sealedge/policy/ident"
)

// serve changes what the APN offers.
func (w *world) serve(change func(*policy.APN)) {
	name := must(ident.ParseAPN("seal.corp"))
	apn := w.rules.APNs[name]
	change(&apn)
	w.rules.APNs[name] = apn
}

// dualStack has the next revision of the policy offer IPv6 too.
func (w *world) dualStack() {
	revision := w.state.PolicyRevision()
	w.do(&command.PutPolicy{BaseRevision: revision, Document: []byte("policy"), Pools: []*command.Pool{
		{Apn: "seal.corp", PrefixAddress: []byte{10, 90, 0, 0}, PrefixBits: 30, Excluded: [][]byte{{10, 90, 0, 1}}},
		{Apn: "seal.corp", PrefixAddress: netip.MustParseAddr("fd00:90::").AsSlice(), PrefixBits: 48},
	}})
	w.rules.Revision = revision + 1
	w.serve(func(a *policy.APN) { a.GatewayAddress6 = netip.MustParseAddr("fd00:90:ffff::1") })
}

// wish is a Create Session Request of a PDN type, with the dual address flag or
// without.
func wish(s gtptest.SGW, typ uint8, dual bool) []byte {
	var out []*ie.IE
	for _, e := range s.CreateElements() {
		switch e.Type {
		case ie.PDNType:
			e = ie.NewPDNType(typ)
		case ie.PDNAddressAllocation:
			continue
		case ie.Indication:
			if !dual {
				e = ie.NewIndicationFromOctets(0, 0, 0)
			}
		}
		out = append(out, e)
	}
	return s.Request(32, 0, out...)
}

func TestPDNTypes(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/create-session-response", "cause-new-pdn-type-18", "cause-preferred-pdn-type-not-supported-83")
	gtptest.ShowsIn(t, "29.274/create-session-request", "indication-flags", "pdn-type")
	v4only := func(w *world) {}
	v6only := func(w *world) {
		w.dualStack()
		w.serve(func(a *policy.APN) { a.GatewayAddress = netip.Addr{} })
	}
	both := func(w *world) { w.dualStack() }
	for _, c := range []struct {
		name  string
		offer func(*world)
		asked uint8
		dual  bool
		cause uint8
		given uint8 // of the PAA; 0: refused
	}{
		{"IPv4 where it is", v4only, 1, true, 16, 1},
		{"IPv4 where only IPv6 is", v6only, 1, true, 83, 0},
		{"IPv6 where it is", v6only, 2, true, 16, 2},
		{"IPv6 where only IPv4 is", v4only, 2, true, 83, 0},
		{"both where both are", both, 3, true, 16, 3},
		{"both in one bearer that the peer can't carry", both, 3, false, 18, 1},
		{"both where only IPv4 is", v4only, 3, true, 18, 1},
		{"both where only IPv4 is, single bearers", v4only, 3, false, 18, 1},
		{"both where only IPv6 is", v6only, 3, true, 18, 2},
		{"IPv4 where both are", both, 1, true, 16, 1},
		{"IPv6 where both are", both, 2, true, 16, 2},
		{"no IP", both, 4, true, 83, 0},
		{"Ethernet", both, 5, true, 83, 0},
	} {
		w, s := newWorld(t), gtptest.New()
		c.offer(w)
		a, _, done := w.carry(wish(s, c.asked, c.dual))
		if a.Cause() != c.cause {
			t.Errorf("%s: cause %d, want %d", c.name, a.Cause(), c.cause)
			continue
		}
		if c.given == 0 {
			continue
		}
		paa := a.Find(ie.PDNAddressAllocation, 0).Payload
		if paa[0] != c.given || done.Session.GetGtp().GetPdnType() != uint32(c.given) {
			t.Errorf("%s: PDN type %d in the answer, %d on record, want %d", c.name, paa[0], done.Session.GetGtp().GetPdnType(), c.given)
		}
		if c.given != 1 {
			id := InterfaceID(done.Session.GetId())
			if paa[1] != 64 || string(paa[2:10]) != string(done.Session.GetPrefix6()[:8]) || string(paa[10:18]) != string(id[:]) {
				t.Errorf("%s: PAA % x, prefix % x", c.name, paa, done.Session.GetPrefix6())
			}
		}
		// A duplicate is answered alike, also on a node that only has the state.
		if again := w.decide(wish(s, c.asked, c.dual), 0); again.Command != nil || string(again.Response) != string(done.Response) {
			t.Errorf("%s: a duplicate is answered otherwise", c.name)
		}
	}
}

// options are a terminal's PCO with one container.
func options(id uint16, content []byte) []byte {
	return append([]byte{0x80, byte(id >> 8), byte(id), byte(len(content))}, content...)
}

func pap(user, password string) []byte {
	b := []byte{1, 7, 0, 0, byte(len(user))}
	b = append(append(append(b, user...), byte(len(password))), password...)
	b[3] = byte(len(b))
	return options(0xc023, b)
}

func chap(user, secret string) []byte {
	challenge := []byte("challenge of 16.")
	sum := md5.Sum(append(append([]byte{9}, secret...), challenge...))
	packet := func(code byte, value []byte) []byte {
		b := append([]byte{code, 9, 0, 0, byte(len(value))}, value...)
		b = append(b, user...)
		b[3] = byte(len(b))
		return b
	}
	return append(options(0xc223, packet(1, challenge)), options(0xc223, packet(2, sum[:]))[1:]...)
}

// showing is a Create Session Request with that PCO.
func showing(s gtptest.SGW, pco []byte) []byte {
	var out []*ie.IE
	for _, e := range s.CreateElements() {
		if e.Type == ie.ProtocolConfigurationOptions {
			if e = ie.New(ie.ProtocolConfigurationOptions, 0, pco); pco == nil {
				continue
			}
		}
		out = append(out, e)
	}
	return s.Request(32, 0, out...)
}

func TestAuthentication(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/create-session-request", "pco-pap", "pco-chap")
	gtptest.ShowsIn(t, "29.274/create-session-response", "cause-user-authentication-failed-92")
	const right, other = "tr0ub4dor", "Tr0ub4dor"
	salt := []byte("0123456789abcdef")
	known := &command.Credentials{
		User: "phone", PapSalt: salt, PapHash: credential.Hash([]byte(right), salt, 1000), PapIterations: 1000, ChapSecret: []byte("wrapped"),
	}
	noCHAP := &command.Credentials{User: "phone", PapSalt: salt, PapHash: known.PapHash, PapIterations: 1000}
	unwrap := func(owner string, wrapped []byte) ([]byte, error) {
		if owner != "chap:460011234567890" || string(wrapped) != "wrapped" {
			return nil, errors.New("another key")
		}
		return []byte(right), nil
	}
	for _, c := range []struct {
		name     string
		demanded policy.Authentication
		has      *command.Credentials
		shown    []byte
		ok       bool
	}{
		{"nothing asked, nothing shown", policy.AuthenticationNone, known, nil, true},
		{"nothing asked, rubbish shown, no credentials", policy.AuthenticationNone, nil, pap("web", "web"), true},
		{"nothing asked, wrong password shown", policy.AuthenticationNone, known, pap("phone", other), false},
		{"any asked, nothing shown", policy.AuthenticationAny, known, nil, false},
		{"any asked, PAP right", policy.AuthenticationAny, known, pap("phone", right), true},
		{"any asked, CHAP right", policy.AuthenticationAny, known, chap("phone", right), true},
		{"PAP: wrong password", policy.AuthenticationAny, known, pap("phone", other), false},
		{"PAP: wrong user", policy.AuthenticationAny, known, pap("phones", right), false},
		{"PAP: empty password", policy.AuthenticationAny, known, pap("phone", ""), false},
		{"PAP without credentials", policy.AuthenticationAny, nil, pap("phone", right), false},
		{"CHAP: wrong secret", policy.AuthenticationAny, known, chap("phone", other), false},
		{"CHAP: wrong user", policy.AuthenticationAny, known, chap("nobody", right), false},
		{"CHAP without a secret on record", policy.AuthenticationAny, noCHAP, chap("phone", right), false},
		{"PAP asked, CHAP shown", policy.AuthenticationPAP, known, chap("phone", right), false},
		{"CHAP asked, PAP shown", policy.AuthenticationCHAP, known, pap("phone", right), false},
		{"CHAP asked and right", policy.AuthenticationCHAP, known, chap("phone", right), true},
	} {
		w, s := newWorld(t), gtptest.New()
		w.serve(func(a *policy.APN) { a.Authentication = c.demanded })
		w.do(&command.PutSubscriber{Subscriber: &command.Subscriber{
			Imsi: s.IMSI, Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE, Credentials: c.has,
		}, AnyVersion: true})
		m, err := gtp.Parse(showing(s, c.shown))
		if err != nil {
			t.Fatal(err)
		}
		v := View{State: w.state, Rules: w.rules, Authentication: Authenticate(m, w.state.Subscriber(s.IMSI), unwrap)}
		o := w.gateway.Decide(m, netip.MustParseAddrPort("127.0.20.1:2123"), v, 0)
		if (o.Command != nil) != c.ok {
			t.Errorf("%s: cause %v", c.name, o.Cause)
			continue
		}
		if NeedsAuthentication(m) != (c.shown != nil) {
			t.Errorf("%s: whether it has to be checked is wrong", c.name)
		}
		if c.ok {
			continue
		}
		a := gtptest.Read(o.Response)
		if a.Cause() != 92 || a.TEID != s.ControlTEID || o.Record == nil {
			t.Errorf("%s: cause %d to %x, record %v; want 92, with a record", c.name, a.Cause(), a.TEID, o.Record)
		}
		// The password is nowhere in what is kept.
		if record := string(command.Marshal(o.Record)); strings.Contains(record, right) || strings.Contains(record, other) {
			t.Errorf("%s: the record tells the password", c.name)
		}
	}
}

// What was checked against a record that has changed since is checked anew.
func TestAuthenticationOfAnotherVersion(t *testing.T) {
	w, s := newWorld(t), gtptest.New()
	m, err := gtp.Parse(showing(s, pap("phone", "tr0ub4dor")))
	if err != nil {
		t.Fatal(err)
	}
	v := View{State: w.state, Rules: w.rules, Authentication: Authenticate(m, w.state.Subscriber(s.IMSI), nil)}
	w.do(&command.PutSubscriber{Subscriber: w.state.Subscriber(s.IMSI), AnyVersion: true})
	if o := w.gateway.Decide(m, netip.MustParseAddrPort("127.0.20.1:2123"), v, 0); !o.Stale || o.Response != nil || o.Command != nil {
		t.Errorf("%+v", o)
	}
	// Not checked at all is no better.
	w.serve(func(a *policy.APN) { a.Authentication = policy.AuthenticationAny })
	if o := w.gateway.Decide(m, netip.MustParseAddrPort("127.0.20.1:2123"), View{State: w.state, Rules: w.rules}, 0); o.Cause != gtp.CauseAuthenticationFailed {
		t.Errorf("not checked: %+v", o)
	}
}
