// Package usetest gives tests a cluster of one: the real state machine behind
// Propose, View and Changed, with a policy, two terminals and two barrels. What
// is in it is decided by the same code as in production; only Raft is missing.
package usetest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/grant"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

// The cast. Terminal has Barrel checked out; Other has OtherBarrel. Spare is a
// barrel in nobody's hands.
const (
	Terminal    = "460010000000001"
	Other       = "460010000000002"
	Barrel      = "SB-0001"
	OtherBarrel = "SB-0002"
	Spare       = "SB-0003"
	Order       = "WO-2026-001"
	User        = "li.wei"
	APN         = "seal.corp"
	Server      = "127.0.2.1:8443"
)

// MAC is the Wi-Fi address of a barrel.
func MAC(barrel string) string { return "02:00:5e:10:00:" + barrel[len(barrel)-2:] }

// Key is the private key of a barrel, or the gateway's grant key for "".
func Key(barrel string) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, "usetest "+barrel)
	return ed25519.NewKeyFromSeed(seed)
}

// World is a cluster of one node.
type World struct {
	t     testing.TB
	clock func() time.Time

	mu      sync.RWMutex
	machine *state.Machine // guarded by mu
	index   uint64         // guarded by mu
	changed chan struct{}  // guarded by mu
	fail    error          // guarded by mu
	lose    bool           // guarded by mu
	log     [][]byte       // every entry; guarded by mu
}

// New makes a world whose leader reads the time from clock.
func New(t testing.TB, clock func() time.Time) *World {
	w := &World{t: t, clock: clock, machine: state.New(), changed: make(chan struct{})}
	w.Do(&command.PutPolicy{Document: []byte("by hand, see Rules"), Pools: []*command.Pool{
		{Apn: APN, PrefixAddress: []byte{10, 90, 0, 0}, PrefixBits: 16, Excluded: [][]byte{{10, 90, 0, 1}}},
		{Apn: APN, PrefixAddress: netip.MustParseAddr("fd00:90::").AsSlice(), PrefixBits: 48},
	}})
	for _, imsi := range []string{Terminal, Other} {
		w.Do(&command.PutSubscriber{Subscriber: &command.Subscriber{
			Imsi: imsi, Apns: []string{APN}, State: command.DeviceState_ACTIVE,
			StaticAddress: Address(imsi).AsSlice(), StaticPrefix6: Prefix6(imsi).Addr().AsSlice(),
		}})
		w.Attach(imsi)
	}
	for barrel, imsi := range map[string]string{Barrel: Terminal, OtherBarrel: Other, Spare: ""} {
		w.Do(&command.PutBarrel{Barrel: &command.Barrel{
			Id: barrel, Mac: MAC(barrel), PskIdentity: barrel, Psk: []byte(barrel), SealType: "company",
			ReceiptPublicKey: Key(barrel).Public().(ed25519.PublicKey), State: command.DeviceState_ACTIVE,
		}})
		if imsi != "" {
			w.Do(&command.CheckOut{Barrel: barrel, Imsi: imsi})
		}
	}
	return w
}

// PDN types (TS 29.274 8.34).
const (
	IPv4   = 1
	IPv6   = 2
	IPv4v6 = 3
)

// Attach opens a session of a terminal through the carrier, of IPv4.
func (w *World) Attach(imsi string) *command.Session {
	w.t.Helper()
	return w.AttachAs(imsi, IPv4)
}

// AttachAs opens a session of a PDN type, in the place of another that the
// terminal has.
func (w *World) AttachAs(imsi string, pdnType uint32) *command.Session {
	w.t.Helper()
	var version uint64
	w.View(func(m *state.Machine) { version = m.Subscriber(imsi).GetVersion() })
	opened := new(command.Opened)
	w.into(w.Do(&command.OpenSession{
		Imsi: imsi, Apn: APN, PolicyRevision: 1, SubscriberVersion: version, Entropy: bytes.Repeat([]byte(imsi[14:]), 16),
		Gtp: &command.GTPPath{Version: 2, Ebi: 5, PdnType: pdnType}, GatewayAddress: "outer",
	}), opened)
	return opened.Session
}

// Address is the inner address of a terminal.
func Address(imsi string) netip.Addr {
	if imsi == Other {
		return netip.AddrFrom4([4]byte{10, 90, 0, 12})
	}
	return netip.AddrFrom4([4]byte{10, 90, 0, 11})
}

// Prefix6 is the /64 of a terminal with IPv6.
func Prefix6(imsi string) netip.Prefix {
	if imsi == Other {
		return netip.MustParsePrefix("fd00:90:0:c::/64")
	}
	return netip.MustParsePrefix("fd00:90:0:b::/64")
}

// Address6 is the nth address that a terminal makes of its /64.
func Address6(imsi string, n byte) netip.Addr {
	a := Prefix6(imsi).Addr().As16()
	a[8], a[15] = n, n
	return netip.AddrFrom16(a)
}

