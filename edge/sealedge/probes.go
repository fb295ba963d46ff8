package main

import (
	"net/netip"
	"sync"
	"time"

	"github.com/sealedge/sealedge/edge/pathprobe"
	"github.com/sealedge/sealedge/edge/wire"
)

// probes answers terminals that ask whether a path leads to the gateway. Each plane
// asks it about the packets that came up; what it answers leaves as it came.
type probes struct {
	gateway func(netip.Addr) bool // is an inner address of ours
	// stands tells how a terminal's session stands, by its inner address (of IPv6, the
	// first of its /64); false: it has none.
	stands func(netip.Addr) (standing, bool)
	now    func() time.Time

	mu     sync.Mutex
	asked  map[[32]byte]time.Time // guarded by mu: by key, when the terminal has all its answers to be had again
	forgot time.Time              // guarded by mu: when it was last looked through
}

// Answers to the probes of one terminal over the fallback path: so many a second, and
// at once. The carrier's plane counts its own, see gtpu.ProbeRate.
const (
	probesASecond = 10
	probesAtOnce  = 20
)

func newProbes(gateway func(netip.Addr) bool, stands func(netip.Addr) (standing, bool)) *probes {
	return &probes{gateway: gateway, stands: stands, now: time.Now, asked: map[[32]byte]time.Time{}}
}

// carrier answers a packet that came up a session's tunnel; nil: it is no probe.
func (p *probes) carrier(dst, pkt []byte, _ uint64) []byte {
	if !pathprobe.Likely(pkt) {
		return nil
	}
	s, ok := p.stands(sourceOf(pkt))
	return pathprobe.Answer(dst, pkt, p.gateway, wire.ProbeAnswer{
		Path: wire.ProbeCarrier, Admitted: ok, Active: ok && !s.byFallback, Time: p.now(),
	})
}

// fallback answers a packet of the peer with a key; nil: it is no probe. To one too
// many the answer is empty. A terminal that policy doesn't admit gets an answer too:
// then it knows that the way is open and policy is in it.
func (p *probes) fallback(dst, pkt []byte, key [32]byte) []byte {
	if !pathprobe.Likely(pkt) {
		return nil
	}
	s, ok := p.stands(sourceOf(pkt))
	answer := pathprobe.Answer(dst, pkt, p.gateway, wire.ProbeAnswer{
		Path: wire.ProbeFallback, Admitted: ok && s.onFallback, Active: ok && s.byFallback, Time: p.now(),
	})
	if answer != nil && !p.may(key) {
		return answer[:0]
	}
	return answer
}

// may tells whether one more answer is due to a key. What is remembered is bounded:
// only listed peers ask.
func (p *probes) may(key [32]byte) bool {
	const each = time.Second / probesASecond
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.forgot) > time.Minute {
		p.forgot = now
		for k, full := range p.asked {
			if !full.After(now) {
				delete(p.asked, k)
			}
		}
	}
	full := p.asked[key]
	if full.Before(now) {
		full = now
	}
	if full.Sub(now) > (probesAtOnce-1)*each {
		return false
	}
	p.asked[key] = full.Add(each)
	return true
}

// sourceOf is what a terminal is known by: its IPv4 address, or the first of its /64.
func sourceOf(pkt []byte) netip.Addr {
	if pkt[0]>>4 == 4 {
		return netip.AddrFrom4([4]byte(pkt[12:16]))
	}
	prefix, _ := netip.AddrFrom16([16]byte(pkt[8:24])).Prefix(64) // of 128 bits there is one
	return prefix.Addr()
}
