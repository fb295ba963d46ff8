package gtpc

import (
	"bytes"
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/wmnsk/go-gtp/gtpv2/ie"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

// commanded is a handler for Modify Bearer Commands.
func commanded(calls *int) Handler {
	return handlerFunc(func(_ context.Context, _ netip.AddrPort, m gtp.Message) Reply {
		*calls++
		return Reply{
			Update: &gtp.UpdateBearerRequest{TEID: 0x11112222, AMBRUpKbps: 30000, AMBRDownKbps: 40000, Bearer: gtp.Bearer{EBI: 5, QCI: 8, ARP: 9}},
			Cause:  gtp.CauseAccepted, IMSI: imsi,
		}
	})
}

func updateBearerResponse(update []byte, cause uint8) []byte {
	s := gtptest.New()
	s.Seq = gtptest.Read(update).Seq
	return s.Request(gtp.TypeUpdateBearerResponse, 0x77, ie.NewCause(cause, 0, 0, 0, nil),
		ie.NewGroupedIE(ie.BearerContext, ie.NewEPSBearerID(5), ie.NewCause(cause, 0, 0, 0, nil)))
}

// A command is answered by a request with the command's own number, which is
// repeated until it is answered itself; the command's duplicates change nothing,
// then or later.
func TestUpdateBearer(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/update-bearer-response", "")
	calls := 0
	cfg := Config{T3: 2 * time.Second, N3: 3, AnswerTime: time.Minute}
	inBubble(t, cfg, commanded(&calls), func(t *testing.T, r *rig) {
		from := netip.AddrPortFrom(sgw.Addr(), 4000)
		r.from(from, gtptest.New().ModifyCommand(7))
		first := r.conn.sent()
		if len(first) != 1 || first[0].peer != from {
			t.Fatalf("%v", first)
		}
		a := gtptest.Read(first[0].b)
		if a.Type != gtp.TypeUpdateBearerRequest || a.Seq != gtptest.New().Seq|0x800000 || a.TEID != 0x11112222 {
			t.Errorf("%+v", a)
		}
		// A request of ours has another number, whatever the command's was.
		done := r.deleting(t.Context())
		own := r.conn.sent()
		if len(own) != 1 || gtptest.Read(own[0].b).Seq >= 0x800000 {
			t.Errorf("%v", own)
		}
		r.from(sgw, deleteBearerResponse(own[0].b, 16))
		if err := <-done; err != nil {
			t.Error(err)
		}

		r.from(from, gtptest.New().ModifyCommand(7)) // impatient
		if n := len(r.conn.sent()); n != 0 || calls != 1 || r.count(countInFlight) != 1 {
			t.Errorf("%d answers to the duplicate, %d calls", n, calls)
		}
		after(2 * time.Second)
		if again := r.conn.sent(); len(again) != 1 || !bytes.Equal(again[0].b, first[0].b) || again[0].peer != from {
			t.Errorf("repeated: %v", again)
		}
		r.from(from, deleteBearerResponse(first[0].b, 16)) // of another type
		r.from(from, updateBearerResponse(first[0].b, 16))
		r.from(from, updateBearerResponse(first[0].b, 16)) // late double
		after(20 * time.Second)
		if n := len(r.conn.sent()); n != 0 || r.count(countOrphan) != 2 {
			t.Errorf("%d transmissions after the answer, %v", n, r.Counters())
		}
		r.from(from, gtptest.New().ModifyCommand(7))
		if n := len(r.conn.sent()); n != 0 || calls != 1 || r.count(countInFlight) != 2 {
			t.Errorf("%d answers to the late duplicate, %d calls", n, calls)
		}
		after(time.Minute)
		r.from(from, gtptest.New().ModifyCommand(7)) // the number is used anew
		if n := len(r.conn.sent()); n != 1 || calls != 2 {
			t.Errorf("%d answers to the new command, %d calls", n, calls)
		}
	})
}

// An update that is refused, or that nobody answers, is told in the log.
func TestUpdateBearerFails(t *testing.T) {
	for name, answer := range map[string]func(r *rig, update []byte){
		"refused":    func(r *rig, update []byte) { r.from(sgw, updateBearerResponse(update, 64)) },
		"unanswered": func(*rig, []byte) {},
	} {
		calls := 0
		inBubble(t, Config{T3: 2 * time.Second, N3: 3}, commanded(&calls), func(t *testing.T, r *rig) {
			r.from(sgw, gtptest.New().ModifyCommand(7))
			sent := r.conn.sent()
			if len(sent) != 1 {
				t.Fatal(sent)
			}
			answer(r, sent[0].b)
			after(6 * time.Second)
			if r.count(countUpdateRefused) != 1 || len(r.loop.asked.byKey) != 0 {
				t.Errorf("%s: %v", name, r.Counters())
			}
			r.conn.sent()
			r.from(sgw, gtptest.New().ModifyCommand(7))
			if n := len(r.conn.sent()); n != 0 || calls != 1 {
				t.Errorf("%s: %d answers to the duplicate", name, n)
			}
		})
	}
}

// Another command with a number that is still in use waits for its turn: it
// leaves no trace, and its retransmission has its chance.
func TestUpdateBearerNumberTaken(t *testing.T) {
	calls := 0
	inBubble(t, Config{T3: time.Second, N3: 1}, commanded(&calls), func(t *testing.T, r *rig) {
		r.from(sgw, gtptest.New().ModifyCommand(7))
		if n := len(r.conn.sent()); n != 1 {
			t.Fatalf("%d updates", n)
		}
		r.from(sgw, gtptest.New().ModifyCommand(8))
		if n := len(r.conn.sent()); n != 0 || calls != 2 || r.count(countOverload) != 1 {
			t.Errorf("%d updates, %d calls, %v", n, calls, r.Counters())
		}
		after(time.Second)
		r.from(sgw, gtptest.New().ModifyCommand(8))
		if n := len(r.conn.sent()); n != 1 || calls != 3 {
			t.Errorf("%d updates, %d calls", n, calls)
		}
	})
}
