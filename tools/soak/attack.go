package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/sealedge/sealedge/tools/sealsim/carrier"
)

// Message types that count here (TS 29.281 table 6.1-1).
const (
	errorIndication = 26
	gPDU            = 255
)

// A role is who sends a mutation, and about what.
type role int

const (
	ownRole      role = iota // a worn peer, about its own sessions: may say anything
	stolenRole               // a worn peer, about a live session
	strangerRole             // somebody who isn't on the allow-list, about any session
	misleadRole              // a live peer, about its own session; what it says can't be taken for a request
	foreignRole              // a live peer, really and about another live peer's session
	roles
)

func (r role) String() string {
	return []string{"by its peer", "of a live session, by another carrier's peer", "by a stranger", "by a live session's own peer, unreadable", "by another peer of the carrier, unaltered"}[r]
}

// weights are out of ten.
var weights = [roles]int{4, 2, 1, 2, 1}

// attack sends mutations. It has one owner.
type attack struct {
	mutator
	real    *material
	live    []*line
	gateway netip.Addr
	worn    []*net.UDPConn // at the worn peers' addresses
	peers   []*net.UDPConn // at the live peers'
	strange []*net.UDPConn
	sent    [roles]uint64
	spared  uint64 // not sent: they might have been a live session's own
	kinds   map[kind]uint64
}

func newAttack(s *site, seed uint64, l *living, w *worn) (*attack, error) {
	a := &attack{
		mutator: mutator{rand.New(rand.NewPCG(seed, 0x5eed))}, real: w.real, live: l.lines, gateway: s.ip(10, 1), kinds: map[kind]uint64{},
	}
	open := func(into *[]*net.UDPConn, at netip.Addr) error {
		conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
		if err == nil {
			*into = append(*into, conn)
		}
		return err
	}
	for i := range byte(livePeers) {
		if err := open(&a.peers, s.ip(20, 1+i)); err != nil {
			return a, err
		}
	}
	for i := range byte(wornPeers) {
		if err := open(&a.worn, s.ip(20, 17+i)); err != nil {
			return a, err
		}
	}
	for i := range byte(4) {
		if err := open(&a.strange, s.ip(99, 1+i)); err != nil {
			return a, err
		}
	}
	return a, nil
}

func (a *attack) close() {
	for _, conn := range slices.Concat(a.worn, a.peers, a.strange) {
		_ = conn.Close()
	}
}

// run sends mutations at a rate until ctx ends.
func (a *attack) run(ctx context.Context, rate int) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	begin, done := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		due := int(time.Since(begin).Seconds() * float64(rate))
		// What a busy machine kept from being sent is not caught up with at once.
		for done = max(done, due-rate/10); done < due; done++ {
			if err := a.one(); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

// one makes a mutation and sends it.
func (a *attack) one() error {
	s, ok := a.real.pick(a.Rand)
	if !ok {
		return nil
	}
	who, conn, b := a.make(s)
	if b == nil || bytes.Contains(b, livePrefix) {
		a.spared++
		return nil
	}
	a.sent[who]++
	a.kinds[s.kind]++
	port := uint16(carrier.ControlPort)
	if s.user {
		port = carrier.UserPort
	}
	// A socket may hear that an earlier datagram found nobody, while the gateway
	// address moves.
	if _, err := conn.WriteToUDPAddrPort(b, netip.AddrPortFrom(a.gateway, port)); err != nil {
		time.Sleep(time.Millisecond)
	}
	return nil
}

// make bends a real message in somebody's name; nil when that one has no use for
// it.
func (a *attack) make(s sample) (who role, conn *net.UDPConn, b []byte) {
	at := a.IntN(10)
	for at >= weights[who] {
		at -= weights[who]
		who++
	}
	one := a.live[a.IntN(len(a.live))]
	switch who {
	case stolenRole:
		b = a.about(one, s)
		if a.IntN(2) == 0 {
			b = a.bend(b)
		}
		return who, a.worn[a.IntN(len(a.worn))], b
	case strangerRole:
		if b = s.b; a.IntN(2) == 0 {
			b = a.about(one, s)
		}
		return who, a.strange[a.IntN(len(a.strange))], a.bend(b)
	case misleadRole:
		if b = a.about(one, s); !s.user {
			return who, a.peers[one.peer], a.mislead(b)
		}
		// A terminal may send what it likes, but its peer not that the tunnel is lost.
		if b = a.bend(b); len(b) > 1 && b[1] == errorIndication {
			b = nil
		}
		return who, a.peers[one.peer], b
	case foreignRole:
		if namesSession(s.kind) {
			b = a.about(one, s)
		}
		return who, a.peers[(one.peer+1+a.IntN(livePeers-1))%livePeers], b
	}
	return who, a.worn[s.peer], a.bend(s.b)
}

// about is a real message with a live session's TEID and a sequence number of its
// own.
func (a *attack) about(one *line, s sample) []byte {
	b := bytes.Clone(s.b)
	teid := one.control
	if s.user {
		teid = one.user
	}
	if s.version == 2 && b[0]&8 == 0 {
		return b // without a TEID
	}
	binary.BigEndian.PutUint32(b[4:], teid)
	if !s.user && len(b) >= 11 {
		binary.BigEndian.PutUint16(b[8:], uint16(a.Uint32()&0x7fff)) // the top bit of GTPv2's tells commands
	}
	return b
}

// namesSession tells the requests of GTP-C that are about the session of their
// TEID and nothing else (TS 29.060 8.2, TS 29.274 5.5.2), and packets.
func namesSession(k kind) bool {
	switch {
	case k.user:
		return k.typ == gPDU
	case k.version == 1:
		return slices.Contains([]uint8{18, 20, 128}, k.typ)
	}
	return slices.Contains([]uint8{34, 36, 38, 64, 66, 68, 162, 164}, k.typ)
}
