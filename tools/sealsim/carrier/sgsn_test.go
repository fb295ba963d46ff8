package carrier

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	v1ie "github.com/wmnsk/go-gtp/gtpv1/ie"
	v1 "github.com/wmnsk/go-gtp/gtpv1/message"
	"github.com/wmnsk/go-gtp/gtpv2/message"

	"github.com/sealedge/sealedge/policy/ident"
)

// at the SGSN.
func atSGSN(n int) Subscriber {
	who := subscriber(n)
	who.GTPv1 = true
	return who
}

func attachV1(t *testing.T, c *Carrier) *Bearer {
	t.Helper()
	b, err := c.Attach(t.Context(), atSGSN(1))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPDPContextSaysWhoAndReadsWhatItGets(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		b := attachV1(t, c)
		if !b.GTPv1() || b.Address() != netip.MustParseAddr("10.90.0.1") || b.MTU() != 1400 || len(b.DNS()) != 1 {
			t.Errorf("bearer: %+v", b.Granted())
		}
		if got := b.Granted(); got.Cause != 128 || got.Charging != 1 || got.AMBR != (AMBR{50_000, 150_000}) || got.QoS != atSGSN(1).complete().QoS {
			t.Errorf("granted: %+v", got)
		}
		m, ok := (<-g.seenV1).(*v1.CreatePDPContextRequest)
		if !ok {
			t.Fatal("the first request isn't Create PDP Context")
		}
		for _, f := range []struct{ what, got, want string }{
			{"IMSI", m.IMSI.MustIMSI(), "460010000000001"},
			{"MSISDN", m.MSISDN.MustMSISDN(), "8613800000001f"}, // the library keeps the filler
			{"IMEISV", m.IMEI.MustIMEISV(), "3569380356438001"},
			{"APN", m.APN.MustAccessPointName(), "seal.corp.mnc001.mcc460.gprs"},
			{"RAI", fmt.Sprintf("%x", m.RAI.Payload), "64f0101234ff"},
			{"ULI", fmt.Sprintf("%x", m.UserLocationInformation.Payload), "0164f0101234cdef"},
			{"RAT", fmt.Sprint(m.RATType.MustRATType()), "1"},
			{"SGSN address for signalling", m.SGSNAddressForSignalling.MustGSNAddress(), sgw.String()},
			{"SGSN address for user traffic", m.SGSNAddressForUserTraffic.MustGSNAddress(), sgw.String()},
			{"NSAPI", fmt.Sprint(m.NSAPI.MustNSAPI()), "5"},
			{"end user address", fmt.Sprintf("%x", m.EndUserAddress.Payload), "f121"},
			{"recovery", fmt.Sprint(m.Recovery.MustRecovery()), "9"},
		} {
			if f.got != f.want {
				t.Errorf("%s is %q, want %q", f.what, f.got, f.want)
			}
		}
		if m.TEID() != 0 || m.TEIDDataI.MustTEID() == 0 || m.TEIDCPlane.MustTEID() == 0 {
			t.Error("header TEID must be 0 and both of ours present")
		}
		// TS 29.060 7.7: elements are in order of their types.
		raw := g.received()[0][12:]
		for last := byte(0); len(raw) > 0; {
			i := must(v1ie.Parse(raw))
			if i.Type < last {
				t.Errorf("element %d after %d", i.Type, last)
			}
			last, raw = i.Type, raw[i.MarshalLen():]
		}
	})
}

// Three digits of a network code are not two.
func TestRouteingAreaOfALongNetworkCode(t *testing.T) {
	who := subscriber(1)
	who.PLMN = must(ident.ParsePLMN("310410"))
	if got := routeingArea(who).Payload; !bytes.Equal(got, []byte{0x13, 0x00, 0x14, 0x12, 0x34, 0xff}) {
		t.Errorf("% x", got)
	}
}

func TestPDPContextRefused(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		g.refuse = 219
		_, err := c.Attach(t.Context(), atSGSN(1))
		var refused *RefusedError
		if !errors.As(err, &refused) || *refused != (RefusedError{219, true}) || refused.Error() != "refused by the gateway: cause 219 (missing or unknown APN)" {
			t.Fatalf("got %v, want cause 219", err)
		}
		if n := c.Bearers(); n != 0 {
			t.Errorf("a refused attach left %d bearers", n)
		}
	})
}

