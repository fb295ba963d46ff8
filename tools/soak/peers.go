package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
)

// Two carriers have the gateway's ear. The sessions of one have to live. Those of
// the other are worn out: everything real is done with them over and over, and
// what that says is the material of the mutations, which may end them.
const (
	liveIMSI  = "0010155555" // and five digits
	wornIMSI  = "0010188888"
	livePeers = 4 // two over each version
	wornPeers = 2
	wornLines = 16 // subscribers of each worn peer
)

// carriersOf are put under the policy's spec: whoever takes a session over must
// have its subscriber, so that of a live session nobody else does.
const carriersOf = `
  carriers:
    - {name: live, peers: ["%s"], imsiPrefixes: ["` + liveIMSI + `"]}
    - {name: worn, peers: ["%s"], imsiPrefixes: ["` + wornIMSI + `"]}
`

// livePrefix is how messages spell the beginning of a live session's IMSI
// (TS 29.274 8.3): what has it is not sent, because its subscriber's own peer
// might.
var livePrefix = []byte{0x00, 0x01, 0x51, 0x55, 0x55}

const apnName = "seal.corp"

// hands is how many things are done at once where only the end matters.
const hands = 32

// restarts is every peer's restart counter. It is the same for all, so that a
// real message from another peer's address says nothing of a restart.
const restarts = 7

func subscriber(imsi string, v1 bool, pdn carrier.PDNType) (carrier.Subscriber, error) {
	i, err1 := ident.ParseIMSI(imsi)
	imei, err2 := ident.ParseIMEI(imeiOf(imsi))
	apn, err3 := ident.ParseAPN(apnName)
	plmn, err4 := ident.ParsePLMN("00101")
	return carrier.Subscriber{
		IMSI: i, IMEI: imei, APN: apn, PLMN: plmn, GTPv1: v1, PDNType: pdn, TAC: 1, Cell: 1, ConnectionSet: 9 * uint16(pdn&1),
	}, errors.Join(err1, err2, err3, err4)
}

func imeiOf(imsi string) string { return "35693803" + imsi[9:15] }

// enlist puts subscribers on the allow-list.
func (s *site) enlist(ctx context.Context, prefix string, n int) error {
	return all(ctx, n, func(ctx context.Context, i int) error {
		imsi := fmt.Sprintf("%s%05d", prefix, i)
		return s.call(ctx, "PUT", "/v1/terminals/"+imsi, adminapi.Terminal{
			IMSI: imsi, IMEIs: []string{imeiOf(imsi)}, APNs: []string{apnName}, Label: "soak",
		}, nil)
	})
}

// tap is a peer's socket, which shows what is sent.
type tap struct {
	*net.UDPConn
	sent func(b []byte)
}

// WriteToUDPAddrPort shows the datagram and sends it.
func (t tap) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	t.sent(b)
	return t.UDPConn.WriteToUDPAddrPort(b, to)
}

// newPeer starts a node of a carrier, which is as patient as a busy machine needs it. sent
// sees what it sends: in the control plane, or as a user.
func newPeer(at, gateway netip.Addr, sent func(user bool, b []byte)) (*carrier.Carrier, error) {
	return carrier.New(carrier.Config{
		Address: at, Gateway: gateway, RestartCounter: restarts, T3: 500 * time.Millisecond, N3: 40,
		Listen: func(at netip.AddrPort) (carrier.Conn, error) {
			conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
			if err != nil {
				return nil, err
			}
			_ = conn.SetReadBuffer(4 << 20)
			user := at.Port() == carrier.UserPort
			return tap{conn, func(b []byte) { sent(user, b) }}, nil
		},
	})
}

// line is a live session.
type line struct {
	imsi          string
	peer          int
	bearer        *carrier.Bearer
	control, user uint32 // the gateway's TEIDs
}

// living are the live sessions and their peers.
type living struct {
	peers []*carrier.Carrier
	lines []*line
	pings atomic.Uint64 // answered
	again atomic.Uint64 // sent once more, for want of an answer
}

