package session

import (
	"bytes"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

// world is one node's state machine, its rules and the gateway before it.
type world struct {
	t       *testing.T
	state   *state.Machine
	rules   *policy.Rules
	gateway Gateway
	index   uint64
	now     time.Time // the node's clock; zero: the cluster's
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, state: state.New(),
		gateway: Gateway{Name: "gw", Outer: netip.MustParseAddr("127.0.10.1"), Secret: []byte("0123456789abcdef")},
	}
	w.do(&command.AcquireAddress{Name: "gw", Node: "n1"})
	w.policy()
	w.do(&command.PutSubscriber{Subscriber: &command.Subscriber{
		Imsi: "460011234567890", Msisdn: "8613912345678", Imeis: []string{"35209900176148"}, Apns: []string{"seal.corp"},
		WireguardPublicKey: bytes.Repeat([]byte{7}, 32), State: command.DeviceState_ACTIVE,
	}, AnyVersion: true})
	return w
}

// policy puts the next revision, with one inner address to give.
func (w *world) policy() {
	revision := w.state.PolicyRevision()
	w.do(&command.PutPolicy{BaseRevision: revision, Document: []byte("policy"), Pools: []*command.Pool{{
		Apn: "seal.corp", PrefixAddress: []byte{10, 90, 0, 0}, PrefixBits: 30, Excluded: [][]byte{{10, 90, 0, 1}},
	}}})
	apn := must(ident.ParseAPN("seal.corp"))
	w.rules = &policy.Rules{
		Revision: revision + 1,
		APNs: map[ident.APN]policy.APN{apn: {
			Name: apn, GatewayAddress: netip.MustParseAddr("10.90.0.1"), DNS: []netip.Addr{netip.MustParseAddr("10.90.0.1")}, MTU: 1400, AMBRUpKbps: 50000, AMBRDownKbps: 300000,
		}},
		Admission: policy.Admission{PLMNs: []ident.PLMN{must(ident.ParsePLMN("46001"))}, RATs: []policy.RAT{6}},
		Fallback:  policy.Fallback{Allowed: true},
	}
}

func (w *world) apply(c *command.Command) *command.Result {
	w.t.Helper()
	w.index++
	r, _, err := w.state.Apply(w.index, 1, command.Marshal(c))
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) do(payload proto.Message) *command.Result {
	w.t.Helper()
	r := w.apply(command.New("test", "", "test", payload))
	if r.GetCode() != command.Code_OK {
		w.t.Fatalf("%T: %v", payload, r)
	}
	return r
}

func (w *world) decide(raw []byte, attempt int) Outcome {
	w.t.Helper()
	m, err := gtp.Parse(raw)
	if m == nil {
		w.t.Fatal(err)
	}
	return dissected(w.gateway.Decide(m, netip.MustParseAddrPort("127.0.20.1:2123"), View{State: w.state, Rules: w.rules, Now: w.now}, attempt))
}

// dissected has what is sent at once judged when all tests are done; what is sent
// later is when it is read.
func dissected(o Outcome) Outcome {
	if o.Response != nil {
		gtptest.Sent(gtptest.ControlPort, o.Response)
	}
	if o.Update != nil {
		gtptest.Sent(gtptest.ControlPort, o.Update.Marshal())
	}
	return o
}

// carry decides and carries out, like a node without rivals.
func (w *world) carry(raw []byte) (gtptest.Answer, Outcome, Answer) {
	w.t.Helper()
	o := w.decide(raw, 0)
	if o.Command == nil {
		return gtptest.Read(o.Response), o, Answer{Response: o.Response, Cause: o.Cause}
	}
	a := o.Finish(w.apply(o.Command))
	if a.Again {
		w.t.Fatal("must be decided again")
	}
	return gtptest.Read(a.Response), o, a
}