// Propose applies a command at once, unless a failure was asked for.
func (w *World) Propose(ctx context.Context, c *command.Command) (*command.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, command.ErrUnknownOutcome
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return nil, w.fail
	}
	stamped := proto.CloneOf(c)
	stamped.LeaderTime = w.clock().UnixNano()
	w.index++
	raw := command.Marshal(stamped)
	w.log = append(w.log, raw)
	res, _, err := w.machine.Apply(w.index, 1, raw)
	if err != nil {
		return nil, err
	}
	close(w.changed)
	w.changed = make(chan struct{})
	if w.lose {
		w.lose = false
		return nil, command.ErrUnknownOutcome
	}
	return res, nil
}

// ReadIndex finds no quorum while proposals fail.
func (w *World) ReadIndex(context.Context) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.fail != nil {
		return command.ErrNoQuorum
	}
	return nil
}

// View gives a reader its turn.
func (w *World) View(fn func(*state.Machine)) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	fn(w.machine)
}

// Changed is closed at the next entry applied.
func (w *World) Changed() <-chan struct{} {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.changed
}

// Fail makes Propose answer with err until it is called with nil.
func (w *World) Fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail = err
}

// LoseAnswer makes the next command be carried out and its answer be lost.
func (w *World) LoseAnswer() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lose = true
}

// Do proposes a payload that must be carried out.
func (w *World) Do(payload proto.Message) *command.Result {
	w.t.Helper()
	res, err := w.Propose(context.Background(), command.New("test", "", "test", payload))
	if err != nil || res.Code != command.Code_OK {
		w.t.Fatalf("%T: %v, %v", payload, res, err)
	}
	return res
}

func (w *World) into(res *command.Result, m proto.Message) {
	w.t.Helper()
	if err := res.Into(m); err != nil {
		w.t.Fatal(err)
	}
}

// Log is every entry so far.
func (w *World) Log() [][]byte {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return slices.Clone(w.log)
}

// Decisions are the decisions that were put into the log so far.
func (w *World) Decisions() (out []*command.RecordDecision) {
	w.t.Helper()
	for _, raw := range w.Log() {
		_, payload, err := command.Decode(raw)
		if err != nil {
			w.t.Fatal(err)
		}
		if d, ok := payload.(*command.RecordDecision); ok {
			out = append(out, d)
		}
	}
	return out
}

// Order is the ledger's account of an order; nil until used.
func (w *World) Order(number string) (o *command.Order) {
	w.View(func(m *state.Machine) { o = m.Order(number) })
	return o
}

// Use is the record of a use.
func (w *World) Use(id uint64) (u *command.Use) {
	w.View(func(m *state.Machine) { u = m.Use(id) })
	return u
}

// Rules are the policy in force: the company seal is of level 1 and may be used
// five times an order.
func Rules() *policy.Rules {
	apn, _ := ident.ParseAPN(APN)
	server, _ := policy.ParseServer(Server)
	return &policy.Rules{
		Revision: 1,
		APNs:     map[ident.APN]policy.APN{apn: {Name: apn}},
		Levels: map[int]policy.Level{
			1: {Methods: policy.MethodFingerprint | policy.MethodFace},
			2: {Methods: policy.MethodFingerprint},
		},
		SealTypes: map[string]policy.SealType{
			"company": {Level: 1, MaxCount: 5, MaxWindow: 24 * time.Hour, GrantLifetime: 10 * time.Minute, EvidenceSeconds: 120},
		},
		Servers:        []policy.Server{server},
		ClockTolerance: 2 * time.Minute,
	}
}

// Request is a request of Terminal for Barrel that is in order at a time.
func Request(id string, now time.Time) wire.UseRequest {
	return wire.UseRequest{
		RequestID: id, TerminalAddress: Address(Terminal).String(), ServerAddress: Server, Time: now, Order: Order, Barrel: Barrel,
	}
}

// Answer is a seal server's answer that policy allows at a time: two stampings.
func Answer(now time.Time) wire.VerifyAnswer {
	return wire.VerifyAnswer{
		Pass: true, User: User, Count: 2, SealType: "company", Level: 1, Methods: []string{wire.MethodFingerprint, wire.MethodFace},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), DocumentDigest: bytes.Repeat([]byte{0xd0}, 32),
	}
}

// Receipt is what an honest barrel signs for a stamping of a use.
func Receipt(t testing.TB, use *command.Use, number uint32) []byte {
	t.Helper()
	raw, err := grant.SignReceipt(grant.Receipt{
		Barrel: use.Barrel, Order: use.Order, UseID: use.Id, Counter: use.GrantCounter, Number: number,
		Lifetime: 900 + uint64(number), At: time.Unix(0, use.ReservedAt).Add(time.Duration(number) * time.Second), Methods: use.Methods,
	}, Key(use.Barrel))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Statement is what an honest barrel signs to settle a use.
func Statement(t testing.TB, use *command.Use, stamped uint32) []byte {
	t.Helper()
	raw, err := grant.SignStatement(grant.Statement{
		Barrel: use.Barrel, Order: use.Order, UseID: use.Id, Counter: use.GrantCounter, Stamped: stamped,
		Lifetime: 900 + uint64(stamped), At: time.Unix(0, use.ReservedAt).Add(time.Minute),
	}, Key(use.Barrel))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
