package gtpc

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

// FuzzServer feeds the whole server, procedures and all, with a datagram of an
// allowed peer, twice: nothing panics, an answer is of the version of its request
// and goes where that came from, and another version hears only that it isn't
// spoken here. A duplicate is answered with the same octets.
func FuzzServer(f *testing.F) {
	one, two := gtptest.NewSGSN(), gtptest.New()
	for _, b := range two.Requests(7) {
		f.Add(b)
	}
	for _, b := range [][]byte{
		one.Create(), one.Update(7), one.Delete(7), one.Inform(7), one.Echo(), one.Deleted(7, 128),
		deleteBearerResponse(two.Delete(7), 16), updateBearerResponse(two.ModifyCommand(7), 16),
		two.Request(68, 7), v1(3, 0, 1), v1(31, 0, 1, 141, 1, 2),
		{0x40, 3, 0, 4, 0, 0, 1, 0},
		{0x60, 1, 0, 4, 0, 0, 1, 0},
		{0x36, 20, 0, 12, 0, 0, 0, 7, 0, 1, 0, 0xc1, 1, 0, 0, 0, 0x13, 0xff, 0x14, 5},
		{0x20},
		{},
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > datagramSize {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t)
			r := newRig(t, Config{T3: time.Second, N3: 1, Workers: 2, Observe: func(Event) {}}, s.Procedures)
			var answers [2][]datagram
			for i := range answers {
				r.from(sgw, b)
				answers[i] = r.conn.sent()
				for _, a := range answers[i] {
					version := b[0] >> 5
					told := version != 1 && version != 2 && a.b[1] == gtp.TypeVersionNotSupported
					if a.peer != sgw || a.b[0]>>5 != version && !told {
						t.Errorf("% x is answered to %s: % x", b, a.peer, a.b)
					}
				}
			}
			if len(answers[0]) > 0 && len(answers[1]) > 0 && !bytes.Equal(answers[0][0].b, answers[1][0].b) {
				t.Errorf("% x and then % x", answers[0][0].b, answers[1][0].b)
			}
			for _, reason := range []string{countHandlerPanic, gtp.ReasonPanic} {
				if r.count(reason) != 0 {
					t.Errorf("%s: %s", reason, r.log)
				}
			}
			if err := r.stop(); err != nil {
				t.Error(err)
			}
		})
	})
}
