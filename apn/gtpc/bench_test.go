package gtpc

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/policy"
)

// nowhere is a socket that swallows what is sent.
type nowhere struct{ Conn }

func (nowhere) WriteToUDPAddrPort(b []byte, _ netip.AddrPort) (int, error) { return len(b), nil }

// bench is a server whose parts are called directly.
func bench(b *testing.B, cfg Config) (*Server, *loop, *firewall) {
	b.Helper()
	cfg.AllowedPeers, cfg.RestartCounter = prefixes("127.0.20.0/24", "10.0.0.0/8"), three
	s := New(cfg, answering("answer"))
	b.ReportAllocs()
	return s, newLoop(s, nowhere{}), newFirewall(s.cfg.AllowedPeers, s.cfg.CreateRate)
}

// What a duplicate of an answered request costs, from the socket to the answer.
func BenchmarkDuplicate(b *testing.B) {
	for name, request := range map[string][]byte{
		"CreateSession": gtptest.New().Create(), "DeleteSession": gtptest.New().Delete(7), "CreatePDPContext": gtptest.NewSGSN().Create(),
	} {
		b.Run(name, func(b *testing.B) {
			s, l, wall := bench(b, Config{CreateRate: 1 << 30, AnswerTime: time.Hour})
			now := time.Now()
			a, ok := s.admit(wall, nil, now, sgw, request)
			if !ok {
				b.Fatal("not admitted")
			}
			l.arrive(now, a)
			to, j := l.offer()
			to.pop()
			l.finish(now, outcome{job: j, reply: s.handle(context.Background(), j)})
			for b.Loop() {
				a, _ := s.admit(wall, nil, now, sgw, request)
				l.arrive(now, a)
			}
			if s.Counters()[countRepeated] == 0 {
				b.Fatal(s.Counters())
			}
		})
	}
}

// What each way of being dropped costs.
func BenchmarkFirewallDrop(b *testing.B) {
	rules := &policy.Rules{Carriers: []policy.Carrier{
		{Peers: prefixes("127.0.20.0/24"), RATs: []policy.RAT{10}},
		{Peers: prefixes("10.0.0.0/8"), CreatesPerSecond: 1},
	}}
	request := gtptest.New().Create()
	spoofed := func(i uint32) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), gtp.Port)
	}
	for reason, from := range map[string]func(i uint32) netip.AddrPort{
		countPeerNotAllowed: func(uint32) netip.AddrPort { return foreign },
		countCreateRatePeer: spoofed, // any number of sources
		countRATNotOfPeer:   func(uint32) netip.AddrPort { return sgw },
	} {
		b.Run(reason, func(b *testing.B) {
			s, _, wall := bench(b, Config{CreateRate: 1 << 30})
			now, i := time.Now(), uint32(0)
			for b.Loop() {
				i++
				s.admit(wall, rules, now, from(i), request)
			}
			if s.Counters()[reason] == 0 {
				b.Fatal(s.Counters())
			}
		})
	}
}

// What the refusal of a Create costs when there is no room.
func BenchmarkRefusal(b *testing.B) {
	s, l, wall := bench(b, Config{CreateRate: 1 << 30, Full: func() bool { return true }})
	peer := gtptest.New()
	var requests [4096][]byte
	for i := range requests {
		peer.Seq++
		requests[i] = peer.Create()
	}
	now, i := time.Now(), 0
	for b.Loop() {
		i++
		now = now.Add(10 * time.Millisecond)
		a, _ := s.admit(wall, nil, now, sgw, requests[i%len(requests)])
		l.arrive(now, a)
	}
	if s.Counters()[countRefused] == 0 {
		b.Fatal(s.Counters())
	}
}