// newLiving makes n live sessions. That each works, and by which TEIDs, is found
// out with one message in each plane.
func newLiving(ctx context.Context, s *site, n int) (*living, error) {
	l := new(living)
	heads := make([]struct {
		sync.Mutex
		last [2]uint32 // TEID of the last message in each plane
	}, livePeers)
	for i := range livePeers {
		p, err := newPeer(s.ip(20, byte(1+i)), s.ip(10, 1), func(user bool, b []byte) {
			if len(b) < 8 {
				return
			}
			h := &heads[i]
			h.Lock()
			defer h.Unlock()
			if teid := binary.BigEndian.Uint32(b[4:]); user && b[1] == gPDU {
				h.last[1] = teid
			} else if !user && b[1] > 3 {
				h.last[0] = teid
			}
		})
		if err != nil {
			return l, err
		}
		l.peers = append(l.peers, p)
	}
	l.lines = make([]*line, n)
	// The peers work at once, but each does one thing after the other, so that its
	// last message is the line's.
	return l, all(ctx, livePeers, func(ctx context.Context, p int) error {
		for i := p; i < n; i += livePeers {
			pdn := carrier.IPv4
			if i%8 >= livePeers {
				pdn = carrier.IPv4v6
			}
			who, err := subscriber(fmt.Sprintf("%s%05d", liveIMSI, i), p%2 == 1, pdn)
			if err != nil {
				return err
			}
			b, err := l.peers[p].Attach(ctx, who)
			if err != nil {
				return fmt.Errorf("session %d: %w", i, err)
			}
			if err := b.NotifyChange(ctx, carrier.Move{Cell: 2}); err != nil {
				return fmt.Errorf("session %d: %w", i, err)
			}
			one := &line{imsi: who.IMSI.String(), peer: p, bearer: b}
			l.lines[i] = one
			if err := l.ping(ctx, one); err != nil {
				return err
			}
			heads[p].Lock()
			one.control, one.user = heads[p].last[0], heads[p].last[1]
			heads[p].Unlock()
		}
		return nil
	})
}

// Patience with pings: a failover takes its time.
const (
	pingTime = time.Second
	pingMost = 20
)

// ping asks over a session until there is an answer.
func (l *living) ping(ctx context.Context, one *line) (err error) {
	for range pingMost {
		tried, cancel := context.WithTimeout(ctx, pingTime)
		_, err = one.bearer.Ping(tried, innerGateway)
		cancel()
		switch {
		case err == nil:
			l.pings.Add(1)
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case one.bearer.Err() != nil:
			return fmt.Errorf("the session of %s has ended: %w", one.imsi, one.bearer.Err())
		}
		l.again.Add(1)
	}
	return fmt.Errorf("the session of %s is dead: %w", one.imsi, err)
}

// pingAll asks over every session.
func (l *living) pingAll(ctx context.Context) error {
	return all(ctx, len(l.lines), func(ctx context.Context, i int) error { return l.ping(ctx, l.lines[i]) })
}

func (l *living) close() {
	for _, p := range l.peers {
		_ = p.Close()
	}
}

// worn are the peers that give the material.
type worn struct {
	peers  []*carrier.Carrier
	rounds atomic.Uint64 // of what is done with a session
	real   *material
}

func newWorn(s *site) (*worn, error) {
	w := &worn{real: newMaterial()}
	for i := range wornPeers {
		p, err := newPeer(s.ip(20, byte(17+i)), s.ip(10, 1), func(user bool, b []byte) { w.real.add(i, user, b) })
		if err != nil {
			return w, err
		}
		w.peers = append(w.peers, p)
	}
	return w, nil
}

func (w *worn) close() {
	for _, p := range w.peers {
		_ = p.Close()
	}
}

// run does everything that there is to do with sessions until ctx ends. What
// comes of it doesn't matter: mutations may have ended any of them.
func (w *worn) run(ctx context.Context, seed uint64) {
	var lines sync.WaitGroup
	for n := range wornPeers * wornLines {
		lines.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(n)))
			for ctx.Err() == nil {
				w.round(ctx, r, n)
				w.rounds.Add(1)
			}
		})
	}
	lines.Wait()
}

