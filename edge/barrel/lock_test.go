package barrel

import (
	"bytes"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
)

// lock asks for a lock of Barrel and returns it.
func (w *world) lock(source string) *command.Lock {
	w.t.Helper()
	l := new(command.Lock)
	if err := w.Do(&command.Disconnect{SourceId: source, Barrel: usetest.Barrel, Reason: "wrong page"}).Into(l); err != nil {
		w.t.Fatal(err)
	}
	return l
}

func (w *world) acked(lock uint64) (acked bool) {
	synctest.Wait()
	w.View(func(m *state.Machine) { acked = m.Lock(lock).GetBarrelAcked() })
	return acked
}

// A lock of the state is sent, acknowledged, noted, and not sent again.
func TestLockIsPushedAndNoted(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		l := w.lock("verdict-1")
		got := d.obey()
		if got.ID != l.Id || got.Reason != "wrong page" {
			t.Errorf("told to lock by %+v, want lock %d", got, l.Id)
		}
		if !w.acked(l.Id) {
			t.Error("the acknowledgement isn't in the state")
		}
		if m, ok := d.request(time.Minute / 2); ok {
			t.Errorf("sent again: %v", &m)
		}
	})
}

// The repetition of RFC 7252 4.2: the same message, at intervals that double,
// five sendings in all; then a new exchange, for as long as the lock is pending.
func TestLockIsRepeated(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		stop := make(chan struct{})
		defer func() { <-stop }()
		end := time.Now().Add(100 * time.Second)
		go func() { // heartbeats keep the association
			defer close(stop)
			for time.Now().Before(end) {
				_, _ = d.conn.Write(mustEncode(t, d.nonHeartbeat()))
				time.Sleep(20 * time.Second)
			}
		}()
		l := w.lock("verdict-1")
		var last message.Message
		var at time.Time
		var gaps []time.Duration
		for sending := range 5 {
			m, ok := d.request(40 * time.Second)
			if !ok {
				t.Fatalf("sending %d didn't come", sending)
			}
			if lockIn(t, m).ID != l.Id || sending > 0 && (m.MessageID != last.MessageID || !bytes.Equal(m.Token, last.Token)) {
				t.Errorf("sending %d is another message: %v", sending, &m)
			}
			if sending > 0 {
				gaps = append(gaps, time.Since(at))
			}
			last, at = m, time.Now()
		}
		if gaps[0] < ackTimeout || gaps[0] > ackTimeout*3/2 {
			t.Errorf("first repetition after %v, want 2 to 3 s", gaps[0])
		}
		for i, g := range gaps[1:] {
			if g != 2*gaps[i] {
				t.Errorf("repeated after %v, want the double each time", gaps)
			}
		}
		m, ok := d.request(60 * time.Second)
		if !ok || m.MessageID == last.MessageID || lockIn(t, m).ID != l.Id {
			t.Errorf("after the last repetition came %v, want a new exchange", &m)
		}
	})
}

func mustEncode(t *testing.T, m message.Message) []byte {
	b, err := encode(m)
	if err != nil {
		t.Error(err)
	}
	return b
}

func (d *device) nonHeartbeat() message.Message {
	m := d.post(wire.PathHeartbeat, wire.ContentCBOR, wire.MarshalCBOR(idle))
	m.Type = message.NonConfirmable
	return m
}

// A disconnect needs no quorum: pushed with the id 0, then found in the state.
func TestPushWithoutQuorum(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		w.Fail(command.ErrNoQuorum)
		w.server.Push(&command.Lock{Barrel: usetest.Barrel, Use: 7, Reason: "wrong page"})
		if got := d.obey(); got.ID != 0 || got.Use != 7 {
			t.Errorf("told to lock by %+v", got)
		}
		w.server.Push(&command.Lock{Barrel: usetest.OtherBarrel}) // not connected: nothing happens
		w.Fail(nil)
		l := w.lock("verdict-1")
		if got := d.obey(); got.ID != l.Id {
			t.Errorf("told to lock by %+v, want lock %d", got, l.Id)
		}
	})
}

// A lock that was carried out while there was no quorum is noted later, and not
// sent again meanwhile.
func TestAcknowledgementWaitsForQuorum(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		l := w.lock("verdict-1")
		w.Fail(command.ErrNoQuorum)
		d.obey()
		if m, ok := d.request(20 * time.Second); ok {
			t.Errorf("sent again: %v", &m)
		}
		if w.acked(l.Id) {
			t.Fatal("noted without a quorum")
		}
		w.Fail(nil)
		time.Sleep(2 * lookAgain)
		if !w.acked(l.Id) {
			t.Error("not noted when the quorum was back")
		}
	})
}

