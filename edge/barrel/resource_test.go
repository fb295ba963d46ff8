package barrel

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/barrel/rfc7905"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
)

// reserve opens a use of two stampings of Barrel.
func (w *world) reserve() *command.Use {
	w.t.Helper()
	var sub *command.Subscriber
	var b *command.Barrel
	var session *command.Session
	w.View(func(m *state.Machine) {
		sub, b = m.Subscriber(usetest.Terminal), m.Barrel(usetest.Barrel)
		session = m.SessionByAddress(usetest.Address(usetest.Terminal))
	})
	now := time.Now()
	res, err := w.Propose(context.Background(), command.New("phone:"+usetest.Terminal, "r1", "test", &command.ReserveUses{
		Order: usetest.Order, Barrel: b.Id, Imsi: sub.Imsi, User: usetest.User, SealType: b.SealType, Level: 1,
		Methods: []string{wire.MethodFace, wire.MethodFingerprint}, Count: 2, Permitted: 2,
		NotBefore: now.Add(-time.Hour).UnixNano(), NotAfter: now.Add(time.Hour).UnixNano(),
		GrantNotAfter: now.Add(time.Minute).UnixNano(), EvidenceSeconds: 120, PolicyRevision: 1,
		SubscriberVersion: sub.Version, BarrelVersion: b.Version, Session: session.Id,
	}))
	use := new(command.Use)
	if err != nil || res.Into(use) != nil {
		w.t.Fatalf("reserve: %v, %v", res, err)
	}
	return use
}

func (d *device) owe(path string, raw []byte) message.Message {
	d.t.Helper()
	return d.do(d.post(path, wire.ContentCOSE, raw))
}

// Receipts and the settlement go into the ledger before they are answered; a
// repeat, also by another association after a failover, is answered alike.
func TestReceiptsAndSettlement(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		use := w.reserve()
		first := usetest.Receipt(t, use, 1)

		w.Fail(command.ErrNoQuorum)
		wantCode(t, d.owe(wire.PathBarrelReceipt, first), codes.ServiceUnavailable, wire.CodeNoQuorum)
		w.Fail(nil)
		w.LoseAnswer()
		wantCode(t, d.owe(wire.PathBarrelReceipt, first), codes.ServiceUnavailable, wire.CodeOutcomeUnknown)

		want := wire.ReceiptAnswer{Use: use.Id, Confirmed: 1}
		for again := range 3 {
			if again == 2 {
				d = w.connect(usetest.Barrel, usetest.Terminal, 40002)
			}
			var got wire.ReceiptAnswer
			m := d.owe(wire.PathBarrelReceipt, first)
			wantCode(t, m, codes.Changed, "")
			into(t, m, &got)
			if got != want {
				t.Errorf("answered %+v, want %+v", got, want)
			}
		}
		statement := usetest.Statement(t, use, 1)
		for range 2 {
			var got wire.ReceiptAnswer
			m := d.owe(wire.PathBarrelSettle, statement)
			wantCode(t, m, codes.Changed, "")
			into(t, m, &got)
			if got != (wire.ReceiptAnswer{Use: use.Id, Confirmed: 1, Settled: true}) {
				t.Errorf("answered %+v", got)
			}
		}
		if u := w.Use(use.Id); u.State != command.UseState_SETTLED || u.Confirmed != 1 || u.Refunded != 1 {
			t.Errorf("the ledger has %v", u)
		}
		if o := w.Order(usetest.Order); o.Confirmed != 1 || o.Reserved != 0 {
			t.Errorf("the ledger has %v", o)
		}
	})
}

// What isn't this barrel's word is refused.
func TestReceiptsOfOthers(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		use := w.reserve()
		receipt := usetest.Receipt(t, use, 1)
		other := w.connect(usetest.OtherBarrel, usetest.Other, 40001)
		wantCode(t, other.owe(wire.PathBarrelReceipt, receipt), codeUnprocessable, wire.CodeReceiptInvalid)
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		wantCode(t, d.owe(wire.PathBarrelReceipt, receipt[:40]), codeUnprocessable, wire.CodeReceiptInvalid)
		wantCode(t, d.owe(wire.PathBarrelSettle, receipt), codeUnprocessable, wire.CodeReceiptInvalid)
		if u := w.Use(use.Id); u.Confirmed != 0 {
			t.Errorf("the ledger has %v", u)
		}
	})
}

