package carrier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	v1ie "github.com/wmnsk/go-gtp/gtpv1/ie"
	v1 "github.com/wmnsk/go-gtp/gtpv1/message"
	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"

	"github.com/sealedge/sealedge/policy/ident"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func subscriber(n int) Subscriber {
	return Subscriber{
		IMSI:   must(ident.ParseIMSI(fmt.Sprintf("46001%010d", n))),
		MSISDN: must(ident.ParseMSISDN("8613800000001")),
		IMEI:   must(ident.ParseIMEI("356938035643809")),
		APN:    must(ident.ParseAPN("seal.corp")),
		PLMN:   must(ident.ParsePLMN("46001")),
		TAC:    0x1234, Cell: 0x0abcdef,
	}
}

func start(t *testing.T, n *fakeNetwork) *Carrier {
	t.Helper()
	c, err := New(Config{Address: sgw, Gateway: pgw, T3: time.Second, N3: 3, RestartCounter: 9, Listen: n.listen})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// within runs fn in a bubble with a network and a gateway.
func within(t *testing.T, fn func(t *testing.T, n *fakeNetwork, g *gateway, c *Carrier)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNetwork()
		g := newGateway(t, n)
		fn(t, n, g, start(t, n))
	})
}

func TestAttachSaysWhoAndReadsWhatItGets(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		b, err := c.Attach(t.Context(), subscriber(1))
		if err != nil {
			t.Fatal(err)
		}
		if b.Address() != netip.MustParseAddr("10.90.0.1") || b.MTU() != 1400 || len(b.DNS()) != 1 || b.DNS()[0] != netip.MustParseAddr("10.90.0.53") {
			t.Errorf("bearer: %v, MTU %d, DNS %v", b.Address(), b.MTU(), b.DNS())
		}
		m, ok := (<-g.seen).(*message.CreateSessionRequest)
		if !ok {
			t.Fatal("the first request isn't Create Session")
		}
		for _, f := range []struct{ what, got, want string }{
			{"IMSI", m.IMSI.MustIMSI(), "460010000000001"},
			{"MSISDN", m.MSISDN.MustMSISDN(), "8613800000001"},
			{"MEI", m.MEI.MustMobileEquipmentIdentity(), "3569380356438001"},
			{"APN", m.APN.MustAccessPointName(), "seal.corp.mnc001.mcc460.gprs"},
			{"serving network", fmt.Sprintf("%s%s", m.ServingNetwork.MustMCC(), m.ServingNetwork.MustMNC()), "46001"},
			{"RAT", fmt.Sprint(m.RATType.MustRATType()), "6"},
			{"sender F-TEID", fmt.Sprint(m.SenderFTEIDC.MustInterfaceType()), "6"},
			{"PDN type", fmt.Sprint(m.PDNType.MustPDNType()), "1"},
			{"recovery", fmt.Sprint(m.Recovery.MustRecovery()), "9"},
		} {
			if f.got != f.want {
				t.Errorf("%s is %q, want %q", f.what, f.got, f.want)
			}
		}
		if m.TEID() != 0 || fteidOf(m.BearerContextsToBeCreated[0], 2) == 0 {
			t.Error("header TEID must be 0 and the S5/S8-U SGW F-TEID present")
		}
		if n := c.Bearers(); n != 1 {
			t.Errorf("%d bearers, want 1", n)
		}
	})
}

func TestAttachRefused(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		g.cause = 93
		_, err := c.Attach(t.Context(), subscriber(1))
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Cause != 93 {
			t.Fatalf("got %v, want cause 93", err)
		}
		if n := c.Bearers(); n != 0 {
			t.Errorf("a refused attach left %d bearers", n)
		}
	})
}

