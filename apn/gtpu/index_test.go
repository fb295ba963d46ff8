package gtpu

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// flowWith has key as its TEID, and the key turned round as its IPv4 address.
func flowWith(key uint64) *flow {
	return &flow{keys: [numKeys]uint64{byTEID: key, byInner: ^key, bySession: key}}
}

// The index agrees with a map under random changes, zero key included.
func TestIndexAgreesWithMap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	x := newIndex(byTEID)
	model := map[uint64]*flow{}
	for range 200_000 {
		key := rnd.Uint64N(3000)
		if rnd.IntN(100) == 0 {
			// Now and then empty it, so that tombstones pile up.
			for _, f := range model {
				x.remove(f)
			}
			clear(model)
		}
		switch rnd.IntN(3) {
		case 0, 1:
			f := flowWith(key)
			x.put(f)
			model[key] = f
		case 2:
			if f := model[key]; f != nil {
				x.remove(f)
				delete(model, key)
			}
		}
		if probe := rnd.Uint64N(3000); x.get(probe) != model[probe] {
			t.Fatalf("get(%d) = %v, want %v", probe, x.get(probe), model[probe])
		}
	}
	if x.live != len(model) {
		t.Errorf("live = %d, want %d", x.live, len(model))
	}
	slots := len(x.table.Load().slots)
	if x.used < x.live || x.used*4 >= slots*3 {
		t.Errorf("used = %d with %d live in %d slots", x.used, x.live, slots)
	}
	for key, f := range model {
		if x.get(key) != f {
			t.Errorf("get(%d) lost its flow", key)
		}
	}
	if slots > 8192 {
		t.Errorf("%d slots for at most 3000 flows: tombstones are not reclaimed", slots)
	}
}

// Removing a flow that was replaced leaves its successor.
func TestIndexRemoveOnlyItself(t *testing.T) {
	x := newIndex(byInner)
	old, next := flowWith(7), flowWith(7)
	x.put(old)
	x.put(next)
	x.remove(old)
	if x.get(^uint64(7)) != next || x.live != 1 {
		t.Error("the successor went with what it replaced")
	}
}

// Readers never miss a flow that is there throughout, whatever comes and goes
// beside it and however often the table is rebuilt.
func TestIndexReadersNeverMiss(t *testing.T) {
	x := newIndex(byTEID)
	const lasting = 64
	for k := range uint64(lasting) {
		x.put(flowWith(k * 977))
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				for k := range uint64(lasting) {
					if f := x.get(k * 977); f == nil || f.session() != k*977 {
						t.Errorf("reader missed %d", k*977)
						return
					}
				}
			}
		})
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		var passing []*flow
		for range 2000 {
			f := flowWith(1_000_000 + rnd.Uint64N(1<<40))
			if x.get(f.keys[byTEID]) == nil {
				x.put(f)
				passing = append(passing, f)
			}
			x.put(flowWith(rnd.Uint64N(lasting) * 977))
		}
		for _, f := range passing {
			x.remove(f)
		}
	}
	close(done)
	wg.Wait()
}

// However many peers the control plane names, a bounded number is asked, and
// who comes after one of them went takes its place.
func TestPathsAreBounded(t *testing.T) {
	p := New(Config{Uplink: func([]byte) {}, EchoInterval: minEchoInterval})
	at := func(i int) Tunnel {
		a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		return Tunnel{Session: uint64(i), Local: uint32(i + 1), Peer: 1, PeerAddr: a, Inner: a}
	}
	const peers = maxPaths + 100
	for i := range peers {
		p.Carry(Plan{Put: []Tunnel{at(i)}})
	}
	out := new(sink)
	s := &socket{conn: out}
	now := p.clock()
	p.supervise(s, now)
	if len(p.paths) != maxPaths {
		t.Fatalf("%d paths", len(p.paths))
	}
	// All of them within an interval, each once; and again as none answers.
	for now += int64(minEchoInterval); out.sent < maxPaths; now += int64(time.Second) {
		was := out.sent
		p.supervise(s, now)
		if out.sent == was {
			t.Fatalf("%d requests", was)
		}
	}
	if out.sent != maxPaths {
		t.Errorf("%d requests", out.sent)
	}
	for i := range peers {
		if p.paths[at(i).PeerAddr] == nil {
			continue
		}
		p.Carry(Plan{Delete: []Tunnel{at(i)}})
		if p.supervise(s, now); len(p.paths) != maxPaths {
			t.Fatalf("%d paths after one went", len(p.paths))
		}
		break
	}
	for i := range peers {
		p.Carry(Plan{Delete: []Tunnel{at(i)}})
	}
	if len(p.paths) != 0 || len(p.peers) != 0 || len(p.byPeer) != 0 {
		t.Errorf("left: %d paths, %d peers, %d of peers", len(p.paths), len(p.peers), len(p.byPeer))
	}
}
