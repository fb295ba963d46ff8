package main

import (
	"encoding/binary"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/apn/gtpu"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/inner"
	"github.com/sealedge/sealedge/edge/wireguard"
)

// fakeNode is a replicated state without replication.
type fakeNode struct {
	mu      sync.Mutex
	machine *state.Machine
	index   uint64
}

func (n *fakeNode) View(fn func(*state.Machine)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fn(n.machine)
}

func (*fakeNode) Changed() <-chan struct{} { return nil }

// do applies a command, which must succeed.
func (n *fakeNode) do(t *testing.T, payload, into proto.Message) {
	t.Helper()
	n.apply(t, 0, payload, into)
}

// doNow applies a command at the time that it is; do does at that of the last one.
func (n *fakeNode) doNow(t *testing.T, payload, into proto.Message) {
	t.Helper()
	n.apply(t, time.Now().UnixNano(), payload, into)
}

func (n *fakeNode) apply(t *testing.T, leaderTime int64, payload, into proto.Message) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.index++
	c := command.New("test", "", "test", payload)
	c.LeaderTime = leaderTime
	r, _, err := n.machine.Apply(n.index, 1, command.Marshal(c))
	if err != nil || r.Code != command.Code_OK {
		t.Fatalf("%T: %v %v", payload, r, err)
	}
	if into != nil {
		if err := r.Into(into); err != nil {
			t.Fatal(err)
		}
	}
}

const imsi = "460011234567890"

var (
	gatewayInner  = netip.MustParseAddr("10.90.0.1")
	gatewayInner6 = netip.MustParseAddr("fd00:90::1")
)

// planes are tunnels over real planes without sockets, and a state with one
// subscriber of two access points.
type planes struct {
	*fakeNode
	*tunnels
	told []uint32 // control TEIDs of the paths that the carrier is to be told of
}

func newPlanes(t *testing.T, withFallback bool) *planes {
	t.Helper()
	p := &planes{fakeNode: &fakeNode{machine: state.New()}}
	network, err := inner.New(inner.Config{Addresses: []netip.Addr{gatewayInner, gatewayInner6}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { network.Close() })
	p.tunnels = &tunnels{
		node: p.fakeNode, plane: gtpu.New(gtpu.Config{Uplink: network.Deliver}), network: network,
		log: slog.New(slog.DiscardHandler), have: map[uint64]*command.Session{}, both: map[uint64]struct{}{},
		ended: func(was *command.Session) { p.told = append(p.told, was.Gtp.LocalTeidC) },
	}
	if withFallback {
		p.fallback, err = wireguard.New(wireguard.Config{Uplink: network.DeliverAll})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.fallback.Close() })
	}
	p.do(t, &command.PutPolicy{Document: []byte("policy"), Pools: []*command.Pool{
		{Apn: "seal.corp", PrefixAddress: []byte{10, 90, 0, 0}, PrefixBits: 16, Excluded: [][]byte{{10, 90, 0, 1}}},
		{Apn: "archive.corp", PrefixAddress: []byte{10, 91, 0, 0}, PrefixBits: 16},
		{
			Apn: "seal.corp", PrefixAddress: netip.MustParseAddr("fd00:90::").AsSlice(), PrefixBits: 48,
			Excluded: [][]byte{netip.MustParseAddr("fd00:90::").AsSlice()}, // the gateway's
		},
	}}, nil)
	p.do(t, &command.PutSubscriber{AnyVersion: true, Subscriber: &command.Subscriber{
		Imsi: imsi, Apns: []string{"seal.corp", "archive.corp"}, State: command.DeviceState_ACTIVE, WireguardPublicKey: key[:],
	}}, nil)
	return p
}

var key = [32]byte{9}

// attach opens a session of IPv4 through the carrier.
func (p *planes) attach(t *testing.T, apn string, ebi, teid uint32) *command.Session {
	t.Helper()
	return p.attachAs(t, imsi, apn, ebi, teid, 1)
}