// Every mandatory part of the answer is looked for.
func TestAttachDistrustsTheAnswer(t *testing.T) {
	bearer := func(ies ...*ie.IE) *ie.IE { return ie.NewBearerContext(ies...) }
	ok := ie.NewCause(16, 0, 0, 0, nil)
	control := ie.NewFullyQualifiedTEID(ifS5PGWControl, 1, pgw.String(), "").WithInstance(1)
	user := ie.NewFullyQualifiedTEID(ifS5PGWUser, 1, pgw.String(), "").WithInstance(2)
	paa := ie.NewPDNAddressAllocation("10.90.0.9")
	good := bearer(ie.NewEPSBearerID(5), ok, user)
	for name, ies := range map[string][]*ie.IE{
		"no cause":                 {control, paa, good},
		"no control F-TEID":        {ok, paa, good},
		"control F-TEID of an MME": {ok, ie.NewFullyQualifiedTEID(10, 1, pgw.String(), "").WithInstance(1), paa, good},
		"control TEID zero":        {ok, ie.NewFullyQualifiedTEID(ifS5PGWControl, 0, pgw.String(), "").WithInstance(1), paa, good},
		"no PAA":                   {ok, control, good},
		"PAA without address":      {ok, control, ie.NewPDNAddressAllocation("0.0.0.0"), good},
		"PAA cut short":            {ok, control, ie.New(ie.PDNAddressAllocation, 0, []byte{1, 10}), good},
		"no bearer context":        {ok, control, paa},
		"bearer of another EBI":    {ok, control, paa, bearer(ie.NewEPSBearerID(6), ok, user)},
		"bearer without cause":     {ok, control, paa, bearer(ie.NewEPSBearerID(5), user)},
		"bearer without F-TEID":    {ok, control, paa, bearer(ie.NewEPSBearerID(5), ok)},
		"F-TEID at instance 0":     {ok, control, paa, bearer(ie.NewEPSBearerID(5), ok, ie.NewFullyQualifiedTEID(ifS5PGWUser, 1, pgw.String(), ""))},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
				g.answer = func(m message.Message) any {
					teid := m.(*message.CreateSessionRequest).SenderFTEIDC.MustTEID()
					return g.marshal(message.NewGeneric(message.MsgTypeCreateSessionResponse, teid, m.Sequence(), ies...))
				}
				if _, err := c.Attach(t.Context(), subscriber(1)); !errors.Is(err, ErrProtocol) {
					t.Errorf("got %v, want a protocol error", err)
				}
				if c.Bearers() != 0 {
					t.Error("a bearer was left behind")
				}
			})
		})
	}
}

// An answer to a TEID that isn't ours is not for us, however good it is.
func TestAnswerToAnotherTEID(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		g.answer = func(m message.Message) any {
			created := g.create(m.(*message.CreateSessionRequest)).(*message.CreateSessionResponse)
			created.SetTEID(created.TEID() + 1)
			return g.marshal(created)
		}
		if _, err := c.Attach(t.Context(), subscriber(1)); !errors.Is(err, ErrProtocol) {
			t.Errorf("got %v, want a protocol error", err)
		}
	})
}

func TestRequestsAreRepeatedUnchangedAndGivenUp(t *testing.T) {
	within(t, func(t *testing.T, n *fakeNetwork, g *gateway, c *Carrier) {
		silent := struct{}{}
		g.answer = func(message.Message) any { return silent }
		began := time.Now()
		_, err := c.Attach(t.Context(), subscriber(1))
		if !errors.Is(err, ErrNoAnswer) {
			t.Fatalf("got %v, want ErrNoAnswer", err)
		}
		if took := time.Since(began); took != 4*time.Second {
			t.Errorf("gave up after %v, want T3 x (N3+1) = 4s", took)
		}
		all := g.received()
		if len(all) != 4 {
			t.Fatalf("%d requests, want 1 and 3 repetitions", len(all))
		}
		for _, b := range all[1:] {
			if !bytes.Equal(b, all[0]) {
				t.Error("a repetition differs from the request")
			}
		}
		if s := c.Stats(); s.Retransmitted != 3 || s.Unanswered != 1 {
			t.Errorf("stats: %+v", s)
		}
	})
}

func TestLostAnswerIsAskedForAgain(t *testing.T) {
	within(t, func(t *testing.T, n *fakeNetwork, g *gateway, c *Carrier) {
		lost := 0
		n.drop = func(to netip.AddrPort, _ []byte) bool {
			lost++
			return to.Addr() == sgw && lost < 4
		}
		if _, err := c.Attach(t.Context(), subscriber(1)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCancelledAttachLeavesNothing(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		g.answer = func(message.Message) any { return false }
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-g.seen
			cancel()
		}()
		if _, err := c.Attach(ctx, subscriber(1)); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		if c.Bearers() != 0 || len(c.asked.waiting) != 0 {
			t.Error("something was left behind")
		}
	})
}

func TestThousandsAtOnce(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, _ *gateway, c *Carrier) {
		const many = 2000
		var group sync.WaitGroup
		addresses := make([]netip.Addr, many)
		for i := range many {
			group.Go(func() {
				if b, err := c.Attach(t.Context(), subscriber(i)); err != nil {
					t.Error(err)
				} else {
					addresses[i] = b.Address()
				}
			})
		}
		group.Wait()
		seen := make(map[netip.Addr]bool)
		for _, a := range addresses {
			seen[a] = true
		}
		if len(seen) != many || c.Bearers() != many {
			t.Errorf("%d addresses and %d bearers, want %d", len(seen), c.Bearers(), many)
		}
	})
}

