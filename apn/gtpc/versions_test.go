package gtpc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/cluster/command"
)

// v1 makes a message of GTPv1, octet by octet (TS 29.060 6).
func v1(typ uint8, teid uint32, seq uint16, elements ...byte) []byte {
	b := []byte{0x32, typ, 0, byte(4 + len(elements))}
	b = binary.BigEndian.AppendUint32(b, teid)
	b = binary.BigEndian.AppendUint16(b, seq)
	return append(append(b, 0, 0), elements...)
}

func seqV1(b []byte) uint16 { return binary.BigEndian.Uint16(b[8:]) }

// deleteV1 is a Delete PDP Context Request: teardown, NSAPI 5.
func deleteV1(teid uint32, seq uint16) []byte {
	return v1(gtp.TypeDeletePDPContextRequest, teid, seq, 0x13, 0xff, 0x14, 5)
}

// The two versions are answered each in its own, and others with the latest.
func TestEachVersionInItsOwn(t *testing.T) {
	gtptest.Shows(t,
		"29.274/echo-request",
		"29.274/echo-response",
		"29.274/echo-response/recovery",
		"29.274/header/no-teid-in-echo-and-version-not-supported",
		"29.274/version-not-supported-indication",
		"29.274/error-handling/other-versions-of-gtp",
		"29.060/echo-request",
		"29.060/echo-response",
		"29.060/echo-response/recovery",
		"29.060/version-not-supported",
		"29.060/error-handling/other-versions-of-gtp",
		"29.060/supported-extension-headers-notification-received",
	)
	inBubble(t, Config{}, never(t), func(t *testing.T, r *rig) {
		for _, c := range []struct{ request, want []byte }{
			{v1(1, 0, 0x1234), []byte{0x32, 2, 0, 6, 0, 0, 0, 0, 0x12, 0x34, 0, 0, 14, 3}},
			{[]byte{0x40, 1, 0, 9, 0, 0x12, 0x34, 0, 3, 0, 1, 0, 7}, []byte{0x40, 2, 0, 9, 0, 0x12, 0x34, 0, 3, 0, 1, 0, 3}},
			{[]byte{0x60, 1, 0, 4, 0, 0x12, 0x34, 0}, []byte{0x40, 3, 0, 4, 0, 0x12, 0x34, 0}},
		} {
			r.from(sgw, c.request)
			if sent := r.conn.sent(); len(sent) != 1 || sent[0].peer != sgw || !bytes.Equal(sent[0].b, c.want) {
				t.Errorf("% x is answered with %v, want % x", c.request, sent, c.want)
			}
		}
		// What needs no answer gets none.
		r.from(sgw, v1(31, 0, 1, 141, 1, 0x02))
		if n := len(r.conn.sent()); n != 0 || r.count(countExtensions) != 1 {
			t.Errorf("%d answers to supported extension headers, %v", n, r.Counters())
		}
	})
}

// One peer, one port, one sequence number, and two transactions: the versions
// number their messages apart.
func TestVersionsDoNotMix(t *testing.T) {
	gtptest.Shows(t, "29.060/reliable-delivery/a-retransmission-gets-the-response-of-before")
	inStuckBubble(t, Config{}, func(t *testing.T, r *rig, h *stuck) {
		h.all = true
		r.from(sgw, numbered(0x1234).Delete(7))
		r.from(sgw, deleteV1(7, 0x1234))
		r.from(sgw, deleteV1(7, 0x1234))
		synctest.Wait()
		if r.count(countRequest) != 2 || r.count(countInFlight) != 1 {
			t.Errorf("%v", r.Counters())
		}
		h.let <- struct{}{}
		h.let <- struct{}{}
		answers := r.conn.sent()
		if len(answers) != 2 {
			t.Fatalf("%d answers", len(answers))
		}
		r.from(sgw, deleteV1(7, 0x1234))
		if again := r.conn.sent(); len(again) != 1 || !bytes.Equal(again[0].b, answers[1].b) || r.count(countRepeated) != 1 {
			t.Errorf("repeated: %v, %v", again, r.Counters())
		}
	})
}

// The sequence numbers of GTPv1 wrap after 65536, well within the time that
// answers are kept: what isn't equal to the bit is another request.
func TestSequenceNumbersWrap(t *testing.T) {
	gtptest.Shows(t, "29.060/reliable-delivery/sequence-numbers-wrap")
	inBubble(t, Config{}, answering("ok"), func(t *testing.T, r *rig) {
		for seq := range uint32(5) {
			r.from(sgw, deleteV1(100+seq, uint16(0xfffe+seq)))
			r.from(sgw, deleteV1(200+seq, uint16(0xfffe+seq)))
		}
		if n := len(r.conn.sent()); n != 10 || r.count(countRequest) != 10 || r.count(countRepeated) != 0 {
			t.Errorf("%d answers, %v", n, r.Counters())
		}
	})
}