func TestAttach(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/reliable-delivery", "a-response-has-the-request-s-sequence-number")
	gtptest.ShowsIn(t, "29.274/create-session-request", "", "pco-dns-server-addresses-mtu")
	gtptest.ShowsIn(t, "29.274/create-session-response", "")
	w, s := newWorld(t), gtptest.New()
	a, o, done := w.carry(s.Create())
	if a.Type != 33 || a.TEID != s.ControlTEID || a.Seq != s.Seq || a.Cause() != 16 || done.Cause != gtp.CauseAccepted {
		t.Fatalf("%+v", a)
	}
	if !o.Decision.Allowed || o.IMSI != s.IMSI || o.APN != "seal.corp" {
		t.Errorf("%+v", o)
	}
	record := w.state.SessionByKey(s.IMSI, "seal.corp")
	path := record.GetGtp()
	if a.TEIDOf(1) != path.GetLocalTeidC() || path.GetLocalTeidC() == 0 || path.GetLocalTeidU() == 0 || path.GetLocalTeidC() == path.GetLocalTeidU() {
		t.Errorf("TEIDs: %+v, %x", path, a.TEIDOf(1))
	}
	if path.GetPeerC().GetTeid() != s.ControlTEID || path.GetPeerU().GetTeid() != s.UserTEID || path.GetEbi() != 5 || path.GetImei() != s.IMEI[:14] ||
		path.GetRatType() != 6 || path.GetServingPlmn() != "46001" || path.GetPeerRestartCounter() != 7 || !path.GetPeerRestartKnown() ||
		path.GetAmbrUpKbps() != 50000 || path.GetAmbrDownKbps() != 200000 || path.GetQci() != 9 || path.GetInterfaceType() != 6 {
		t.Errorf("%+v", path)
	}
	if paa := a.Find(ie.PDNAddressAllocation, 0).Payload; !bytes.Equal(paa[1:], record.GetAddress()) {
		t.Errorf("PAA % x", paa)
	}
	if !bytes.Contains(a.Find(ie.ProtocolConfigurationOptions, 0).Payload, []byte{0x00, 0x10, 2, 0x05, 0x78}) {
		t.Error("no MTU")
	}
	if done.Session.GetId() != record.GetId() {
		t.Error("the answer doesn't tell the session")
	}
}

// A bit rate of 0 is none told; QoS classes that no default bearer can have are
// replaced (examples of SGWs in the field send 255).
func TestQoSIsAnsweredWithinLimits(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/create-session-response", "bearer-context-bearer-level-qos", "aggregate-maximum-bit-rate-apn-ambr")
	s := gtptest.New()
	for _, c := range []struct{ qci, want uint8 }{{9, 9}, {5, 5}, {0, 9}, {1, 9}, {4, 9}, {255, 9}, {65, 9}, {128, 128}, {70, 70}} {
		all := s.CreateElements()
		b := all[14].ChildIEs
		all[14] = ie.NewGroupedIE(ie.BearerContext, b[0], b[1], ie.NewBearerQoS(0, 8, 0, c.qci, 1, 2, 3, 4))
		all[12] = ie.NewAggregateMaximumBitRate(0, 0)
		w := newWorld(t)
		a, _, _ := w.carry(s.Request(gtp.TypeCreateSessionRequest, 0, all...))
		qos := gtptest.Find(a.Find(ie.BearerContext, 0).ChildIEs, ie.BearerQoS, 0).Payload
		if qos[1] != c.want || !bytes.Equal(qos[2:], make([]byte, 20)) {
			t.Errorf("QCI %d answered with % x", c.qci, qos)
		}
		if up := a.Find(ie.AggregateMaximumBitRate, 0).MustAggregateMaximumBitRateUp(); up != 50000 {
			t.Errorf("AMBR 0 answered with %d", up)
		}
	}
}

// The address that a request asks for is never trusted.
func TestRequestedAddressIsNotTrusted(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/create-session-request", "pdn-address-allocation-paa")
	s := gtptest.New()
	v4v6 := append([]byte{3}, make([]byte, 21)...)
	for _, c := range []struct {
		name  string
		paa   []byte
		daf   byte
		cause uint8
	}{
		{"IPv4", []byte{1, 10, 1, 1, 1}, 0x80, 16},
		{"IPv4v6", v4v6, 0x80, 18},
		{"IPv4v6 without dual address flag", v4v6, 0, 18},
		{"IPv6", append([]byte{2}, make([]byte, 17)...), 0x80, 83},
		{"non-IP", []byte{4}, 0x80, 83},
		{"Ethernet", []byte{5}, 0x80, 83},
	} {
		all := s.CreateElements()
		all[5] = ie.NewIndicationFromOctets(c.daf)
		all[10] = ie.New(ie.PDNAddressAllocation, 0, c.paa)
		w := newWorld(t)
		a, _, _ := w.carry(s.Request(gtp.TypeCreateSessionRequest, 0, all...))
		if a.Cause() != c.cause || a.TEID != s.ControlTEID {
			t.Errorf("%s: cause %d, want %d", c.name, a.Cause(), c.cause)
		}
		if paa := a.Find(ie.PDNAddressAllocation, 0); (paa != nil) != (c.cause < 64) || paa != nil && (paa.Payload[0] != 1 || bytes.Equal(paa.Payload[1:], []byte{10, 1, 1, 1})) {
			t.Errorf("%s: PAA %v", c.name, paa)
		}
	}
}