func attach(t *testing.T, c *Carrier) *Bearer {
	t.Helper()
	b, err := c.Attach(t.Context(), subscriber(1))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDetach(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		b := attach(t, c)
		if err := b.Detach(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-b.Done()
		if !errors.Is(b.Err(), ErrDetached) || c.Bearers() != 0 {
			t.Errorf("after detach: %v, %d bearers", b.Err(), c.Bearers())
		}
		if err := b.Send([]byte{0x45}); !errors.Is(err, ErrDetached) {
			t.Errorf("send after detach: %v", err)
		}
		if err := b.Detach(t.Context()); !errors.Is(err, ErrDetached) {
			t.Errorf("second detach: %v", err)
		}
		<-g.seen
		if m, ok := (<-g.seen).(*message.DeleteSessionRequest); !ok || m.TEID() != 1 || m.LinkedEBI.MustEPSBearerID() != 5 {
			t.Errorf("delete session request: %+v", m)
		}
	})
}

func TestHandoverMovesTheTunnel(t *testing.T) {
	within(t, func(t *testing.T, n *fakeNetwork, g *gateway, c *Carrier) {
		b := attach(t, c)
		before := g.peer[1]
		if err := b.ModifyBearer(t.Context(), Move{PLMN: must(ident.ParsePLMN("46000")), RAT: NR, NewTunnel: true}); err != nil {
			t.Fatal(err)
		}
		after := g.peer[1]
		if after == before || after.user == 0 {
			t.Fatalf("tunnel ends before %v, after %v", before, after)
		}
		g.downlink(after.user, []byte("new"))
		if got, err := b.Recv(t.Context()); err != nil || string(got) != "new" {
			t.Errorf("on the new tunnel: %q, %v", got, err)
		}
		g.downlink(before.user, []byte("old"))
		if kind := g.userMessage().MessageType(); kind != v1.MsgTypeErrorIndication {
			t.Errorf("the old tunnel answered with type %d, want an error indication", kind)
		}
	})
}

func TestRefusedHandoverChangesNothing(t *testing.T) {
	within(t, func(t *testing.T, n *fakeNetwork, g *gateway, c *Carrier) {
		b := attach(t, c)
		before := g.peer[1]
		g.cause = 89
		var refused *RefusedError
		if err := b.ModifyBearer(t.Context(), Move{RAT: NR, NewTunnel: true}); !errors.As(err, &refused) || refused.Cause != 89 {
			t.Fatalf("got %v", err)
		}
		g.downlink(before.user, []byte("still"))
		if got, err := b.Recv(t.Context()); err != nil || string(got) != "still" {
			t.Errorf("after a refused handover: %q, %v", got, err)
		}
		if len(c.byUser) != 1 || len(c.byControl) != 1 {
			t.Errorf("tunnel ends left behind: %d, %d", len(c.byUser), len(c.byControl))
		}
		if b.who.RAT != EUTRAN {
			t.Error("the subscriber moved all the same")
		}
	})
}

func TestModifyOfASessionThatTheGatewayLost(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		b := attach(t, c)
		g.cause = 64
		if err := b.ModifyBearer(t.Context(), Move{}); err == nil {
			t.Fatal("accepted")
		}
		<-b.Done()
		if !errors.Is(b.Err(), ErrContextNotFound) || c.Bearers() != 0 {
			t.Errorf("ended with %v", b.Err())
		}
	})
}

func TestCutIsSilentAndRestoreGoesOn(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		b := attach(t, c)
		<-g.seen
		c.Cut()
		if err := b.Send([]byte("lost")); err != nil {
			t.Errorf("a cut is silent, got %v", err)
		}
		if _, err := c.Attach(t.Context(), subscriber(2)); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("attach while cut: %v", err)
		}
		g.downlink(g.peer[1].user, []byte("lost too"))
		synctest.Wait()
		if len(g.received()) != 1 {
			t.Error("signalling left the cut network")
		}
		c.Restore()
		if b.Err() != nil {
			t.Fatalf("the cut ended the bearer: %v", b.Err())
		}
		g.downlink(g.peer[1].user, []byte("back"))
		if got, err := b.Recv(t.Context()); err != nil || string(got) != "back" {
			t.Errorf("after restore: %q, %v", got, err)
		}
	})
}

func TestErrorIndicationEndsTheBearer(t *testing.T) {
	within(t, func(t *testing.T, n *fakeNetwork, g *gateway, c *Carrier) {
		b := attach(t, c)
		indicate := func(from Conn, teid uint32) {
			wire := must(v1.NewErrorIndication(0, 1, v1ie.NewTEIDDataI(teid), v1ie.NewGSNAddress(pgw.String())).Marshal())
			_, _ = from.WriteToUDPAddrPort(wire, netip.AddrPortFrom(sgw, UserPort))
		}
		stranger := must(n.listen(netip.MustParseAddrPort("127.0.66.6:2152")))
		indicate(stranger, 1)
		indicate(g.user, 77)
		synctest.Wait()
		if b.Err() != nil {
			t.Fatalf("ended by a stranger or for another tunnel: %v", b.Err())
		}
		indicate(g.user, 1)
		<-b.Done()
		if !errors.Is(b.Err(), ErrErrorIndication) || c.Bearers() != 0 {
			t.Errorf("after an error indication: %v", b.Err())
		}
	})
}

