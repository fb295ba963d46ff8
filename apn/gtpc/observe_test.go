package gtpc

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/policy"
)

var gateway = netip.MustParseAddrPort("127.0.10.1:2123")

// LocalAddr makes the fake socket tell its address.
func (c *fakeConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(gateway) }

// Every message is reported, in both directions, with whom it is about and what
// came of it: also what gets no answer.
func TestObserve(t *testing.T) {
	var events []Event
	deletes := 0
	h := handlerFunc(func(_ context.Context, _ netip.AddrPort, m gtp.Message) Reply {
		if m.Head().Type == gtp.TypeDeleteSessionRequest {
			if deletes++; deletes > 1 {
				return Reply{Comment: "nobody knows yet"}
			}
		}
		return Reply{Datagram: []byte("answer"), Cause: gtp.CauseAccepted, IMSI: imsi, Comment: "decided"}
	})
	cfg := Config{
		Observe: func(e Event) { events = append(events, e) },
		Rules:   oneCarrier(func(c *policy.Carrier) { c.RATs = []policy.RAT{6} }),
		T3:      time.Second, N3: 2,
	}
	inBubble(t, cfg, h, func(t *testing.T, r *rig) {
		start := time.Now()
		expect := func(what string, want ...string) {
			t.Helper()
			r.conn.sent()
			var got []string
			for _, e := range events {
				direction := "from"
				if e.Sent {
					direction = "to"
				}
				got = append(got, fmt.Sprintf("%s %s %q %s: %s", direction, e.Peer, e.Datagram[1], e.IMSI, e.Comment))
				if e.Local != gateway || e.Time.Before(start) {
					t.Errorf("%s: %+v", what, e)
				}
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s:\n%q, want\n%q", what, got, want)
			}
			events = nil
		}
		s := gtptest.New()
		r.from(sgw, s.Create())
		expect("a request", `from 127.0.20.1:2123 ' ' 460011234567890: decided`, `to 127.0.20.1:2123 'n' 460011234567890: request accepted (16)`)
		r.from(sgw, s.Create())
		expect("its duplicate", `from 127.0.20.1:2123 ' ' 460011234567890: duplicate of a request that was answered`, `to 127.0.20.1:2123 'n' 460011234567890: repeated`)
		r.from(sgw, s.Delete(7))
		r.conn.sent()
		events = nil
		s.Seq++
		r.from(sgw, s.Delete(7))
		expect("no answer", `from 127.0.20.1:2123 '$' : nobody knows yet`)
		s.RAT = 1
		r.from(sgw, s.Create())
		expect("dropped by the firewall", `from 127.0.20.1:2123 ' ' 460011234567890: dropped: rat-not-of-peer`)
		r.from(sgw, s.Echo())
		expect("an echo", `from 127.0.20.1:2123 '\x01' : `, `to 127.0.20.1:2123 '\x02' : `)

		session := lostSession()
		session.Imsi = imsi
		done := make(chan error, 1)
		go func() { done <- r.DeleteSession(t.Context(), session) }()
		request := r.conn.sent()[0].b
		after(time.Second)
		r.from(sgw, deleteBearerResponse(request, 16))
		r.from(sgw, deleteBearerResponse(request, 16))
		expect("a request of ours",
			`to 127.0.20.1:2123 'c' 460011234567890: network-initiated-delete`,
			`to 127.0.20.1:2123 'c' 460011234567890: network-initiated-delete, repeated`,
			`from 127.0.20.1:2123 'd' 460011234567890: request accepted (16)`,
			`from 127.0.20.1:2123 'd' : dropped: orphan-response`)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// What is reported is the datagram, whole.
func TestObserveDatagram(t *testing.T) {
	var got [][]byte
	inBubble(t, Config{Observe: func(e Event) { got = append(got, e.Datagram) }}, answering("ok"), func(t *testing.T, r *rig) {
		request := gtptest.New().Create()
		r.from(sgw, request)
		r.conn.sent()
		if len(got) != 2 || !bytes.Equal(got[0], request) || string(got[1]) != "ok" {
			t.Errorf("% x", got)
		}
	})
}

// Procedures are counted by version, cause and carrier, and a duplicate isn't one.
func TestByProcedure(t *testing.T) {
	h := handlerFunc(func(_ context.Context, _ netip.AddrPort, m gtp.Message) Reply {
		switch m := m.(type) {
		case *gtp.CreateSessionRequest, *gtp.CreatePDPContextRequest:
			return Reply{Datagram: []byte("no"), Cause: gtp.CauseAPNDenied}
		case *gtp.ModifyBearerRequest:
			return Reply{}
		case *gtp.Other:
			return Reply{Datagram: []byte("no"), Cause: gtp.CauseServiceNotSupported}
		default:
			return Reply{Datagram: []byte{m.Head().Type}, Cause: gtp.CauseAccepted}
		}
	})
	full := false
	cfg := Config{T3: time.Second, N3: 1, Full: func() bool { return full }}
	cfg.Rules = func() *policy.Rules {
		return &policy.Rules{Carriers: []policy.Carrier{
			{Name: "alpha", Peers: prefixes("127.0.20.1/32")}, {Peers: prefixes("127.0.20.2/32")},
		}}
	}
	inBubble(t, cfg, h, func(t *testing.T, r *rig) {
		one, two := gtptest.NewSGSN(), gtptest.New()
		for range 3 {
			r.from(sgw, two.Create())
			r.conn.sent()
		}
		for _, peer := range []netip.AddrPort{sgw, another, netip.AddrPortFrom(another.Addr(), 5000)} {
			one.Addr, two.Addr = peer.Addr(), peer.Addr()
			r.from(peer, one.Delete(7))
			r.from(peer, two.Modify(7, true))
		}
		r.from(sgw, two.Request(200, 0))
		full = true
		r.from(another, one.Create())
		done := r.deleting(t.Context())
		<-done
		r.conn.sent()
		got := r.ByProcedure()
		want := []ProcedureCount{
			{1, "create-pdp-context", "no resources available (73)", "127.0.20.0/24", 1},
			{1, "delete-pdp-context", "request accepted (16)", "127.0.20.0/24", 2},
			{1, "delete-pdp-context", "request accepted (16)", "alpha", 1},
			{2, "create-session", "APN access denied - no subscription (93)", "alpha", 1},
			{2, "modify-bearer", "none", "127.0.20.0/24", 2},
			{2, "modify-bearer", "none", "alpha", 1},
			{2, "network-initiated-delete", "no answer", "alpha", 1},
			{2, "update-pdn-connection-set", "service not supported (68)", "alpha", 1},
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	})
}

// However many carriers a policy makes up, the counts stay few.
func TestTalliesAreBounded(t *testing.T) {
	var c tallies
	for i := range 2 * maxTallies {
		c.add(2, "create-session", "none", fmt.Sprint("carrier ", i))
	}
	list := c.list()
	total := uint64(0)
	for _, p := range list {
		total += p.N
	}
	if len(list) > maxTallies+2 || total != 2*maxTallies {
		t.Errorf("%d ways, %d in all", len(list), total)
	}
}

// How long requests take is told with what came of them: from their arrival, and once
// however often they are repeated.
func TestAnsweredTellsTheTime(t *testing.T) {
	h := handlerFunc(func(_ context.Context, _ netip.AddrPort, m gtp.Message) Reply {
		switch m.(type) {
		case *gtp.CreateSessionRequest:
			time.Sleep(300 * time.Millisecond)
			return Reply{Datagram: []byte("no"), Cause: gtp.CauseAPNDenied}
		case *gtp.ModifyBearerRequest:
			return Reply{} // no answer
		default:
			return Reply{Datagram: []byte("yes"), Cause: gtp.CauseAccepted}
		}
	})
	full := false
	var got []string
	cfg := Config{T3: time.Second, N3: 1, Full: func() bool { return full }}
	cfg.Answered = func(procedure, cause string, took time.Duration) {
		got = append(got, fmt.Sprint(procedure, ", ", cause, ", ", took))
	}
	inBubble(t, cfg, h, func(t *testing.T, r *rig) {
		one, two := gtptest.NewSGSN(), gtptest.New()
		for range 2 {
			r.from(sgw, two.Create())
		}
		time.Sleep(time.Second)
		r.from(sgw, two.Create())
		r.from(sgw, two.Modify(7, true))
		r.from(sgw, one.Delete(7))
		r.conn.sent()
		full = true
		r.from(another, one.Create())
		r.conn.sent()
	})
	want := []string{
		"create-session, APN access denied - no subscription (93), 300ms",
		"delete-pdp-context, request accepted (16), 0s",
		"create-pdp-context, no resources available (73), 0s",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