// Tampering stops the use, ends the lease and asks for a lock, once.
func TestTamper(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		d.beat(idle)
		use := w.reserve()
		e := wire.BarrelEvent{Kind: wire.EventTamper, Detail: "case\nopened", At: time.Now().UnixMilli(), Sequence: 3, Use: use.Id}
		for range 3 {
			m := d.do(d.post(wire.PathBarrelEvent, wire.ContentCBOR, wire.MarshalCBOR(e)))
			wantCode(t, m, codes.Changed, "")
		}
		if w.server.Alive(usetest.Barrel) {
			t.Error("alive after it was tampered with")
		}
		if u := w.Use(use.Id); u.State != command.UseState_STOPPED {
			t.Errorf("the use is %v", u.State)
		}
		var locks int
		w.View(func(m *state.Machine) { locks = m.Counts().Locks })
		if locks != 1 {
			t.Errorf("%d locks, want 1", locks)
		}
		if l := d.obey(); l.Use != use.Id {
			t.Errorf("told to lock by %+v", l)
		}
		w.Fail(command.ErrNoQuorum)
		e.Sequence++
		m := d.do(d.post(wire.PathBarrelEvent, wire.ContentCBOR, wire.MarshalCBOR(e)))
		wantCode(t, m, codes.ServiceUnavailable, wire.CodeNoQuorum)
	})
}

// A barrel that lost its memory counts its events anew: an alarm locks, though
// one of that number did before.
func TestTamperAfterLostMemory(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		e := wire.BarrelEvent{Kind: wire.EventTamper, At: time.Now().UnixMilli(), Sequence: 1}
		tamper := func() message.Message {
			return d.do(d.post(wire.PathBarrelEvent, wire.ContentCBOR, wire.MarshalCBOR(e)))
		}
		wantCode(t, tamper(), codes.Changed, "")
		e.At += time.Hour.Milliseconds()
		wantCode(t, tamper(), codes.Changed, "")
		locks := func() (n int) {
			w.View(func(m *state.Machine) { n = m.Counts().Locks })
			return n
		}
		if n := locks(); n != 2 {
			t.Errorf("%d locks of two alarms", n)
		}
		// One that cries for ever fills neither the log nor the table of locks.
		var m message.Message
		for e.Sequence < 100 {
			e.Sequence++
			m = tamper()
		}
		wantCode(t, m, codes.TooManyRequests, wire.CodeRateLimited)
		if n := locks(); n > 20 {
			t.Errorf("%d locks of one barrel", n)
		}
	})
}

func TestEvents(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		post := func(e wire.BarrelEvent) message.Message {
			return d.do(d.post(wire.PathBarrelEvent, wire.ContentCBOR, wire.MarshalCBOR(e)))
		}
		wantCode(t, post(wire.BarrelEvent{Kind: wire.EventLowBattery, Detail: "9 %\x00", Sequence: 1}), codes.Changed, "")
		// The same number for something else, after its memory was lost: taken, so
		// that it isn't repeated for ever.
		wantCode(t, post(wire.BarrelEvent{Kind: wire.EventReboot, Sequence: 1}), codes.Changed, "")
		wantCode(t, post(wire.BarrelEvent{Sequence: 2}), codes.BadRequest, wire.CodeBadRequest)
		limited := false
		for n := range uint64(40) {
			m := post(wire.BarrelEvent{Kind: wire.EventVerifyFail, Sequence: 10 + n})
			limited = limited || m.Code == codes.TooManyRequests
		}
		if !limited {
			t.Error("forty events at once were all taken")
		}
		wantCode(t, post(wire.BarrelEvent{Kind: wire.EventTamper, Sequence: 99}), codes.Changed, "")
	})
}

// The same message twice is carried out once, and gets the same answer (RFC
// 7252 4.5).
func TestDuplicate(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		m := d.post(wire.PathHeartbeat, wire.ContentCBOR, wire.MarshalCBOR(idle))
		first := d.do(m)
		time.Sleep(5 * time.Second) // a second answer would have another time in it
		again := d.do(m)
		if !bytes.Equal(first.Payload, again.Payload) {
			t.Errorf("answered %x, then %x", first.Payload, again.Payload)
		}
		if c := w.server.Counters(); c["duplicate"] != 1 {
			t.Errorf("counters %v", c)
		}
		d.beat(idle)
		time.Sleep(50 * time.Second)
		d.beat(idle)
		for range 4 {
			time.Sleep(50 * time.Second)
			d.beat(idle)
		}
		if later := d.do(m); bytes.Equal(first.Payload, later.Payload) {
			t.Error("a message id that may be used again was taken for a duplicate")
		}
	})
}