func TestGatewayDeletesTheBearer(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		b := attach(t, c)
		<-g.seen
		for range 2 { // the second is a repetition and gets the same answer
			g.send(message.NewDeleteBearerRequest(g.peer[1].control, 0x42, ie.NewEPSBearerID(5)))
			m, ok := (<-g.seen).(*message.DeleteBearerResponse)
			if !ok || m.Cause.MustCause() != 16 || m.TEID() != 1 || m.Sequence() != 0x42 || m.LinkedEBI.MustEPSBearerID() != 5 {
				t.Fatalf("answer: %+v", m)
			}
		}
		<-b.Done()
		if !errors.Is(b.Err(), ErrDeletedByGateway) {
			t.Errorf("ended with %v", b.Err())
		}
		g.send(message.NewDeleteBearerRequest(g.peer[1].control, 0x43, ie.NewEPSBearerID(5)))
		if m, ok := (<-g.seen).(*message.DeleteBearerResponse); !ok || m.Cause.MustCause() != 64 {
			t.Errorf("a second deletion: %+v", m)
		}
	})
}

func TestOtherRequestsOfTheGateway(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		b := attach(t, c)
		<-g.seen
		g.send(message.NewEchoRequest(1, ie.NewRecovery(7)))
		if m, ok := (<-g.seen).(*message.EchoResponse); !ok || m.Recovery.MustRecovery() != 9 {
			t.Errorf("echo: %+v", m)
		}
		control := g.peer[1].control
		g.send(message.NewUpdateBearerRequest(control, 2, ie.NewBearerContext(ie.NewEPSBearerID(5)), ie.NewAggregateMaximumBitRate(1, 1)))
		if m, ok := (<-g.seen).(*message.UpdateBearerResponse); !ok || m.Cause.MustCause() != 16 || m.BearerContexts == nil {
			t.Errorf("update bearer: %+v", m)
		}
		g.send(message.NewCreateBearerRequest(control, 3, ie.NewEPSBearerID(5), ie.NewBearerContext(ie.NewEPSBearerID(0))))
		if m, ok := (<-g.seen).(*message.CreateBearerResponse); !ok || m.Cause.MustCause() != causeUERefuses || m.BearerContexts == nil {
			t.Errorf("create bearer: %+v", m)
		}
		if b.Err() != nil {
			t.Errorf("the bearer ended: %v", b.Err())
		}
	})
}

func TestGatewayRestartLosesTheSessions(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		b := attach(t, c)
		if n, err := c.Echo(t.Context()); err != nil || n != 7 || b.Err() != nil {
			t.Fatalf("echo: %d, %v; bearer: %v", n, err, b.Err())
		}
		g.mu.Lock()
		g.recovery = 8
		g.mu.Unlock()
		if n, err := c.Echo(t.Context()); err != nil || n != 8 {
			t.Fatalf("echo: %d, %v", n, err)
		}
		if !errors.Is(b.Err(), ErrGatewayRestarted) {
			t.Errorf("bearer after the restart: %v", b.Err())
		}
		if n, known := c.GatewayRestarts(); n != 8 || !known {
			t.Errorf("restart counter %d, %v", n, known)
		}
	})
}

func TestEchoOfTheUserPlane(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, _ *Carrier) {
		_, _ = g.user.WriteToUDPAddrPort(must(v1.NewEchoRequest(0x1234).Marshal()), netip.AddrPortFrom(sgw, UserPort))
		if m, ok := g.userMessage().(*v1.EchoResponse); !ok || m.Sequence() != 0x1234 || m.Recovery.MustRecovery() != 0 {
			t.Errorf("echo response: %+v", m)
		}
	})
}

// The attach that brings the news of a restart survives it.
func TestAttachAfterAGatewayRestart(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		old := attach(t, c)
		g.mu.Lock()
		g.recovery = 8
		g.mu.Unlock()
		young := attach(t, c)
		if !errors.Is(old.Err(), ErrGatewayRestarted) || young.Err() != nil || c.Bearers() != 1 {
			t.Errorf("old bearer: %v, new one: %v, %d bearers", old.Err(), young.Err(), c.Bearers())
		}
	})
}

func TestCloseEndsEverything(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, _ *gateway, c *Carrier) {
		b := attach(t, c)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Recv(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("recv: %v", err)
		}
		if _, err := c.Attach(t.Context(), subscriber(2)); !errors.Is(err, ErrClosed) {
			t.Errorf("attach: %v", err)
		}
	})
}