func (w *worn) round(ctx context.Context, r *rand.Rand, n int) {
	peer, v1 := n%wornPeers, n/wornPeers%2 == 1
	who, err := subscriber(fmt.Sprintf("%s%05d", wornIMSI, n), v1, []carrier.PDNType{carrier.IPv4, carrier.IPv6, carrier.IPv4v6}[r.IntN(3)])
	if err != nil {
		return
	}
	wait := func(d time.Duration) {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
	short := func(do func(ctx context.Context)) {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		do(ctx)
		wait(time.Duration(r.IntN(60)) * time.Millisecond)
	}
	var b *carrier.Bearer
	short(func(ctx context.Context) { b, err = w.peers[peer].Attach(ctx, who) })
	if err != nil {
		wait(200 * time.Millisecond)
		return
	}
	other := w.peers[(peer+1)%wornPeers]
	steps := []func(ctx context.Context){
		func(ctx context.Context) { _, _ = b.Ping(ctx, pingable(b)) },
		func(ctx context.Context) { _ = b.ModifyBearer(ctx, carrier.Move{RAT: carrier.EUTRAN, NewTunnel: true}) },
		func(ctx context.Context) { _ = b.ModifyBearer(ctx, carrier.Move{RAT: carrier.EUTRAN, To: other}) },
		func(ctx context.Context) {
			_ = b.UpdatePDPContext(ctx, carrier.Move{RAT: carrier.UTRAN, NewTunnel: true})
		},
		func(ctx context.Context) { _ = b.UpdatePDPContext(ctx, carrier.Move{RAT: carrier.GERAN, To: other}) },
		func(ctx context.Context) { _ = b.NotifyChange(ctx, carrier.Move{Cell: r.Uint32N(1 << 28)}) },
		func(ctx context.Context) { _ = errors.Join(b.Suspend(ctx), b.Resume(ctx)) },
		func(ctx context.Context) {
			_ = b.ModifyBearerCommand(ctx, carrier.AMBR{Up: 1000, Down: 1000}, carrier.QoS{QCI: 8, ARP: 3})
		},
		func(ctx context.Context) { _ = b.BearerResourceCommand(ctx, carrier.QoS{QCI: 7, ARP: 3}) },
		func(ctx context.Context) { _ = b.DeleteBearerCommand(ctx, 6) },
		func(context.Context) { b.IndicateError() },
		func(ctx context.Context) { _, _ = w.peers[peer].Echo(ctx) },
		func(ctx context.Context) { _, _ = w.peers[peer].EchoV1(ctx) },
	}
	for range 2 + r.IntN(8) {
		if b.Err() != nil || ctx.Err() != nil {
			return
		}
		short(steps[r.IntN(len(steps))])
	}
	if r.IntN(20) == 0 {
		short(func(ctx context.Context) { _ = w.peers[peer].DeleteConnectionSet(ctx, 9) })
	}
	short(func(ctx context.Context) { _ = b.Detach(ctx) })
}

// pingable is what a session can reach.
func pingable(b *carrier.Bearer) netip.Addr {
	if b.Address().IsValid() {
		return innerGateway
	}
	return innerSix
}

// kind is what messages are told apart by.
type kind struct {
	user    bool
	version uint8
	typ     uint8
}

// sample is a real message of a worn peer.
type sample struct {
	kind
	peer int
	b    []byte
}

// material are the last real messages of each kind. It is safe for concurrent
// use.
type material struct {
	mu    sync.Mutex
	kinds []kind            // guarded by mu: in the order in which they came
	of    map[kind][]sample // guarded by mu
	next  map[kind]int      // guarded by mu
}

// samplesKept is of each kind.
const samplesKept = 64

func newMaterial() *material { return &material{of: map[kind][]sample{}, next: map[kind]int{}} }

func (m *material) add(peer int, user bool, b []byte) {
	if len(b) < 8 {
		return
	}
	k := kind{user, b[0] >> 5, b[1]}
	one := sample{k, peer, bytes.Clone(b)}
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := m.of[k]
	if len(kept) == 0 {
		m.kinds = append(m.kinds, k)
	}
	if len(kept) < samplesKept {
		m.of[k] = append(kept, one)
		return
	}
	kept[m.next[k]] = one
	m.next[k] = (m.next[k] + 1) % samplesKept
}

// pick takes a sample: every kind as often as every other.
func (m *material) pick(r *rand.Rand) (sample, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.kinds) == 0 {
		return sample{}, false
	}
	of := m.of[m.kinds[r.IntN(len(m.kinds))]]
	return of[r.IntN(len(of))], true
}

// all does something for 0 to n-1, several at once, and stops at the first error.
func all(parent context.Context, n int, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(parent)
	g.SetLimit(hands)
	for i := range n {
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(parent) // nil after another's error
			}
			return do(ctx, i)
		})
	}
	return g.Wait()
}
