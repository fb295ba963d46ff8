package gtpc

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wmnsk/go-gtp/gtpv2/ie"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/cluster/command"
)

func lostSession() *command.Session {
	return &command.Session{Id: 1, Gtp: &command.GTPPath{
		Ebi: 5, LocalTeidC: 0x77, PeerC: &command.FTEID{Teid: 0x11112222, Address: []byte{127, 0, 20, 1}},
	}}
}

// deleting starts DeleteSession and returns its end.
func (r *rig) deleting(ctx context.Context) <-chan error {
	done := make(chan error, 1)
	go func() { done <- r.DeleteSession(ctx, lostSession()) }()
	synctest.Wait()
	return done
}

// deleteBearerResponse answers a request of ours.
func deleteBearerResponse(request []byte, cause uint8) []byte {
	s := gtptest.New()
	s.Seq = gtptest.Read(request).Seq
	return s.Request(gtp.TypeDeleteBearerResponse, 0x77, ie.NewCause(cause, 0, 0, 0, nil))
}

// A session that is revoked: the peer is told, again and again, until it
// answers.
func TestDeleteSession(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/delete-bearer-request", "", "linked-eps-bearer-id-lbi")
	gtptest.ShowsIn(t, "29.274/delete-bearer-response", "", "cause")
	gtptest.Shows(t, "29.274/reliable-delivery/t3-response-and-n3-requests", "29.274/reliable-delivery/a-reply-to-nothing-a-reply-twice")
	for _, c := range []struct {
		cause uint8
		ok    bool
	}{{16, true}, {64, true}, {94, false}} {
		inBubble(t, Config{T3: 2 * time.Second, N3: 3}, never(t), func(t *testing.T, r *rig) {
			done := r.deleting(t.Context())
			first := r.conn.sent()
			if len(first) != 1 || first[0].peer != sgw {
				t.Fatalf("%v", first)
			}
			a := gtptest.Read(first[0].b)
			if a.Type != gtp.TypeDeleteBearerRequest || a.TEID != 0x11112222 || a.Seq >= sequences[2] || len(a.Elements) != 1 || a.Find(ie.EPSBearerID, 0).Payload[0] != 5 {
				t.Errorf("%+v", a)
			}
			after(2*time.Second - 1)
			if len(r.conn.sent()) != 0 {
				t.Error("repeated before T3")
			}
			after(1)
			second := r.conn.sent()
			if len(second) != 1 || !bytes.Equal(second[0].b, first[0].b) {
				t.Error("not repeated, or not the same")
			}
			// Answers from elsewhere, to another number, and of another type count
			// for nothing.
			wrong := bytes.Clone(deleteBearerResponse(first[0].b, 16))
			wrong[10]++
			r.from(another, deleteBearerResponse(first[0].b, 16))
			r.from(sgw, wrong)
			r.from(sgw, []byte{0x40, 2, 0, 9, wrong[8], wrong[9], wrong[10] - 1, 0, 3, 0, 1, 0, 3})
			synctest.Wait()
			if len(done) != 0 || r.count(countOrphan) != 3 {
				t.Errorf("done %d, orphans %d", len(done), r.count(countOrphan))
			}
			// The peer may answer from another port.
			r.from(netip.AddrPortFrom(sgw.Addr(), 4444), deleteBearerResponse(first[0].b, c.cause))
			if err := <-done; (err == nil) != c.ok {
				t.Errorf("cause %d: %v", c.cause, err)
			}
			r.from(sgw, deleteBearerResponse(first[0].b, c.cause)) // late double
			after(time.Minute)
			if sent := r.conn.sent(); len(sent) != 0 || r.count(countOrphan) != 4 {
				t.Errorf("%d more requests, %d orphans", len(sent), r.count(countOrphan))
			}
		})
	}
}

