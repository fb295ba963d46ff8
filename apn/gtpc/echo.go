package gtpc

import (
	"errors"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
)

// echoPeers asks every peer with sessions whether it lives (TS 29.274 7.1.1).
func (l *loop) echoPeers(now time.Time) {
	peers := map[netip.Addr]bool{}
	for _, peer := range l.s.cfg.EchoPeers() {
		if peer = peer.Unmap(); peers[peer] || !l.s.allowed(peer) {
			continue
		}
		peers[peer] = true
		l.ask(now, &request{
			to: netip.AddrPortFrom(peer, gtp.Port), reply: gtp.TypeEchoResponse,
			marshal: func(seq uint32) []byte {
				counter := l.s.cfg.RestartCounter()
				m := gtp.EchoRequest{Header: gtp.Header{Seq: seq}, Recovery: &counter}
				return m.Marshal()
			},
			done: func(err error) {
				if err != nil && !errors.Is(err, ErrNotServing) {
					l.s.counts.add(countPathFailed, func() { l.s.log.Warn("GTP path failed", "peer", peer, "err", err) })
				}
			},
		})
	}
	// What is known of peers without sessions is let go.
	for peer := range l.restarts {
		if !peers[peer] {
			delete(l.restarts, peer)
		}
	}
}

// noteRestart compares a peer's restart counter with the one before (TS 23.007
// 18): a peer whose counter changed has lost its sessions.
func (l *loop) noteRestart(peer netip.Addr, counter uint8) {
	before, known := l.restarts[peer]
	if known && before != counter {
		l.s.counts.add(countPeerRestarted, func() {
			l.s.log.Warn("GTP peer restarted", "peer", peer, "counter", counter, "before", before)
		})
	}
	if known || len(l.restarts) < maxPeers {
		l.restarts[peer] = counter
	}
}

// maxPeers bounds what is remembered of peers that only send Echo Requests.
const maxPeers = 4096