// Every mandatory part of the answer is looked for.
func TestPDPContextDistrustsTheAnswer(t *testing.T) {
	answer := func(without uint8, instead ...*v1ie.IE) []*v1ie.IE {
		all := []*v1ie.IE{
			v1ie.NewCause(128), v1ie.NewTEIDDataI(1), v1ie.NewTEIDCPlane(1), v1ie.NewChargingID(1),
			v1ie.NewEndUserAddressIPv4("10.90.0.9"), v1ie.NewGSNAddress(pgw.String()), v1ie.NewGSNAddress(pgw.String()),
			v1ie.NewQoSProfile([]byte{2, 0x0b, 0x92, 0x1f}),
		}
		var out []*v1ie.IE
		for _, i := range all {
			if i.Type != without {
				out = append(out, i)
			}
		}
		return append(out, instead...)
	}
	for name, c := range map[string]struct {
		ies   []*v1ie.IE
		other bool // TEID in the header
		good  bool
	}{
		"all there":                    {ies: answer(0), good: true},
		"no cause":                     {ies: answer(v1ie.Cause)},
		"no TEID for user traffic":     {ies: answer(v1ie.TEIDDataI)},
		"no TEID for signalling":       {ies: answer(v1ie.TEIDCPlane)},
		"TEID zero":                    {ies: answer(v1ie.TEIDDataI, v1ie.NewTEIDDataI(0))},
		"no charging ID":               {ies: answer(v1ie.ChargingID)},
		"no address":                   {ies: answer(v1ie.EndUserAddress)},
		"address cut short":            {ies: answer(v1ie.EndUserAddress, v1ie.New(v1ie.EndUserAddress, []byte{0xf1, 0x21, 10, 90}))},
		"address of PPP":               {ies: answer(v1ie.EndUserAddress, v1ie.NewEndUserAddressPPP())},
		"IPv6 unasked":                 {ies: answer(v1ie.EndUserAddress, v1ie.NewEndUserAddressIPv6("2001:db8:0:1::1:1"))},
		"no GSN address":               {ies: answer(v1ie.GSNAddress)},
		"one GSN address":              {ies: answer(v1ie.GSNAddress, v1ie.NewGSNAddress(pgw.String()))},
		"no QoS":                       {ies: answer(v1ie.QoSProfile)},
		"type narrowed without reason": {ies: answer(v1ie.Cause, v1ie.NewCause(129))},
		"PCO cut short":                {ies: answer(0, v1ie.New(v1ie.ProtocolConfigurationOptions, []byte{0x80, 0, 0x0d, 4, 10}))},
		"another TEID in the header":   {ies: answer(0), other: true},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, carrier *Carrier) {
				g.answerV1 = func(m v1.Message) v1.Message {
					teid := m.(*v1.CreatePDPContextRequest).TEIDCPlane.MustTEID()
					if c.other {
						teid++
					}
					return v1.NewGeneric(v1.MsgTypeCreatePDPContextResponse, teid, m.Sequence(), c.ies...)
				}
				_, err := carrier.Attach(t.Context(), atSGSN(1))
				if c.good != (err == nil) || !c.good && !errors.Is(err, ErrProtocol) {
					t.Errorf("got %v", err)
				}
				if !c.good && carrier.Bearers() != 0 {
					t.Error("a bearer was left behind")
				}
			})
		})
	}
}

func TestV1RequestsAreRepeatedUnchangedAndGivenUp(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		g.answerV1 = func(v1.Message) v1.Message { return nil }
		began := time.Now()
		if _, err := c.Attach(t.Context(), atSGSN(1)); !errors.Is(err, ErrNoAnswer) {
			t.Fatalf("got %v, want ErrNoAnswer", err)
		}
		all := g.received()
		if took := time.Since(began); took != 4*time.Second || len(all) != 4 {
			t.Fatalf("%d requests in %v, want 1 and 3 repetitions in T3 x (N3+1) = 4s", len(all), took)
		}
		for _, b := range all[1:] {
			if !bytes.Equal(b, all[0]) {
				t.Error("a repetition differs from the request")
			}
		}
	})
}

func TestVersionNotSupported(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		g.answerV1 = func(m v1.Message) v1.Message {
			return v1.NewGeneric(v1.MsgTypeVersionNotSupported, 0, m.Sequence())
		}
		if _, err := c.Attach(t.Context(), atSGSN(1)); !errors.Is(err, ErrProtocol) {
			t.Errorf("got %v", err)
		}
	})
}