// attachAs opens a session of a PDN type (TS 29.274 8.34).
func (p *planes) attachAs(t *testing.T, imsi, apn string, ebi, teid, pdnType uint32) *command.Session {
	t.Helper()
	fteid := &command.FTEID{Teid: teid, Address: []byte{127, 0, 20, 1}}
	opened := new(command.Opened)
	var version uint64
	p.View(func(m *state.Machine) { version = m.Subscriber(imsi).GetVersion() })
	p.do(t, &command.OpenSession{
		Imsi: imsi, Apn: apn, PolicyRevision: 1, SubscriberVersion: version, Entropy: binary.BigEndian.AppendUint32(make([]byte, 12), teid),
		Gtp: &command.GTPPath{Version: 2, Ebi: ebi, PeerC: fteid, PeerU: fteid, PdnType: pdnType},
	}, opened)
	return opened.Session
}

// An answer on its way out must not bring back a session that was revoked, and
// cleared away, since it was committed.
func TestPrepareAfterRevocation(t *testing.T) {
	p := newPlanes(t, false)
	s := p.attach(t, "seal.corp", 5, 7)
	p.do(t, &command.RevokeSubscriber{Imsi: imsi, Reason: "stolen"}, nil)
	p.reconcile()
	p.prepare(t.Context(), s)
	if n := p.plane.Tunnels(); n != 0 {
		t.Errorf("%d tunnels of a revoked subscriber", n)
	}
}

func TestPrepareSetsUp(t *testing.T) {
	p := newPlanes(t, false)
	s := p.attach(t, "seal.corp", 5, 7)
	p.prepare(t.Context(), s)
	if n := p.plane.Tunnels(); n != 1 {
		t.Errorf("%d tunnels, want 1", n)
	}
	p.do(t, &command.RevokeSubscriber{Imsi: imsi, Reason: "stolen"}, nil)
	p.reconcile()
	if n := p.plane.Tunnels(); n != 0 || len(p.told) != 1 {
		t.Errorf("%d tunnels after a revocation, carrier told of %d", n, len(p.told))
	}
}

// The carrier is told of what ended here, not of what it replaced itself: it may
// use the same TEID for the new path.
func TestCarrierNotToldOfReplacement(t *testing.T) {
	p := newPlanes(t, false)
	p.attach(t, "seal.corp", 5, 7)
	p.reconcile()
	s := p.attach(t, "seal.corp", 5, 8)
	p.reconcile()
	if len(p.told) != 0 {
		t.Fatalf("carrier told of %x", p.told)
	}
	p.do(t, &command.ClosePath{Session: s.Id, Reason: "operator"}, nil)
	p.reconcile()
	if len(p.told) != 1 || p.told[0] != s.Gtp.LocalTeidC {
		t.Errorf("carrier told of %x, want %x", p.told, s.Gtp.LocalTeidC)
	}
}

// A WireGuard key stands for one inner address, that of the subscriber's first
// access point; more of them don't break the list of peers.
func TestFallbackOfTwoAPNs(t *testing.T) {
	p := newPlanes(t, true)
	if !p.reconcile() {
		t.Error("peers not set")
	}
	var peers []wantedPeer
	p.View(func(m *state.Machine) { peers, _ = wantedPeers(m, time.Now()) })
	if len(peers) != 1 || peers[0].PublicKey != key || !netip.MustParsePrefix("10.90.0.0/16").Contains(peers[0].Address) {
		t.Fatalf("peers %v, want one with an address of seal.corp", peers)
	}
	opened := new(command.Opened)
	p.do(t, &command.AttachWireGuard{
		Imsi: imsi, Apn: "seal.corp", PublicKey: key[:], PolicyRevision: 1, SubscriberVersion: 1,
	}, opened)
	if a, _ := netip.AddrFromSlice(opened.Session.Address); a != peers[0].Address {
		t.Errorf("the session has %v, the peer %v", a, peers[0].Address)
	}
}