// A restart counter in an answer counts like one in an echo (TS 29.274 7.2.0).
func TestAnswersTellRestartCounters(t *testing.T) {
	var h heard
	calls := 0
	inBubble(t, h.config(), commanded(&calls), func(t *testing.T, r *rig) {
		done := r.deleting(t.Context())
		own := r.conn.sent()
		s := gtptest.New()
		s.Seq = gtptest.Read(own[0].b).Seq
		r.from(sgw, s.Request(gtp.TypeDeleteBearerResponse, 0x77, ie.NewCause(16, 0, 0, 0, nil), ie.NewRecovery(7)))
		if err := <-done; err != nil {
			t.Error(err)
		}
		synctest.Wait() // the loop, which answered, goes on to the counter
		h.expect(t, "counter 7 claimed of "+sgw.Addr().String())
		r.from(sgw, gtptest.New().ModifyCommand(7))
		s.Seq = gtptest.Read(r.conn.sent()[0].b).Seq
		r.from(sgw, s.Request(gtp.TypeUpdateBearerResponse, 0x77, ie.NewCause(16, 0, 0, 0, nil), ie.NewRecovery(8)))
		r.from(sgw, s.Request(gtp.TypeUpdateBearerResponse, 0x77, ie.NewCause(16, 0, 0, 0, nil), ie.NewRecovery(9))) // to nothing
		synctest.Wait()
		h.expect(t, "counter 8 claimed of "+sgw.Addr().String())
	})
}

func TestDeleteSessionUnanswered(t *testing.T) {
	inBubble(t, Config{T3: 2 * time.Second, N3: 3}, never(t), func(t *testing.T, r *rig) {
		start := time.Now()
		done := r.deleting(t.Context())
		err := <-done
		if !errors.Is(err, ErrNoAnswer) || time.Since(start) != 6*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if sent := r.conn.sent(); len(sent) != 3 || r.count(countRetransmitted) != 2 {
			t.Errorf("sent %d times", len(sent))
		}
	})
}

func TestDeleteSessionEnds(t *testing.T) {
	inBubble(t, Config{}, never(t), func(t *testing.T, r *rig) {
		if err := r.DeleteSession(t.Context(), &command.Session{}); !errors.Is(err, ErrNoPath) {
			t.Errorf("without path: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := r.deleting(ctx)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		done = r.deleting(t.Context())
		sent := r.conn.sent()
		seq := gtptest.Read(sent[len(sent)-1].b).Seq
		r.from(sgw, []byte{0x40, 3, 0, 4, byte(seq >> 16), byte(seq >> 8), byte(seq), 0})
		if err := <-done; !errors.Is(err, ErrPeerVersion) {
			t.Errorf("version not supported: %v", err)
		}
		done = r.deleting(t.Context())
		if err := r.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
		if err := <-done; !errors.Is(err, ErrNotServing) {
			t.Errorf("address moved away: %v", err)
		}
		if err := r.DeleteSession(t.Context(), lostSession()); !errors.Is(err, ErrNotServing) {
			t.Errorf("not serving: %v", err)
		}
	})
}

// Many at once: each has its own number, none is confused.
func TestManyRequests(t *testing.T) {
	inBubble(t, Config{T3: time.Second, N3: 2}, never(t), func(t *testing.T, r *rig) {
		r.loop.asked.last[2] = sequences[2] - 4 // wraps; nobody else is in the loop yet
		var ends []<-chan error
		for range 8 {
			ends = append(ends, r.deleting(t.Context()))
		}
		seen := map[uint32]bool{}
		for i, d := range r.conn.sent() {
			seq := gtptest.Read(d.b).Seq
			if seen[seq] || seq >= sequences[2] {
				t.Errorf("sequence number %d", seq)
			}
			seen[seq] = true
			if i%2 == 0 {
				r.from(sgw, deleteBearerResponse(d.b, 16))
			}
		}
		for i, end := range ends {
			if err := <-end; (err == nil) != (i%2 == 0) {
				t.Errorf("request %d: %v", i, err)
			}
		}
	})
}