func TestDeletePDPContext(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		b := attachV1(t, c)
		<-g.seenV1
		if err := b.Detach(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(b.Err(), ErrDetached) || c.Bearers() != 0 {
			t.Errorf("after detach: %v, %d bearers", b.Err(), c.Bearers())
		}
		if m, ok := (<-g.seenV1).(*v1.DeletePDPContextRequest); !ok || m.TEID() != 1 || m.NSAPI.MustNSAPI() != 5 || m.TeardownInd.Payload[0] != 0xff {
			t.Errorf("delete PDP context request: %+v", m)
		}
	})
}

func TestGatewayDeletesThePDPContext(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		b := attachV1(t, c)
		<-g.seenV1
		end := g.peer[1].control
		ask := func(seq uint16, nsapi uint8) *v1.DeletePDPContextResponse {
			g.sendV1(v1.NewDeletePDPContextRequest(end, seq, v1ie.NewTeardownInd(true), v1ie.NewNSAPI(nsapi)))
			m, ok := (<-g.seenV1).(*v1.DeletePDPContextResponse)
			if !ok || m.Sequence() != seq {
				t.Fatalf("answer: %+v", m)
			}
			return m
		}
		if m := ask(0x41, 6); m.Cause.MustCause() != 192 || b.Err() != nil {
			t.Errorf("another NSAPI: cause %d, bearer %v", m.Cause.MustCause(), b.Err())
		}
		for range 2 { // the second is a repetition and gets the same answer
			if m := ask(0x42, 5); m.Cause.MustCause() != 128 || m.TEID() != 1 {
				t.Errorf("answer: %+v", m)
			}
		}
		if !errors.Is(b.Err(), ErrDeletedByGateway) {
			t.Errorf("ended with %v", b.Err())
		}
		if m := ask(0x43, 5); m.Cause.MustCause() != 192 || m.TEID() != 0 {
			t.Errorf("a second deletion: %+v", m)
		}
		// A PDN connection isn't to be found by GTPv1.
		if attach(t, c); true {
			end = g.peer[2].control
			if m := ask(0x44, 5); m.Cause.MustCause() != 192 {
				t.Errorf("of a PDN connection: %+v", m)
			}
		}
	})
}

func TestEchoV1AndRestart(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		b := attachV1(t, c)
		<-g.seenV1
		if n, err := c.EchoV1(t.Context()); n != 7 || err != nil {
			t.Fatalf("echo: %d, %v", n, err)
		}
		<-g.seenV1
		c.SetRestartCounter(10)
		g.sendV1(v1.NewEchoRequest(5))
		if m, ok := (<-g.seenV1).(*v1.EchoResponse); !ok || m.Recovery.MustRecovery() != 10 || m.Sequence() != 5 {
			t.Errorf("echo: %+v", m)
		}
		if b.Err() != nil {
			t.Errorf("the carrier's own counter ended the bearer: %v", b.Err())
		}
		g.mu.Lock()
		g.recovery = 8
		g.mu.Unlock()
		if n, err := c.EchoV1(t.Context()); n != 8 || err != nil || !errors.Is(b.Err(), ErrGatewayRestarted) {
			t.Errorf("echo: %d, %v; bearer: %v", n, err, b.Err())
		}
	})
}

