package gtpc

import (
	"errors"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
)

// EchoPeer is a peer whose path is watched, and the version of GTP that it
// speaks, 1 or 2.
type EchoPeer struct {
	Addr    netip.Addr
	Version uint8
}

// echoStep is the time between two Echo Requests to different peers, if there is
// that much: many peers aren't asked all at once.
const echoStep = 10 * time.Millisecond

// echoes are the Echo Requests to be sent: every peer that holds sessions is
// asked once in each interval (TS 29.274 7.1.1, TS 29.060 7.2.1). The loop owns
// it.
type echoes struct {
	round time.Time  // when the next round begins; zero: never
	left  []EchoPeer // of this round
	step  time.Duration
	at    time.Time // when the first of left is asked
}

func (e *echoes) next() (time.Time, bool) {
	if len(e.left) > 0 && e.at.Before(e.round) {
		return e.at, true
	}
	return e.round, !e.round.IsZero()
}

// begin makes a round of the peers.
func (e *echoes) begin(now time.Time, interval time.Duration, peers []EchoPeer) {
	e.round = now.Add(interval)
	e.left, e.at = peers, now
	e.step = min(echoStep, interval/time.Duration(max(1, len(peers))))
}

// due takes out the next peer that is to be asked now.
func (e *echoes) due(now time.Time) (EchoPeer, bool) {
	if len(e.left) == 0 || now.Before(e.at) {
		return EchoPeer{}, false
	}
	peer := e.left[0]
	e.left = e.left[1:]
	e.at = e.at.Add(e.step)
	return peer, true
}

// watched lists the peers to be asked, each once: a path is one for all that
// goes over it, whatever the version.
func (l *loop) watched() []EchoPeer {
	var list []EchoPeer
	seen := map[netip.Addr]bool{}
	for _, peer := range l.s.cfg.EchoPeers() {
		peer.Addr = peer.Addr.Unmap()
		_, allowed := prefixOf(l.s.bounds.Load().allowed, peer.Addr)
		if seen[peer.Addr] || !allowed {
			continue
		}
		if peer.Version != 1 {
			peer.Version = 2
		}
		seen[peer.Addr] = true
		list = append(list, peer)
	}
	return list
}

// echo sends the Echo Requests that are due.
func (l *loop) echo(now time.Time) {
	if !l.echoes.round.IsZero() && !now.Before(l.echoes.round) {
		peers := l.watched()
		l.paths.follow(peers)
		l.echoes.begin(now, l.s.cfg.EchoInterval, peers)
	}
	for {
		peer, ok := l.echoes.due(now)
		if !ok {
			return
		}
		l.ask(now, l.echoRequest(now, peer))
	}
}

func (l *loop) echoRequest(now time.Time, peer EchoPeer) *request {
	return &request{
		procedure: echoing, version: peer.Version, to: netip.AddrPortFrom(peer.Addr, gtp.Port),
		marshal: func(seq uint32) []byte {
			counter := l.s.cfg.RestartCounter()
			m := gtp.EchoRequest{Header: gtp.Header{Version: peer.Version, Seq: seq}, Recovery: &counter}
			return m.Marshal()
		},
		done: func(_ time.Time, _ gtp.Message, err error) {
			if !errors.Is(err, ErrNoAnswer) || !l.paths.unanswered(peer.Addr, now) {
				return
			}
			l.s.counts.add(countPathFailed, func() { l.s.log.Warn("GTP path failed", "peer", peer.Addr, "err", err) })
			if l.s.cfg.OnPathFailed != nil {
				l.s.cfg.OnPathFailed(peer.Addr)
			}
		},
	}
}

// heard notes that a peer lives.
func (l *loop) heard(now time.Time, peer netip.Addr) {
	if !l.paths.hear(now, peer) {
		return
	}
	l.s.counts.add(countPathRestored, func() { l.s.log.Info("GTP path restored", "peer", peer) })
	if l.s.cfg.OnPathRestored != nil {
		l.s.cfg.OnPathRestored(peer)
	}
}

// answerEcho answers at once and remembers nothing: the answer is the present.
func (l *loop) answerEcho(now time.Time, a arrival, m *gtp.EchoRequest) {
	l.s.counts.add(countEcho, nil)
	l.noteClaim(now, a.peer.Addr(), m.Recovery)
	response := gtp.EchoResponse{Header: gtp.Header{Version: m.Version, Seq: m.Seq}, Recovery: l.s.cfg.RestartCounter()}
	l.send(a.peer, response.Marshal(), "", "")
}

// noteRestart takes the restart counter of an answer to an Echo Request of ours.
func (l *loop) noteRestart(now time.Time, peer netip.Addr, counter uint8) {
	l.note(now, l.restarts, l.s.cfg.OnPeerRestart, peer, counter)
}

// noteClaim takes the restart counter of any other message, whose sender may be
// somebody else. Nil: it told none.
func (l *loop) noteClaim(now time.Time, peer netip.Addr, told *uint8) {
	if told != nil {
		l.note(now, l.claims, l.s.cfg.OnRestartClaimed, peer, *told)
	}
}

// note reports a counter to somebody when it is news.
func (l *loop) note(now time.Time, heard restarts, to func(netip.Addr, uint8), peer netip.Addr, counter uint8) {
	report, different := heard.note(now, peer, counter)
	if different {
		l.s.counts.add(countRestartCounter, func() { l.s.log.Info("GTP peer told its restart counter", "peer", peer, "counter", counter) })
	}
	if report && to != nil {
		to(peer, counter)
	}
}

// AskCounter has a peer asked for its restart counter by an Echo Request, whose
// answer OnPeerRestart hears. A request says whose it is, and may be anybody's; an
// answer to a number that we made up comes from where we asked. A peer is asked
// once a minute at most (TS 29.274 7.1.1), and what can't be asked now isn't
// asked. It doesn't block, and may be called by Config's functions.
func (s *Server) AskCounter(peer EchoPeer) {
	s.mu.Lock()
	l := s.loop
	s.mu.Unlock()
	if l == nil {
		return
	}
	select {
	case l.doubts <- peer:
	default:
	}
}

// doubt asks a peer for its counter.
func (l *loop) doubt(now time.Time, peer EchoPeer) {
	peer.Addr = peer.Addr.Unmap()
	if _, allowed := prefixOf(l.s.bounds.Load().allowed, peer.Addr); !allowed || len(l.asked.byKey) >= maxAsked {
		return
	}
	if peer.Version != 1 {
		peer.Version = 2
	}
	if ask, _ := l.doubted.note(now, peer.Addr, 0); ask {
		l.ask(now, l.echoRequest(now, peer))
	}
}