// A Create that finds no room is refused in its own version.
func TestRefusalInGTPv1(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/create-pdp-context-response", "cause-no-resources-available-199")
	gtptest.Shows(t, "29.274/overload/creates-are-refused-before-anything-else-suffers")
	full := false
	cfg := Config{Workers: 1, Full: func() bool { return full }}
	inStuckBubble(t, cfg, func(t *testing.T, r *rig, h *stuck) {
		create := func(seq uint16) []byte {
			return v1(gtp.TypeCreatePDPContextRequest, 0, seq, 0x11, 0, 0, 0xab, 0xcd)
		}
		r.from(sgw, numbered(1).Create())
		r.from(sgw, create(2))
		after(500 * time.Millisecond) // longer than a Create may wait
		full = true
		r.from(sgw, create(3))
		sent := r.conn.sent()
		if len(sent) != 2 {
			t.Fatalf("%d refusals", len(sent))
		}
		for i, d := range sent {
			b := d.b // "no resources available" is GTPv1's word for both
			if b[0]>>5 != 1 || b[1] != 17 || binary.BigEndian.Uint32(b[4:]) != 0xabcd || seqV1(b) != uint16(2+i) || b[12] != 1 || b[13] != 199 {
				t.Errorf("% x", b)
			}
		}
	})
}

func lostContext() *command.Session {
	return &command.Session{Id: 1, Gtp: &command.GTPPath{
		Version: 1, Ebi: 6, LocalTeidC: 0x77, PeerC: &command.FTEID{Teid: 0x11112222, Address: []byte{127, 0, 20, 1}},
	}}
}

// A session over GTPv1 is ended with GTPv1: by T3 and N3, and by what answers it.
func TestDeleteSessionV1(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/delete-pdp-context-request-sent", "", "teardown-ind", "nsapi")
	gtptest.ShowsIn(t, "29.060/delete-pdp-context-response-received", "", "cause")
	gtptest.Shows(t, "29.060/reliable-delivery/t3-response-and-n3-requests", "29.060/reliable-delivery/a-response-to-nothing")
	cfg := Config{T3: 2 * time.Second, N3: 3}
	start := func(t *testing.T, r *rig) (<-chan error, []byte) {
		t.Helper()
		done := make(chan error, 1)
		go func() { done <- r.DeleteSession(t.Context(), lostContext()) }()
		sent := r.conn.sent()
		if len(sent) != 1 || sent[0].peer != sgw {
			t.Fatalf("%v", sent)
		}
		b := sent[0].b
		if want := v1(20, 0x11112222, seqV1(b), 0x13, 0xff, 0x14, 6); !bytes.Equal(b, want) {
			t.Errorf("asked with % x, want % x", b, want)
		}
		return done, b
	}
	for cause, ok := range map[byte]bool{128: true, 192: true, 204: false} {
		inBubble(t, cfg, never(t), func(t *testing.T, r *rig) {
			done, b := start(t, r)
			after(2 * time.Second)
			if again := r.conn.sent(); len(again) != 1 || !bytes.Equal(again[0].b, b) {
				t.Errorf("repeated: %v", again)
			}
			// The number of the other version, another number, another type.
			r.from(sgw, append([]byte{0x48, 100, 0, 14, 0, 0, 0, 0x77, 0, b[8], b[9], 0}, 2, 0, 2, 0, 16, 0))
			r.from(sgw, v1(21, 0x77, seqV1(b)+1, 1, 128))
			r.from(sgw, v1(2, 0, seqV1(b), 14, 1))
			r.from(another, v1(21, 0x77, seqV1(b), 1, 128))
			synctest.Wait()
			if len(done) != 0 || r.count(countOrphan) != 4 {
				t.Errorf("ended: %d, %v", len(done), r.Counters())
			}
			r.from(netip.AddrPortFrom(sgw.Addr(), 3386), v1(21, 0x77, seqV1(b), 1, cause))
			if err := <-done; (err == nil) != ok {
				t.Errorf("cause %d: %v", cause, err)
			}
		})
	}
	inBubble(t, cfg, never(t), func(t *testing.T, r *rig) {
		began := time.Now()
		done, _ := start(t, r)
		if err := <-done; !errors.Is(err, ErrNoAnswer) || time.Since(began) != 6*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if n := len(r.conn.sent()); n != 2 {
			t.Errorf("%d more transmissions", n)
		}
	})
}