func TestAdmissionRefusals(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/create-session-response",
		"cause-missing-or-unknown-apn-78", "cause-denied-in-rat-82", "cause-service-denied-89", "cause-apn-access-denied-no-subscription-93",
		"cause-system-failure-72")
	for _, c := range []struct {
		code  policy.Code
		alter func(*gtptest.SGW, *world)
	}{
		{policy.CodeIMSIUnknown, func(s *gtptest.SGW, _ *world) { s.IMSI = "460019999999999" }},
		{policy.CodeMSISDNMismatch, func(s *gtptest.SGW, _ *world) { s.MSISDN = "8613900000000" }},
		{policy.CodeHandsetNotBound, func(s *gtptest.SGW, _ *world) { s.IMEI = "4920990017614823" }},
		{policy.CodeAPNUnknown, func(s *gtptest.SGW, _ *world) { s.APN = "internet" }},
		{policy.CodePLMNNotAllowed, func(s *gtptest.SGW, _ *world) { s.MNC = "02" }},
		{policy.CodeRATNotAllowed, func(s *gtptest.SGW, _ *world) { s.RAT = 1 }},
		{policy.CodeNoPolicy, func(_ *gtptest.SGW, w *world) { w.rules = nil }},
		{policy.CodeSubscriberRevoked, func(s *gtptest.SGW, w *world) { w.do(&command.RevokeSubscriber{Imsi: s.IMSI, Reason: "lost"}) }},
	} {
		w, s := newWorld(t), gtptest.New()
		c.alter(&s, w)
		a, o, _ := w.carry(s.Create())
		if o.Decision == nil || o.Decision.Code != c.code || a.Cause() != uint8(CauseOf(c.code)) || a.TEID != s.ControlTEID || a.Seq != s.Seq {
			t.Errorf("%s: %+v, cause %d", c.code, o.Decision, a.Cause())
		}
		if o.Command != nil || o.Record == nil {
			t.Errorf("%s: command %v, record %v", c.code, o.Command, o.Record)
			continue
		}
		w.apply(o.Record)
		_, payload, err := command.Decode(command.Marshal(o.Record))
		if d, ok := payload.(*command.RecordDecision); err != nil || !ok || d.GetAllowed() || d.GetCode() != string(c.code) || len(d.GetReasons()) == 0 {
			t.Errorf("%s: record %v", c.code, payload)
		}
	}
}