// Requests that the API doesn't have, and messages that CoAP doesn't have.
func TestMessages(t *testing.T) {
	beat := wire.MarshalCBOR(idle)
	with := func(change func(*message.Message)) func(d *device) message.Message {
		return func(d *device) message.Message {
			m := d.post(wire.PathHeartbeat, wire.ContentCBOR, beat)
			change(&m)
			return m
		}
	}
	for _, tc := range []struct {
		name    string
		m       func(d *device) message.Message
		code    codes.Code
		problem wire.Code
	}{
		{"as it should be", with(func(*message.Message) {}), codes.Changed, ""},
		{"no such path", func(d *device) message.Message { return d.post("/nothing", wire.ContentCBOR, beat) }, codes.NotFound, wire.CodeNotFound},
		{"no path", with(func(m *message.Message) { m.Options = m.Options[1:] }), codes.NotFound, wire.CodeNotFound},
		{"a longer path", with(func(m *message.Message) {
			m.Options = append(message.Options{m.Options[0]}, m.Options...)
		}), codes.NotFound, wire.CodeNotFound},
		{"another method", with(func(m *message.Message) { m.Code = codes.GET }), codes.MethodNotAllowed, wire.CodeMethodNotAllowed},
		{"a method of later times", with(func(m *message.Message) { m.Code = 7 }), codes.MethodNotAllowed, wire.CodeMethodNotAllowed},
		{"no format", with(func(m *message.Message) { m.Options = m.Options[:1] }), codes.UnsupportedMediaType, ""},
		{"another format", with(func(m *message.Message) {
			m.Options = append(m.Options[:1], options(message.ContentFormat, message.AppJSON)...)
		}), codes.UnsupportedMediaType, ""},
		{"accepts what there is", with(func(m *message.Message) {
			m.Options = append(m.Options, options(message.Accept, wire.ContentCBOR)...)
		}), codes.Changed, ""},
		{"accepts something else", with(func(m *message.Message) {
			m.Options = append(m.Options, options(message.Accept, message.AppJSON)...)
		}), codes.NotAcceptable, ""},
		{"unknown critical option", with(func(m *message.Message) {
			m.Options = append(m.Options, message.Option{ID: 65001, Value: []byte{1}})
		}), codes.BadOption, ""},
		{"unknown elective option", with(func(m *message.Message) {
			m.Options = append(m.Options, message.Option{ID: 65000, Value: []byte{1}})
		}), codes.Changed, ""},
		{"block-wise", with(func(m *message.Message) {
			m.Options = append(m.Options, options(message.Block1, 0x08)...)
		}), codes.BadOption, ""},
		{"through a proxy", with(func(m *message.Message) {
			m.Options = append(m.Options, message.Option{ID: message.ProxyURI, Value: []byte("coap://elsewhere/")})
		}), codes.ProxyingNotSupported, ""},
		{"too long", with(func(m *message.Message) { m.Payload = make([]byte, maxPayload+1) }), codes.RequestEntityTooLarge, ""},
		{"no CBOR", with(func(m *message.Message) { m.Payload = []byte{0xff} }), codes.BadRequest, wire.CodeBadRequest},
	} {
		t.Run(tc.name, func(t *testing.T) {
			play(t, func(t *testing.T, w *world) {
				d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
				wantCode(t, d.do(tc.m(d)), tc.code, tc.problem)
			})
		})
	}
}