// A peer that speaks the other version only says so in its own, and its sequence
// number means nothing.
func TestVersionRefusedV1(t *testing.T) {
	gtptest.Shows(t, "29.060/version-not-supported-received", "29.274/version-not-supported-indication-received")
	inBubble(t, Config{}, never(t), func(t *testing.T, r *rig) {
		two := r.deleting(t.Context())
		one := make(chan error, 1)
		go func() { one <- r.DeleteSession(t.Context(), lostContext()) }()
		r.conn.sent()
		r.from(another, v1(3, 0, 0))
		synctest.Wait()
		if r.count(countOrphan) != 1 {
			t.Errorf("%v", r.Counters())
		}
		r.from(sgw, v1(3, 0, 0))
		if err := <-two; !errors.Is(err, ErrPeerVersion) || len(one) != 0 {
			t.Errorf("%v, and %d of GTPv1 ended", err, len(one))
		}
		r.from(sgw, []byte{0x40, 3, 0, 4, 0, 0, 0, 0})
		if err := <-one; !errors.Is(err, ErrPeerVersion) {
			t.Error(err)
		}
	})
}

// An extension header that must be comprehended and isn't: its sender is told
// which ones are, beside the refusal.
func TestExtensionHeader(t *testing.T) {
	gtptest.Shows(t,
		"29.060/header/extension-header-that-must-be-comprehended",
		"29.060/supported-extension-headers-notification",
		"29.060/supported-extension-headers-notification/extension-header-type-list",
	)
	inBubble(t, Config{}, answering("refused"), func(t *testing.T, r *rig) {
		request := []byte{0x36, 20, 0, 12, 0, 0, 0, 7, 0, 1, 0, 0xc1, 1, 0, 0, 0, 0x13, 0xff, 0x14, 5}
		r.from(sgw, request)
		sent := r.conn.sent()
		if len(sent) != 2 || sent[0].b[1] != 31 || string(sent[1].b) != "refused" || r.count(countHeadersTold) != 1 {
			t.Errorf("%v, %v", sent, r.Counters())
		}
		request[1] = 21 // a response with one: nobody to refuse, and no answer
		r.from(sgw, request)
		if sent := r.conn.sent(); len(sent) != 1 || sent[0].b[1] != 31 || r.count(gtp.ReasonExtensionHeader) != 1 {
			t.Errorf("%v, %v", sent, r.Counters())
		}
	})
}

// Numbers of our own requests: each version has its own space, and a command's
// stays out of it.
func TestSequenceSpaces(t *testing.T) {
	gtptest.Shows(t, "29.274/reliable-delivery/sequence-numbers-of-commands-have-the-top-bit-set-others-not")
	a := newAsked(time.Second, 1)
	now := time.Unix(0, 0)
	make1 := func(version uint8) *request {
		return &request{version: version, to: sgw, marshal: func(uint32) []byte { return nil }}
	}
	a.last = [3]uint32{1: 0xfffe, 2: 0x7ffffe}
	for i, want := range []uint32{0xffff, 0, 1} {
		if r := make1(1); !a.begin(now, r) || r.seq != want {
			t.Errorf("GTPv1 request %d: %#x, want %#x", i, r.seq, want)
		}
	}
	for i, want := range []uint32{0x7fffff, 0, 1} {
		if r := make1(2); !a.begin(now, r) || r.seq != want {
			t.Errorf("GTPv2 request %d: %#x, want %#x", i, r.seq, want)
		}
	}
	command := make1(2)
	command.triggered, command.seq = true, 0x800001
	if !a.begin(now, command) || command.seq != 0x800001 {
		t.Errorf("command: %#x", command.seq)
	}
	if twice := *command; a.begin(now, &twice) {
		t.Error("a number that is taken was given again")
	}
	// What is outstanding is passed over when the numbers come round.
	a.last[1] = 0xfffe
	if r := make1(1); !a.begin(now, r) || r.seq != 2 {
		t.Errorf("%#x, want 2", r.seq)
	}
	// At another peer they are free.
	a.last[1] = 0xfffe
	other := make1(1)
	other.to = another
	if !a.begin(now, other) || other.seq != 0xffff {
		t.Errorf("%#x, want 0xffff", other.seq)
	}
}