// The causes that docs/causes.md explains are the ones that are sent.
func TestCausesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/causes.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]gtp.Cause{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Za-z_-]+)` \\| ([0-9]+) \\| ([0-9]+) \\|").FindAllSubmatch(doc, -1) {
		cause := gtp.Cause(must(strconv.Atoi(string(m[2]))))
		documented[string(m[1])] = cause
		if v1 := must(strconv.Atoi(string(m[3]))); int(cause.V1()) != v1 {
			t.Errorf("%s: over GTPv1 %d is sent, documented %d", m[1], cause.V1(), v1)
		}
	}
	for code, cause := range admitCauses {
		if documented[string(code)] != cause {
			t.Errorf("%s: sent %v, documented %v", code, cause, documented[string(code)])
		}
		delete(documented, string(code))
	}
	for code, cause := range resultCauses {
		if documented[code.String()] != cause {
			t.Errorf("%s: sent %v, documented %v", code, cause, documented[code.String()])
		}
		delete(documented, code.String())
	}
	for code := range documented {
		t.Errorf("%s is documented but not mapped", code)
	}
}

// A duplicate that reaches another node gets the same bytes, though the policy
// has moved on, and costs no log entry.
func TestDuplicateAfterFailover(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/reliable-delivery", "a-retransmission-after-a-failover")
	w, s := newWorld(t), gtptest.New()
	_, _, first := w.carry(s.Create())
	var snapshot bytes.Buffer
	if err := w.state.WriteSnapshot(&snapshot); err != nil {
		t.Fatal(err)
	}
	other := &world{t: t, state: must(state.ReadSnapshot(&snapshot)), rules: w.rules, gateway: w.gateway, index: w.index}
	other.policy()
	again := other.decide(s.Create(), 0)
	if again.Command != nil || !bytes.Equal(again.Response, first.Response) {
		t.Fatalf("answered with % x, first % x (command %v)", again.Response, first.Response, again.Command)
	}
	teid := gtptest.Read(first.Response).TEIDOf(1)
	s.Seq++
	_, _, gone := other.carry(s.Delete(teid))
	repeat := other.decide(s.Delete(teid), 0)
	if repeat.Command != nil || !bytes.Equal(repeat.Response, gone.Response) || gone.Cause != gtp.CauseAccepted {
		t.Errorf("delete answered with % x, first % x", repeat.Response, gone.Response)
	}
}

// Two nodes that decide the same request make the same command; without the
// secret nobody can tell the TEIDs beforehand.
func TestCommandsAreDeterministic(t *testing.T) {
	a, b, s := newWorld(t), newWorld(t), gtptest.New()
	one, two := a.decide(s.Create(), 0).Command, b.decide(s.Create(), 0).Command
	if !bytes.Equal(command.Marshal(one), command.Marshal(two)) {
		t.Error("two nodes make different commands out of one request")
	}
	b.gateway.Secret = []byte("another secret..")
	if bytes.Equal(one.GetPayload(), b.decide(s.Create(), 0).Command.GetPayload()) {
		t.Error("the secret doesn't matter")
	}
	ids := map[string]bool{one.GetRequestId(): true, a.decide(s.Create(), 1).Command.GetRequestId(): true}
	s.Seq++
	ids[a.decide(s.Create(), 0).Command.GetRequestId()] = true
	s.UserTEID++
	ids[a.decide(s.Create(), 0).Command.GetRequestId()] = true
	if len(ids) != 4 {
		t.Errorf("attempt, sequence number and content must each make another request id: %v", ids)
	}
}

// A Create for a session that is there replaces it; the first request coming
// once more, e.g. from an SGW that restarted and counts from the start again,
// is not answered with tunnel ends that are gone.
func TestOvertakenRequestIsDecidedAnew(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/colliding-requests", "a-create-for-a-session-that-is-there-replaces-it")
	w, s := newWorld(t), gtptest.New()
	a, _, _ := w.carry(s.Create())
	s2 := s
	s2.Seq, s2.ControlTEID = s.Seq+1, 0x99
	b, _, _ := w.carry(s2.Create())
	if a.TEIDOf(1) == b.TEIDOf(1) || w.state.SessionByTEIDC(a.TEIDOf(1)) != nil {
		t.Fatal("the older session was not replaced")
	}
	if !bytes.Equal(a.Find(ie.PDNAddressAllocation, 0).Payload, b.Find(ie.PDNAddressAllocation, 0).Payload) {
		t.Error("the address changed")
	}
	c, o, _ := w.carry(s.Create())
	if o.Command == nil || w.state.SessionByTEIDC(c.TEIDOf(1)) == nil {
		t.Error("answered with a dead TEID")
	}
	// And once more while it stands: the same answer again.
	again := w.decide(s.Create(), 0)
	if again.Command != nil || gtptest.Read(again.Response).TEIDOf(1) != c.TEIDOf(1) {
		t.Error("the standing answer is not found")
	}
}

func TestResultsOfOpening(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/create-session-response", "cause-all-dynamic-addresses-are-occupied-84")
	s := gtptest.New()
	w := newWorld(t)
	o := w.decide(s.Create(), 0)
	w.policy() // moved on in between
	if a := o.Finish(w.apply(o.Command)); !a.Again {
		t.Errorf("conflict: %+v", a)
	}
	o = w.decide(s.Create(), 1)
	if a := o.Finish(w.apply(o.Command)); a.Again || a.Cause != gtp.CauseAccepted {
		t.Errorf("second attempt: %+v", a)
	}
	// The pool has no more than four addresses, and one is taken.
	var last gtp.Cause
	for i := range 4 {
		s := gtptest.New()
		s.IMSI, s.MSISDN, s.IMEI = "46001000000000"+strconv.Itoa(i), "8613900000000", "35209900176148"
		w.do(&command.PutSubscriber{Subscriber: &command.Subscriber{Imsi: s.IMSI, Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE}, AnyVersion: true})
		a, _, done := w.carry(s.Create())
		if last = done.Cause; a.TEID != s.ControlTEID {
			t.Errorf("answered to TEID %x", a.TEID)
		}
	}
	if last != gtp.CauseAddressesOccupied {
		t.Errorf("pool full: %v", last)
	}
	for code, want := range map[command.Code]gtp.Cause{
		command.Code_REVOKED: gtp.CauseAPNDenied, command.Code_INVALID: gtp.CauseSystemFailure,
		command.Code_NOT_FOUND: gtp.CauseContextNotFound, command.Code_NO_ADDRESS: gtp.CauseAddressesOccupied,
	} {
		o := newWorld(t).decide(s.Create(), 0)
		a := o.Finish(&command.Result{Code: code})
		if r := gtptest.Read(a.Response); a.Cause != want || r.Cause() != uint8(want) {
			t.Errorf("%s: %v", code, a.Cause)
		}
	}
	if a := o.Finish(&command.Result{Code: command.Code_OK, Payload: []byte{0xff}}); a.Cause != gtp.CauseSystemFailure {
		t.Errorf("a result that can't be read: %+v", a)
	}
	if a := o.Fail(gtp.CauseSystemFailure); gtptest.Read(a.Response).TEID != s.ControlTEID {
		t.Error("failure is not answered to the sender")
	}
}
