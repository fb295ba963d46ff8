package gtpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/wmnsk/go-gtp/gtpv2/ie"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// patience is how long these tests wait for what must come. The server is as patient
// with them: on a busy machine it neither repeats nor refuses what it otherwise would.
const patience = time.Minute

// wire is the product's server on a real socket, with an SGW's socket before
// it.
type wire struct {
	t      *testing.T
	site   *site
	server *Server
	to     netip.AddrPort
	sgw    *net.UDPConn
	frames []gtptest.Frame // all that came from the server
}

func onWire(t *testing.T) *wire {
	loopback := net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0"))
	conn, err := net.ListenUDP("udp4", loopback)
	if err != nil {
		t.Fatal(err)
	}
	peer, err := net.ListenUDP("udp4", loopback)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, site: newSite(t), sgw: peer, to: conn.LocalAddr().(*net.UDPAddr).AddrPort()}
	w.server = New(Config{
		AllowedPeers: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, RestartCounter: w.site.restartCounter,
		T3: patience, QueueTime: patience, AnswerTime: 10 * patience,
	}, w.site.Procedures)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.server.Serve(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		peer.Close()
	})
	return w
}

// own returns the SGW of this wire: its F-TEIDs are the socket's address.
func (w *wire) own() gtptest.SGW {
	s := gtptest.New()
	s.Addr = netip.MustParseAddr("127.0.0.1")
	return s
}

func (w *wire) send(b []byte) {
	w.t.Helper()
	if _, err := w.sgw.WriteToUDPAddrPort(b, w.to); err != nil {
		w.t.Fatal(err)
	}
}

// ask sends a request and waits for its answer.
func (w *wire) ask(b []byte) gtptest.Answer {
	w.t.Helper()
	w.send(b)
	return gtptest.Read(w.receive())
}

func (w *wire) receive() []byte {
	w.t.Helper()
	buf := make([]byte, 65535)
	if err := w.sgw.SetReadDeadline(time.Now().Add(patience)); err != nil {
		w.t.Fatal(err)
	}
	n, err := w.sgw.Read(buf)
	if err != nil {
		w.t.Fatalf("no answer: %v; counters %v", err, w.server.Counters())
	}
	w.frames = append(w.frames, gtptest.Frame{Port: gtp.Port, Payload: buf[:n]})
	return buf[:n]
}

// A session's whole life over real sockets, with every kind of request there
// is; the dissector has nothing to say about any answer.
func TestLifeOnTheWire(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/restoration", "restart-counter-of-the-gateway")
	w := onWire(t)
	s := w.own()
	next := func() gtptest.SGW { s.Seq++; return s }
	echo := w.ask(next().Echo())
	if echo.Type != gtp.TypeEchoResponse {
		t.Errorf("echo: %+v", echo)
	}
	w.send([]byte{0x72, 1, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0})
	if b := w.receive(); b[1] != gtp.TypeVersionNotSupported {
		t.Errorf("GTPv1: % x", b)
	}
	created := w.ask(next().Create())
	teid := created.TEIDOf(1)
	if created.Cause() != 16 || teid == 0 {
		t.Fatalf("create: %+v", created)
	}
	// A peer that heard two counters would let all sessions go.
	if c := created.Find(ie.Recovery, 0).Payload[0]; c == 0 || c != echo.Find(ie.Recovery, 0).Payload[0] {
		t.Errorf("restart counter %d, in the Echo Response %d", c, echo.Find(ie.Recovery, 0).Payload[0])
	}
	if again := w.ask(s.Create()); again.TEIDOf(1) != teid || w.server.Counters()[countRepeated] != 1 {
		t.Errorf("repeated: %+v", again)
	}
	if a := w.ask(next().Modify(teid, true)); a.Cause() != 16 {
		t.Errorf("modify: %+v", a)
	}
	children := []*ie.IE{ie.NewEPSBearerID(5), ie.NewProcedureTransactionID(1), ie.NewGroupedIE(ie.BearerContext, ie.NewEPSBearerID(6))}
	for _, request := range [][]byte{next().Change(teid), next().Suspend(teid), next().Resume(teid), next().LostSets(3)} {
		if a := w.ask(request); a.Cause() != 16 {
			t.Errorf("type %d: %+v", request[1], a)
		}
	}
	command := next()
	update := w.ask(command.ModifyCommand(teid))
	if update.Type != gtp.TypeUpdateBearerRequest || update.Seq != command.Seq|0x800000 || update.TEID != s.ControlTEID {
		t.Errorf("command: %+v", update)
	}
	command.Seq |= 0x800000
	w.send(command.Request(gtp.TypeUpdateBearerResponse, teid, ie.NewCause(16, 0, 0, 0, nil), ie.NewGroupedIE(ie.BearerContext, ie.NewEPSBearerID(5), ie.NewCause(16, 0, 0, 0, nil))))
	for typ, to := range map[uint8]uint32{40: teid, 66: teid, 68: teid, 200: 0} {
		if a := w.ask(next().Request(typ, to, children...)); a.Cause() != 68 {
			t.Errorf("type %d: %+v", typ, a)
		}
	}
	stranger := next()
	stranger.IMSI = "460019999999999"
	if a := w.ask(stranger.Create()); a.Cause() != 93 {
		t.Errorf("stranger: %+v", a)
	}
	if a := w.ask(next().Request(gtp.TypeCreateSessionRequest, 0)); a.Cause() != 70 {
		t.Errorf("empty create: %+v", a)
	}
	if a := w.ask(next().Delete(teid + 1)); a.Cause() != 64 || a.TEID != 0 {
		t.Errorf("delete of nothing: %+v", a)
	}
	if a := w.ask(next().Delete(teid)); a.Cause() != 16 || a.TEID != s.ControlTEID {
		t.Errorf("delete: %+v", a)
	}
	gtptest.Dissect(t, w.frames)
}