func TestMalformed(t *testing.T) {
	for _, tc := range []struct {
		name  string
		b     []byte
		reset bool
	}{
		{"ping", []byte{0x40, 0, 0x12, 0x34}, true},
		{"empty with a token", []byte{0x41, 0, 0x12, 0x34, 1}, true},
		{"token too long", []byte{0x49, 2, 0x12, 0x34, 1, 2, 3, 4, 5, 6, 7, 8, 9}, true},
		{"option beyond the end", []byte{0x40, 2, 0x12, 0x34, 0xb5, 'h'}, true},
		{"reserved option length", []byte{0x40, 2, 0x12, 0x34, 0xbf}, true},
		{"marker without a payload", []byte{0x40, 2, 0x12, 0x34, 0xb2, 'h', 'b', 0xff}, true},
		{"reserved code class", []byte{0x40, 0x20, 0x12, 0x34}, true},
		{"twenty options", append([]byte{0x40, 2, 0x12, 0x34}, bytes.Repeat([]byte{0x10}, 20)...), true},
		{"the same, non-confirmable", append([]byte{0x50, 2, 0x12, 0x34}, bytes.Repeat([]byte{0x10}, 20)...), false},
		{"version 2", []byte{0x80, 2, 0x12, 0x34}, false},
		{"three bytes", []byte{0x40, 2, 0x12}, false},
		{"nothing", []byte{}, false},
		{"acknowledgement of nothing", []byte{0x60, 0, 0x12, 0x34}, false},
		{"reset of nothing", []byte{0x70, 0, 0x12, 0x34}, false},
		{"acknowledgement with a request", []byte{0x60, 2, 0x12, 0x34, 0xb2, 'h', 'b'}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			play(t, func(t *testing.T, w *world) {
				d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
				d.send(tc.b)
				synctest.Wait()
				select {
				case m := <-d.answers:
					if !tc.reset || m.Type != message.Reset || m.MessageID != 0x1234 || m.Code != codes.Empty {
						t.Errorf("got %v, want a Reset: %v", &m, tc.reset)
					}
				default:
					if tc.reset {
						t.Error("got nothing, want a Reset")
					}
				}
				wantCode(t, d.beat(idle), codes.Changed, "")
			})
		})
	}
}

// A non-confirmable request gets a non-confirmable response (RFC 7252 5.2.3),
// and its repeat gets none.
func TestNonConfirmable(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		m := d.nonHeartbeat()
		for range 2 {
			d.send(mustEncode(t, m))
		}
		got := <-d.answers
		if got.Type != message.NonConfirmable || !bytes.Equal(got.Token, m.Token) || got.Code != codes.Changed {
			t.Errorf("got %v", &got)
		}
		synctest.Wait()
		if len(d.answers) != 0 {
			t.Error("the repeat was answered as well")
		}
	})
}

// The same on real sockets: a barrel that no terminal's address speaks for.
func TestOverUDP(t *testing.T) {
	w := &world{World: usetest.New(t, time.Now), t: t, ca: newAuthority(t)}
	w.open(Limits{})
	defer w.close()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(ctx, socket) }()
	for port := range 3 {
		out, err := net.DialUDP("udp", nil, socket.LocalAddr().(*net.UDPAddr))
		if err != nil {
			t.Fatal(err)
		}
		d := w.over(t, rfc7905.Guard(out), pskConfig(usetest.Barrel))
		wantCode(t, d.beat(idle), codes.Forbidden, wire.CodeTerminalUnknown)
		if port == 2 {
			d.close()
		}
	}
	stop()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, _, err := socket.ReadFrom(make([]byte, 1)); err == nil {
		t.Error("the socket is open")
	}
}

// FuzzMessage: whatever an authenticated barrel sends, the gateway answers or
// ignores it, and what it answers is CoAP.
func FuzzMessage(f *testing.F) {
	world := usetest.New(f, time.Now)
	d := &device{}
	for _, m := range []message.Message{
		d.post(wire.PathHeartbeat, wire.ContentCBOR, wire.MarshalCBOR(idle)),
		d.post(wire.PathBarrelReceipt, wire.ContentCOSE, []byte{0xd2, 0x84}),
		d.post(wire.PathBarrelSettle, wire.ContentCOSE, nil),
		d.post(wire.PathBarrelEvent, wire.ContentCBOR, wire.MarshalCBOR(wire.BarrelEvent{Kind: wire.EventTamper, Sequence: 1})),
		d.post(wire.PathBarrelLock, wire.ContentCBOR, wire.MarshalCBOR(wire.LockAck{IDs: []uint64{1}})),
	} {
		b, err := encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{0x40, 0, 0, 1})
	f.Add([]byte{0x60, 0x44, 0, 1, 0xff})
	s := newServer(f, world, newAuthority(f), new(atomic.Bool), Limits{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if err != nil {
			return
		}
		again, err := encode(m)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x became %x, %v", b, again, err)
		}
		if kindOf(m.Code) != isRequest {
			return
		}
		a := newAssociation(s, identity{barrel: usetest.Barrel, pskIdentity: usetest.Barrel, psk: []byte(usetest.Barrel)},
			netip.AddrPortFrom(usetest.Address(usetest.Terminal), 1), nil, nil)
		out, err := answer(m, message.Acknowledgement, uint16(m.MessageID), s.handle(t.Context(), a, m))
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decode(out); err != nil || kindOf(back.Code) != isResponse {
			t.Fatalf("answered %x: %v", out, err)
		}
	})
}