// A barrel that was away hears of its locks when it comes back, at the latest
// with its first heartbeat, and acknowledges them itself.
func TestLockOfAbsentBarrel(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		l := w.lock("verdict-1")
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		m := d.beat(idle)
		wantCode(t, m, codes.Changed, "")
		var a wire.HeartbeatAnswer
		into(t, m, &a)
		if len(a.Locks) != 1 || a.Locks[0].ID != l.Id {
			t.Fatalf("heartbeat answered %+v, want lock %d", a, l.Id)
		}
		wantCode(t, d.do(d.post(wire.PathBarrelLock, wire.ContentCBOR, wire.MarshalCBOR(wire.LockAck{IDs: []uint64{l.Id}}))), codes.Changed, "")
		if !w.acked(l.Id) {
			t.Error("the acknowledgement isn't in the state")
		}
		var after wire.HeartbeatAnswer
		into(t, d.beat(idle), &after)
		if len(after.Locks) != 0 {
			t.Errorf("heartbeat answered %+v after that", after)
		}
		other := w.connect(usetest.OtherBarrel, usetest.Other, 40001)
		wantCode(t, other.do(other.post(wire.PathBarrelLock, wire.ContentCBOR, wire.MarshalCBOR(wire.LockAck{IDs: []uint64{l.Id}}))),
			codes.NotFound, wire.CodeLockUnknown)
	})
}

// Two locks at once go out one after the other (NSTART, RFC 7252 4.7).
func TestOneLockAtATime(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		a, b := w.lock("verdict-1"), w.lock("verdict-2")
		m, ok := d.request(time.Second)
		if !ok || lockIn(t, m).ID != a.Id {
			t.Fatalf("first came %v", &m)
		}
		if m, ok := d.request(time.Second); ok {
			t.Errorf("a second one came before the first was answered: %v", &m)
		}
		d.send(mustEncode(t, message.Message{Type: message.Acknowledgement, MessageID: m.MessageID, Token: m.Token, Code: codes.Changed}))
		if got := d.obey(); got.ID != b.Id {
			t.Errorf("then came %+v, want lock %d", got, b.Id)
		}
	})
}

// The answers that a barrel can give to PUT /lock besides the right one.
func TestAnswersToLock(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer func(m message.Message) []message.Message
		acked  bool
	}{
		{"separate response", func(m message.Message) []message.Message {
			return []message.Message{
				{Type: message.Acknowledgement, MessageID: m.MessageID, Code: codes.Empty},
				{Type: message.Confirmable, MessageID: 77, Token: m.Token, Code: codes.Changed},
			}
		}, true},
		{"non-confirmable response", func(m message.Message) []message.Message {
			return []message.Message{{Type: message.NonConfirmable, MessageID: 77, Token: m.Token, Code: codes.Changed}}
		}, true},
		{"reset", func(m message.Message) []message.Message {
			return []message.Message{{Type: message.Reset, MessageID: m.MessageID}}
		}, false},
		{"refusal", func(m message.Message) []message.Message {
			return []message.Message{{Type: message.Acknowledgement, MessageID: m.MessageID, Token: m.Token, Code: codes.InternalServerError}}
		}, false},
		{"another token", func(m message.Message) []message.Message {
			return []message.Message{{Type: message.Acknowledgement, MessageID: m.MessageID, Token: message.Token{1}, Code: codes.Changed}}
		}, false},
		{"another message id", func(m message.Message) []message.Message {
			return []message.Message{{Type: message.Acknowledgement, MessageID: m.MessageID ^ 1, Token: m.Token, Code: codes.Changed}}
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			play(t, func(t *testing.T, w *world) {
				d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
				l := w.lock("verdict-1")
				m, ok := d.request(time.Second)
				if !ok {
					t.Fatal("no lock came")
				}
				for _, a := range tc.answer(m) {
					d.send(mustEncode(t, a))
				}
				if got := w.acked(l.Id); got != tc.acked {
					t.Errorf("noted %v, want %v", got, tc.acked)
				}
				if again, ok := d.request(20 * time.Second); ok == tc.acked {
					t.Errorf("sent again %v (%v), want %v", ok, &again, !tc.acked)
				}
			})
		})
	}
}

// A confirmable response that is of no exchange is reset (RFC 7252 4.2).
func TestStrayResponse(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		d.send(mustEncode(t, message.Message{Type: message.Confirmable, MessageID: 9, Token: message.Token{1}, Code: codes.Changed}))
		if m := <-d.answers; m.Type != message.Reset || m.MessageID != 9 {
			t.Errorf("got %v, want a Reset of message 9", &m)
		}
	})
}

// Lost acknowledgements of the network make no difference.
func TestLockOverLossyNetwork(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		n := 0
		w.net.losing(func(netip.AddrPort, []byte) bool { n++; return n <= 3 })
		l := w.lock("verdict-1")
		m, ok := d.request(30 * time.Second)
		if !ok || lockIn(t, m).ID != l.Id {
			t.Fatalf("after three losses came %v", &m)
		}
		d.send(mustEncode(t, message.Message{Type: message.Acknowledgement, MessageID: m.MessageID, Token: m.Token, Code: codes.Changed}))
		if !w.acked(l.Id) {
			t.Error("not noted")
		}
	})
}