// The same over GTPv1.
func TestLifeOnTheWireV1(t *testing.T) {
	w := onWire(t)
	s := gtptest.NewSGSN()
	s.Addr = w.own().Addr
	next := func() gtptest.SGSN { s.Seq++; return s }
	ask := func(b []byte) gtptest.AnswerV1 { w.send(b); return gtptest.ReadV1(w.receive()) }
	if a := ask(next().Echo()); a.Type != gtp.TypeEchoResponse || a.Seq != s.Seq {
		t.Errorf("echo: %+v", a)
	}
	created := ask(next().Create())
	teid := created.TEIDOf(17)
	if created.Cause() != 128 || teid == 0 || created.TEID != s.ControlTEID || created.Seq != s.Seq {
		t.Fatalf("create: %+v", created)
	}
	if again := ask(s.Create()); again.TEIDOf(17) != teid || w.server.Counters()[countRepeated] != 1 {
		t.Errorf("repeated: %+v", again)
	}
	before := w.session(teid)
	if a := ask(next().Update(teid)); a.Cause() != 128 {
		t.Errorf("update: %+v", a)
	}
	if a := ask(next().Inform(teid)); a.Cause() != 128 {
		t.Errorf("change: %+v", a)
	}
	stranger := next()
	stranger.IMSI = "460019999999999"
	if a := ask(stranger.Create()); a.Cause() != 222 {
		t.Errorf("stranger: %+v", a)
	}
	if a := ask(next().Delete(teid + 1)); a.Cause() != 192 || a.TEID != 0 {
		t.Errorf("delete of nothing: %+v", a)
	}
	if after := w.session(teid); after == nil || !bytes.Equal(after.Address, before.Address) {
		t.Errorf("session %v was %v", after, before)
	}
	if a := ask(next().Delete(teid)); a.Cause() != 128 || w.session(teid) != nil {
		t.Errorf("delete: %+v", a)
	}
	gtptest.Dissect(t, w.frames)
}

// Mutations of good requests, by the thousand: no panic, nothing answered that
// can't be read, no session harmed, and the server still serves.
func TestMutatedRequests(t *testing.T) {
	w := onWire(t)
	s := w.own()
	created := w.ask(s.Create())
	teid := created.TEIDOf(1)
	before := w.session(teid)
	rng := rand.New(rand.NewPCG(1, 2))
	other, sgsn := s, gtptest.NewSGSN()
	other.IMSI, sgsn.IMSI = "460019999999999", "460019999999999" // what becomes valid by chance is refused
	// Another TEID, and not one that a flipped bit makes the session's.
	seeds := [][]byte{
		other.Create(), s.Modify(^teid, true), s.Delete(^teid), s.Echo(), s.Request(68, ^teid), s.ModifyCommand(^teid),
		sgsn.Create(), sgsn.Update(^teid), sgsn.Delete(^teid), sgsn.Inform(^teid), sgsn.Echo(),
	}
	rounds := 4000
	if testing.Short() {
		rounds = 500
	}
	for i := range rounds {
		b := append([]byte(nil), seeds[rng.IntN(len(seeds))]...)
		for range 1 + rng.IntN(4) {
			switch at := rng.IntN(len(b)); rng.IntN(4) {
			case 0:
				b[at] = byte(rng.Uint32())
			case 1:
				b[at] ^= 1 << rng.IntN(8)
			case 2:
				b = append(b[:at:at], b[min(len(b), at+1+rng.IntN(8)):]...)
			case 3:
				b = append(b[:at:at], append([]byte{byte(rng.Uint32()), 0, 1, 0}, b[at:]...)...)
			}
			if len(b) == 0 {
				b = []byte{0}
			}
		}
		if len(b) >= 8 && rng.IntN(2) == 0 {
			binary.BigEndian.PutUint16(b[2:], uint16(len(b)-4))
		}
		w.send(b)
		if i%50 == 49 { // let it keep up: an Echo comes back after all before it
			w.untilEcho(s, uint32(i))
		}
	}
	counters := w.server.Counters()
	if counters[countHandlerPanic] != 0 || counters[gtp.ReasonPanic] != 0 {
		t.Errorf("panics: %v", counters)
	}
	if after := w.session(teid); after != before {
		t.Error("the session was changed")
	}
}

// session looks the record up.
func (w *wire) session(teid uint32) (record *command.Session) {
	w.site.View(func(m *state.Machine) { record = m.SessionByTEIDC(teid) })
	return record
}

// untilEcho sends an Echo Request and reads all answers up to its own.
func (w *wire) untilEcho(s gtptest.SGW, seq uint32) {
	w.t.Helper()
	s.Seq = seq
	w.send(s.Echo())
	for {
		b := w.receive()
		if b[0]>>5 == 1 {
			gtptest.ReadV1(b) // it can be read
			continue
		}
		if a := gtptest.Read(b); a.Type == gtp.TypeEchoResponse && a.Seq == seq {
			return
		}
	}
}

func BenchmarkAttach(b *testing.B) {
	s, peer := newSite(b), gtptest.New()
	for b.Loop() {
		peer.Seq++
		m, err := gtp.Parse(peer.Create())
		if err != nil {
			b.Fatal(err)
		}
		s.Handle(b.Context(), sgw, m)
	}
}