// What could not be set is tried again though nothing changes in the state.
func TestPeersSetAgain(t *testing.T) {
	p := newPlanes(t, true)
	working := p.fallback
	p.fallback, _ = wireguard.New(wireguard.Config{Uplink: func([][]byte) {}})
	p.fallback.Close()
	if p.reconcile() {
		t.Fatal("a closed endpoint took peers")
	}
	p.fallback = working
	p.due = time.Now() // the pause is over
	if !p.reconcile() || !p.due.IsZero() {
		t.Error("not tried again")
	}
}

// A node whose configuration has no fallback path any more may find sessions on
// it: it sends through the carrier instead, and doesn't fall over.
func TestSessionOnFallbackThatIsGone(t *testing.T) {
	p := newPlanes(t, false)
	s := p.attach(t, "seal.corp", 5, 7)
	p.do(t, &command.AttachWireGuard{
		Imsi: imsi, Apn: "seal.corp", PublicKey: key[:], PolicyRevision: 1, SubscriberVersion: 1,
	}, nil)
	p.reconcile()
	p.network.Deliver(echo([4]byte(s.Address), gatewayInner.As4()))
	if n := p.network.Counters()["panic"]; n != 0 {
		t.Fatal("the answer to a packet broke its handling")
	}
	if n := p.plane.Counters()["not-serving"]; n != 1 {
		t.Errorf("%d answers given to the carrier's path, want 1", n)
	}
}

// echo makes an ICMP Echo Request.
func echo(src, dst [4]byte) []byte {
	b := make([]byte, 28)
	b[0], b[8], b[9] = 0x45, 64, 1
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	binary.BigEndian.PutUint16(b[10:], ^sum(b[:20]))
	b[20] = 8
	binary.BigEndian.PutUint16(b[22:], ^sum(b[20:]))
	return b
}

func sum(b []byte) uint16 {
	var s uint32
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	s = s>>16 + s&0xffff
	return uint16(s>>16 + s)
}

// A second connection to the same access point takes the place of the first
// (docs/divergences.md). Of its other bearer the carrier has to be told: to its
// knowledge both are there.
func TestTheCarrierIsToldOfAnotherBearersEnd(t *testing.T) {
	p := newPlanes(t, false)
	first := p.attach(t, "seal.corp", 5, 7)
	p.prepare(t.Context(), first)
	again := p.attach(t, "seal.corp", 5, 8)
	p.prepare(t.Context(), again)
	p.reconcile()
	if len(p.told) != 0 {
		t.Errorf("the carrier is told of the end of %x, which its own request has replaced", p.told)
	}
	second := p.attachAs(t, imsi, "seal.corp", 6, 9, 2)
	p.prepare(t.Context(), second)
	p.reconcile()
	if want := []uint32{again.Gtp.LocalTeidC}; !slices.Equal(p.told, want) {
		t.Errorf("the carrier is told of %x, want %x", p.told, want)
	}
}

// A peer that has restarted since has lost the bearer, and may have given its
// TEID to another terminal's.
func TestARestartedPeerIsNotToldOfAnotherBearersEnd(t *testing.T) {
	p := newPlanes(t, false)
	open := func(ebi, teid, counter uint32) *command.Session {
		opened, fteid := new(command.Opened), &command.FTEID{Teid: teid, Address: []byte{127, 0, 20, 1}}
		p.do(t, &command.OpenSession{
			Imsi: imsi, Apn: "seal.corp", PolicyRevision: 1, SubscriberVersion: 1, Entropy: binary.BigEndian.AppendUint32(make([]byte, 12), ebi),
			Gtp: &command.GTPPath{Version: 2, Ebi: ebi, PeerC: fteid, PeerU: fteid, PeerRestartCounter: counter, PeerRestartKnown: true},
		}, opened)
		p.prepare(t.Context(), opened.Session)
		return opened.Session
	}
	open(5, 7, 1)
	before := open(6, 8, 2)
	if len(p.told) != 0 {
		t.Errorf("the carrier is told of %x", p.told)
	}
	open(7, 9, 2)
	if want := []uint32{before.Gtp.LocalTeidC}; !slices.Equal(p.told, want) {
		t.Errorf("the carrier is told of %x, want %x", p.told, want)
	}
}