// A routing area update to another SGSN takes the tunnel along.
func TestRoutingAreaUpdateToAnotherSGSN(t *testing.T) {
	within(t, func(t *testing.T, n *fakeNetwork, g *gateway, c *Carrier) {
		there := netip.MustParseAddr("127.0.20.2")
		other, err := New(Config{Address: there, Gateway: pgw, T3: time.Second, N3: 3, RestartCounter: 3, Listen: n.listen})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = other.Close() }()
		b := attachV1(t, c)
		<-g.seenV1
		before := g.peer[1]
		if err := b.UpdatePDPContext(t.Context(), Move{To: other, RAT: GERAN, TAC: 7}); err != nil {
			t.Fatal(err)
		}
		m := (<-g.seenV1).(*v1.UpdatePDPContextRequest)
		if m.TEID() != 1 || m.Recovery.MustRecovery() != 3 || m.RATType.MustRATType() != 2 || m.NSAPI.MustNSAPI() != 5 || binary.BigEndian.Uint16(m.RAI.Payload[3:]) != 7 {
			t.Errorf("update: %+v", m)
		}
		if g.peer[1] == before || c.Bearers() != 0 || other.Bearers() != 1 {
			t.Errorf("ends %v and %v; bearers here %d, there %d", before, g.peer[1], c.Bearers(), other.Bearers())
		}
		_, _ = g.user.WriteToUDPAddrPort(must(v1.NewTPDU(g.peer[1].user, []byte("there")).Marshal()), netip.AddrPortFrom(there, UserPort))
		if got, err := b.Recv(t.Context()); err != nil || string(got) != "there" {
			t.Errorf("at the other SGSN: %q, %v", got, err)
		}
		if err := b.Send([]byte("up")); err != nil || other.Stats().UplinkPackets != 1 {
			t.Errorf("sent by the other SGSN: %+v, %v", other.Stats(), err)
		}
		_ = g.userMessage()
		g.downlink(before.user, []byte("late"))
		if kind := g.userMessage().MessageType(); kind != v1.MsgTypeErrorIndication {
			t.Errorf("the old tunnel answered with type %d, want an error indication", kind)
		}
		if err := b.Detach(t.Context()); err != nil || other.Bearers() != 0 {
			t.Errorf("detach: %v, %d bearers", err, other.Bearers())
		}
	})
}

func TestRefusedUpdateChangesNothing(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		b := attachV1(t, c)
		before := g.peer[1]
		g.refuse = 200
		var refused *RefusedError
		if err := b.UpdatePDPContext(t.Context(), Move{NewTunnel: true}); !errors.As(err, &refused) || refused.Cause != 200 {
			t.Fatalf("got %v", err)
		}
		g.downlink(before.user, []byte("still"))
		if got, err := b.Recv(t.Context()); err != nil || string(got) != "still" {
			t.Errorf("after a refused update: %q, %v", got, err)
		}
		g.refuse = 192
		if err := b.UpdatePDPContext(t.Context(), Move{}); err == nil || !errors.Is(b.Err(), ErrContextNotFound) {
			t.Errorf("of an unknown context: %v, bearer %v", err, b.Err())
		}
	})
}

// A session goes from LTE to UMTS and back, and keeps its address.
func TestHandoverBetweenVersions(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		b := attach(t, c)
		<-g.seen
		given := b.Granted()
		carries := func(when string) {
			t.Helper()
			g.downlink(g.peer[1].user, []byte(when))
			if got, err := b.Recv(t.Context()); err != nil || string(got) != when {
				t.Errorf("%s: %q, %v", when, got, err)
			}
		}
		lte := g.peer[1]
		if err := b.UpdatePDPContext(t.Context(), Move{RAT: UTRAN}); err != nil {
			t.Fatal(err)
		}
		m := (<-g.seenV1).(*v1.UpdatePDPContextRequest)
		if m.TEID() != 1 || m.NSAPI.MustNSAPI() != 5 || m.QoSProfile.MustQoSProfile()[0] != 2 || len(m.QoSProfile.Payload) < 12 {
			t.Errorf("update: %+v", m)
		}
		umts := g.peer[1]
		if !b.GTPv1() || umts == lte || b.Address() != given.Address {
			t.Errorf("after the handover: %v, %v", umts, b.Address())
		}
		carries("on UMTS")
		if err := b.ModifyBearer(t.Context(), Move{RAT: EUTRAN}); err != nil {
			t.Fatal(err)
		}
		n := (<-g.seen).(*message.ModifyBearerRequest)
		if n.TEID() != 1 || n.SenderFTEIDC == nil || fteidOf(n.BearerContextsToBeModified[0], 1) == 0 || n.RATType.MustRATType() != 6 {
			t.Errorf("modify bearer: %+v", n)
		}
		if b.GTPv1() || g.peer[1] == umts || b.Address() != given.Address || c.Bearers() != 1 {
			t.Errorf("back: %v, %v, %d bearers", g.peer[1], b.Address(), c.Bearers())
		}
		carries("back on LTE")
		if err := b.Detach(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, ok := (<-g.seen).(*message.DeleteSessionRequest); !ok {
			t.Error("detached by the wrong version")
		}
	})
}
