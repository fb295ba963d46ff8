package state

import (
	"bytes"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
)

// world proposes random commands about a few things, so that they meet: three
// terminals and barrels, two orders, two APNs with pools that run out.
type world struct {
	choose func(n int) int // a number below n
	log    *testLog
	twin   *Machine // applies the same log, restored from snapshots now and then
	honest bool     // barrels stamp what they are granted and sign for what they stamped
	seals  map[string]*seal
}

// seal is what a barrel knows: the test's own count of what really happened.
type seal struct {
	counter uint64 // highest grant taken
	use     uint64
	order   string
	left    uint32
	stamped uint32
	total   map[string]uint64 // stampings of each order, for ever
}

func newWorld(t testing.TB, choose func(int) int, honest bool) *world {
	w := &world{choose: choose, log: newLog(t), twin: New(), honest: honest, seals: map[string]*seal{}}
	for _, b := range []string{"B-1", "B-2", "B-3"} {
		w.seals[b] = &seal{total: map[string]uint64{}}
	}
	return w
}

func pick[T any](w *world, list ...T) T { return list[w.choose(len(list))] }

func (w *world) imsi() string {
	return pick(w, "460010000000001", "460010000000002", "460010000000003", "460010000000004")
}
func (w *world) barrel() string  { return pick(w, "B-1", "B-2", "B-3") }
func (w *world) order() string   { return pick(w, "O-1", "O-2") }
func (w *world) apn() string     { return pick(w, "a", "a", "b") }
func (w *world) id(n int) uint64 { return uint64(w.choose(n + 1)) }
func (w *world) number() uint32  { return uint32(w.choose(5)) }
func (w *world) rarely() bool    { return w.choose(12) == 0 }
func (w *world) session() uint64 { return w.id(int(w.log.m.nextSession)) }
func (w *world) text() string    { return pick(w, "", "x", "y") }
func (w *world) content() []byte { return []byte(pick(w, "a", "b")) }

// useID is the number of a use, or one that none has. The numbers have gaps, and
// are high, after an epoch was raised.
func (w *world) useID() uint64 {
	n := w.choose(w.log.m.uses.len() + 1)
	for id := range w.log.m.uses.from(0) {
		if n == 0 {
			return id
		}
		n--
	}
	return pick(w, 0, w.log.m.nextUse+1)
}

// lockID is the number of a lock, or one that none has.
func (w *world) lockID() uint64 {
	n := w.choose(w.log.m.locks.len() + 1)
	for id := range w.log.m.locks.from(0) {
		if n == 0 {
			return id
		}
		n--
	}
	return pick(w, 0, w.log.m.nextLock+1)
}

func (w *world) tunnel() *command.FTEID {
	return &command.FTEID{Teid: uint32(w.choose(9)), Address: w.peer()}
}

// peer is an address of one of three peers, or none.
func (w *world) peer() []byte {
	return pick(w, []byte{127, 0, 20, 1}, []byte{127, 0, 20, 1}, []byte{127, 0, 20, 2}, append(make([]byte, 15), 9), nil)
}

// prefix6 is a /64 in fd00::/32; the first 32 of them are in pools.
func (w *world) prefix6(n int) []byte { return []byte{0xfd, 7: byte(w.choose(n)), 15: 0} }

// path is what a carrier's request brings.
func (w *world) path() *command.GTPPath {
	g := &command.GTPPath{Version: uint32(1 + w.choose(2)), Ebi: uint32(5 + w.choose(2)), PeerC: w.tunnel(), PdnType: uint32(w.choose(4))}
	if w.choose(3) > 0 {
		g.PeerRestartCounter, g.PeerRestartKnown = uint32(w.choose(3)), true
	}
	if w.choose(3) == 0 {
		g.Csids = [][]byte{w.content()}
	}
	return g
}

func (w *world) modification() *command.ModifySession {
	p := &command.ModifySession{Session: w.session(), PeerU: w.tunnel(), Suspension: command.Suspension(w.choose(3))}
	if w.choose(2) == 0 {
		p.Version, p.InterfaceType, p.PeerC = uint32(w.choose(4)), 6, w.tunnel()
	}
	if w.choose(4) == 0 {
		p.Ebi = uint32(5 + w.choose(2))
	}
	if w.choose(2) == 0 {
		p.PeerRestartCounter, p.PeerRestartKnown = uint32(w.choose(3)), true
	}
	if w.choose(3) == 0 {
		p.Csids, p.CsidsKnown = [][]byte{w.content()}, true
	}
	return p
}

func (w *world) release() *command.ReleasePaths {
	p := &command.ReleasePaths{Peer: w.peer(), Limit: uint32(1 + w.choose(3)), Reason: w.text()}
	switch w.choose(4) {
	case 0, 1:
		p.RestartCounter, p.RestartKnown = uint32(w.choose(3)), true
	case 2:
		p.Csids = [][]byte{w.content()}
	case 3:
		p.OpenedBefore = w.log.now.Add(-time.Minute).UnixNano()
	}
	return p
}

func (w *world) pools() []*command.Pool {
	p := []*command.Pool{{Apn: "a", PrefixAddress: []byte{10, 0, 0, 0}, PrefixBits: uint32(28 + w.choose(4))}}
	if !w.rarely() {
		p = append(p, &command.Pool{Apn: "b", PrefixAddress: []byte{10, 0, byte(w.choose(2)), 16}, PrefixBits: 29})
	}
	for range w.choose(3) {
		p[0].Excluded = append(p[0].Excluded, []byte{10, 0, 0, byte(w.choose(16))})
	}
	// IPv6: a has one /64 beside a range, b one range or none.
	p = append(p, &command.Pool{Apn: "a", PrefixAddress: []byte{0xfd, 7: 9, 15: 0}, PrefixBits: 64},
		&command.Pool{Apn: "a", PrefixAddress: []byte{0xfd, 7: 0, 15: 0}, PrefixBits: uint32(61 + w.choose(3)), Excluded: [][]byte{{0xfd, 7: 0, 15: 1}}})
	if !w.rarely() {
		p = append(p, &command.Pool{Apn: "b", PrefixAddress: []byte{0xfd, 7: byte(16 * w.choose(2)), 15: 0}, PrefixBits: 62})
	}
	quarantine := pick[uint32](w, 0, 0, 60, 600)
	for _, pool := range p {
		pool.QuarantineSeconds = quarantine
	}
	if w.rarely() {
		p[0].QuarantineSeconds = 1
	}
	return p
}

func (w *world) subscriber() *command.Subscriber {
	s := &command.Subscriber{Imsi: w.imsi(), State: pick(w, command.DeviceState_ACTIVE, command.DeviceState_ACTIVE, command.DeviceState_ACTIVE, command.DeviceState_SUSPENDED_DEVICE)}
	s.Apns = pick(w, []string{"a"}, []string{"a", "b"}, []string{"b", "a"}, nil)
	if w.choose(3) == 0 {
		s.StaticAddress = []byte{10, 0, 0, byte(w.choose(24))}
	}
	if w.choose(3) == 0 {
		s.StaticPrefix6 = w.prefix6(20)
	}
	if w.choose(2) == 0 {
		s.WireguardPublicKey = bytes.Repeat([]byte{byte(w.choose(4))}, 32)
	}
	return w.handsets(s)
}
