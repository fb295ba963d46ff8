package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/sealedge/sealedge/cluster/command"
)

// put applies a payload that must succeed.
func (l *testLog) put(payload proto.Message) *command.Result {
	l.Helper()
	l.fill(payload, nil)
	r := l.apply(command.New("test", "", "tester", payload))
	if r.Code != command.Code_OK {
		l.Fatalf("%T: %v %s", payload, r.Code, r.Message)
	}
	return r
}

// demo is a log with a policy, a subscriber with a session, and a barrel that
// it may use.
func demo(t testing.TB) *testLog {
	l := newLog(t)
	l.put(&command.PutPolicy{Document: []byte("policy"), Pools: []*command.Pool{{Apn: "seal.corp", PrefixAddress: []byte{10, 90, 0, 0}, PrefixBits: 22, Excluded: [][]byte{{10, 90, 0, 1}}}}})
	l.put(&command.PutSubscriber{Subscriber: &command.Subscriber{Imsi: "460010000000001", Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE, WireguardPublicKey: bytes.Repeat([]byte{1}, 32)}})
	l.put(&command.PutBarrel{Barrel: &command.Barrel{Id: "B-1", Mac: "02:00:5e:10:00:01", PskIdentity: "b1", Psk: []byte("k"), State: command.DeviceState_ACTIVE}})
	l.put(&command.CheckOut{Barrel: "B-1", Imsi: "460010000000001"})
	l.put(&command.OpenSession{Imsi: "460010000000001", Apn: "seal.corp", Gtp: &command.GTPPath{Ebi: 5, PeerC: &command.FTEID{Teid: 7, Address: []byte{127, 0, 20, 1}}}})
	return l
}

// full is a log that leaves at least one record of every kind.
func full(t testing.TB) *testLog {
	l := demo(t)
	l.put(&command.AcquireAddress{Name: "gw", Node: "n1"})
	l.put(&command.ReserveUses{Order: "O-1", Barrel: "B-1", Imsi: "460010000000001", Count: 2, Permitted: 3, EvidenceSeconds: 60})
	l.put(&command.RecordReceipt{Use: 1, Number: 1, Receipt: []byte("receipt")})
	l.put(&command.Disconnect{Use: 1, SourceId: "d1", Reason: "wrong page"})
	l.put(&command.PutServerKey{PublicKey: bytes.Repeat([]byte{1}, 32)})
	l.put(&command.LeaseFallback{Imsi: "460010000000001", LifetimeSeconds: 600})
	l.put(&command.AttachWireGuard{Imsi: "460010000000001", Apn: "seal.corp", Endpoint: []byte{192, 0, 2, 1}, EndpointPort: 4000})
	l.apply(command.New("test", "remember", "", &command.RecordDecision{Kind: "admit"}))
	return l
}

// Every payload that command can decode has a handler, also when it is empty.
func TestEveryCommandIsCarriedOut(t *testing.T) {
	for number, name := range command.Type_name {
		if number == 0 {
			continue
		}
		l := full(t)
		for _, empty := range []bool{true, false} {
			result, entry, err := l.m.Apply(l.index+1, 1, command.Marshal(&command.Command{Level: 1, Type: command.Type(number), Payload: hollow(name, empty)}))
			if err != nil || result.Code == command.Code_CODE_UNSPECIFIED || entry == nil {
				t.Errorf("%s: %v, %v", name, result, err)
			}
			l.index++
			if err := invariants(l.m); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// hollow is a payload without content, or with every nested message there and
// without content.
func hollow(name string, empty bool) []byte {
	var out []byte
	if empty {
		return nil
	}
	want := bytes.ReplaceAll([]byte(name), []byte("_"), nil)
	protoregistry.GlobalTypes.RangeMessages(func(t protoreflect.MessageType) bool {
		if t.Descriptor().ParentFile().Package() == "sealedge.command.v1" && bytes.EqualFold([]byte(t.Descriptor().Name()), want) {
			m := t.New()
			fields := m.Descriptor().Fields()
			for i := range fields.Len() {
				if f := fields.Get(i); f.IsList() && f.Message() != nil {
					m.Mutable(f).List().AppendMutable()
				} else if f.Message() != nil {
					m.Mutable(f)
				}
			}
			out = command.Marshal(m.Interface())
		}
		return true
	})
	return out
}

// FuzzApply: whatever stands in the log, Apply refuses to know it or carries it
// out; it never panics, and what it leaves can be written and read again.
func FuzzApply(f *testing.F) {
	l := full(f)
	for _, raw := range l.raw {
		f.Add(raw)
	}
	for number, name := range command.Type_name {
		f.Add(command.Marshal(&command.Command{Level: 1, Type: command.Type(number), RequestId: "r", Payload: hollow(name, false)}))
	}
	before := l.m.Digest()
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := l.m.Clone()
		result, entry, err := m.Apply(l.index+1, 1, raw)
		if err != nil {
			if !errors.Is(err, command.ErrUnknownCommand) || result != nil || entry != nil || m.Digest() != before {
				t.Fatalf("%v, %v, %v", result, entry, err)
			}
			return
		}
		read, err := ReadSnapshot(bytes.NewReader(snapshotOf(t, m)))
		if err != nil || read.Digest() != m.Digest() {
			t.Fatalf("after %v: %v", result, err)
		}
	})
}

func TestApplyStopsTheNode(t *testing.T) {
	l := full(t)
	digest := l.m.Digest()
	for name, c := range map[string]struct {
		index uint64
		raw   []byte
		want  error
	}{
		"unknown type":  {l.index + 1, command.Marshal(&command.Command{Level: 1, Type: 99}), command.ErrUnknownCommand},
		"no type":       {l.index + 1, nil, command.ErrUnknownCommand},
		"later level":   {l.index + 1, command.Marshal(&command.Command{Level: command.Level + 1, Type: command.Type_RECORD_DECISION}), command.ErrUnknownCommand},
		"no protobuf":   {l.index + 1, []byte{0xff}, command.ErrUnknownCommand},
		"bad payload":   {l.index + 1, command.Marshal(&command.Command{Level: 1, Type: command.Type_ACK_LOCK, Payload: []byte{0xff}}), command.ErrUnknownCommand},
		"applied twice": {l.index, l.raw[len(l.raw)-1], ErrOutOfOrder},
		"older entry":   {1, l.raw[0], ErrOutOfOrder},
	} {
		result, entry, err := l.m.Apply(c.index, 1, c.raw)
		if !errors.Is(err, c.want) || result != nil || entry != nil {
			t.Errorf("%s: %v, %v, want %v", name, result, err, c.want)
		}
	}
	if l.m.Digest() != digest {
		t.Error("an entry that was not applied changed the state")
	}
}

// TEIDs are the first four bytes of SHA-256(entropy || be32(i)), skipping what
// is held.
func TestTEIDsComeFromTheEntropy(t *testing.T) {
	l := newLog(t)
	l.put(&command.PutPolicy{Pools: []*command.Pool{{Apn: "a", PrefixAddress: []byte{10, 0, 0, 0}, PrefixBits: 24}}})
	entropy := bytes.Repeat([]byte{7}, 16)
	derived := func(i uint32) uint32 {
		sum := sha256.Sum256(binary.BigEndian.AppendUint32(slices.Clone(entropy), i))
		return binary.BigEndian.Uint32(sum[:])
	}
	for i := range uint32(3) {
		s := &command.Subscriber{Imsi: fmt.Sprintf("46001000000000%d", i), Apns: []string{"a"}, State: command.DeviceState_ACTIVE}
		l.put(&command.PutSubscriber{Subscriber: s})
		opened := new(command.Opened)
		p := &command.OpenSession{Imsi: s.Imsi, Apn: "a", Gtp: &command.GTPPath{Ebi: 5}, Entropy: entropy, PolicyRevision: 1, SubscriberVersion: 1}
		if err := l.apply(command.New("test", "", "", p)).Into(opened); err != nil {
			t.Fatal(err)
		}
		g := opened.Session.Gtp
		if g.LocalTeidC != derived(2*i) || g.LocalTeidU != derived(2*i+1) {
			t.Errorf("session %d has TEIDs %#x and %#x, want %#x and %#x", i, g.LocalTeidC, g.LocalTeidU, derived(2*i), derived(2*i+1))
		}
		if l.m.SessionByTEIDC(g.LocalTeidU) != nil || l.m.SessionByTEIDU(g.LocalTeidC) != nil {
			t.Error("a control TEID was found as one of the user plane, or the other way round")
		}
	}
	if l.m.SessionByTEIDC(0) != nil || l.m.SessionByTEIDU(0) != nil {
		t.Error("TEID 0 was found")
	}
}

// A clone stays as it is while the machine goes on, and can be read meanwhile.
func TestCloneIsIndependent(t *testing.T) {
	l := full(t)
	l.loose = true
	clone, digest := l.m.Clone(), l.m.Digest()
	read := make(chan [32]byte)
	go func() { read <- clone.Digest() }()
	for i := range 200 {
		l.put(&command.PutSubscriber{Subscriber: &command.Subscriber{Imsi: fmt.Sprintf("4600200000%05d", i), Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE}})
		l.put(&command.OpenSession{Imsi: fmt.Sprintf("4600200000%05d", i), Apn: "seal.corp", Gtp: &command.GTPPath{Ebi: 5}})
	}
	l.put(&command.RecordReceipt{Use: 1, Number: 2, Receipt: []byte("receipt 2")})
	l.put(&command.SettleUse{Use: 1, Stamped: 2})
	l.put(&command.RevokeSubscriber{Imsi: "460010000000001"})
	if got := <-read; got != digest {
		t.Error("the clone changed while it was read")
	}
	if clone.Digest() != digest {
		t.Error("the clone changed with the machine")
	}
	if err := invariants(clone); err != nil {
		t.Errorf("clone: %v", err)
	}
	if err := invariants(l.m); err != nil {
		t.Errorf("machine: %v", err)
	}
	// The clone is a machine of its own.
	if _, _, err := clone.Apply(clone.Index()+1, 1, l.raw[len(l.raw)-1]); err != nil {
		t.Error(err)
	}
	if clone.Subscriber("460010000000001").State != command.DeviceState_REVOKED_DEVICE || clone.Use(1).Confirmed != 1 {
		t.Error("the clone did not apply what it was given")
	}
}

func TestClockNeverGoesBack(t *testing.T) {
	l := newLog(t)
	for _, step := range []struct{ stamp, want time.Time }{
		{start.Add(time.Hour), start.Add(time.Hour)},
		{start, start.Add(time.Hour)},
		{time.Time{}, start.Add(time.Hour)},
		{start.Add(2 * time.Hour), start.Add(2 * time.Hour)},
	} {
		l.now = step.stamp
		l.put(&command.RecordDecision{})
		if !l.m.Clock().Equal(step.want) {
			t.Errorf("stamped %v, the clock is %v, want %v", step.stamp, l.m.Clock(), step.want)
		}
	}
}

// Results without a scope are bounded in number, those of one order as well.
func TestMemoryIsBounded(t *testing.T) {
	l := full(t)
	l.loose = true
	decide := func(id string) {
		l.apply(command.New("loose", id, "", &command.RecordDecision{}))
	}
	for i := range looseLimit + 10 {
		decide(fmt.Sprint(i))
	}
	if n := l.m.Counts().Remembered; n != looseLimit {
		t.Errorf("%d results remembered, want %d", n, looseLimit)
	}
	if l.m.Answered("loose", "9") != nil || l.m.Answered("loose", "10") == nil {
		t.Error("not the oldest were forgotten")
	}
	for i := range scopeLimit + 10 {
		l.apply(command.New("scope", fmt.Sprint(i), "", &command.SuspendOrder{Order: "O-2", Reason: "x"}))
		l.apply(command.New("scope", fmt.Sprint("r", i), "", &command.ModifySession{Session: 1, LocalTeidC: l.m.Session(1).Gtp.LocalTeidC}))
	}
	if l.m.Answered("scope", "r9") != nil || l.m.Answered("scope", "r10").GetCode() != command.Code_OK {
		t.Error("of a session's results not the oldest were forgotten")
	}
	if err := invariants(l.m); err != nil {
		t.Error(err)
	}
	l.now = l.now.Add(rememberFor)
	decide("last")
	if n := l.m.Counts().Remembered; n != scopeLimit+1 {
		t.Errorf("%d results remembered after the time is over, want %d", n, scopeLimit+1)
	}
}

// The queries that scripts don't ask.
func TestQueries(t *testing.T) {
	l := full(t)
	m := l.m
	names := func(n int) string { return fmt.Sprintf("%d of them", n) }
	for what, pair := range map[string][2]any{
		"index":               {m.Index(), l.index},
		"policy revision":     {m.PolicyRevision(), uint64(1)},
		"subscribers":         {names(len(slices.Collect(m.Subscribers()))), names(1)},
		"barrels":             {names(len(slices.Collect(m.Barrels()))), names(1)},
		"orders":              {names(len(slices.Collect(m.Orders()))), names(1)},
		"addresses":           {names(len(slices.Collect(m.Addresses()))), names(1)},
		"locks":               {names(len(slices.Collect(m.Locks()))), names(1)},
		"uses of order":       {names(len(slices.Collect(m.UsesOfOrder("O-1")))), names(1)},
		"uses of no order":    {names(len(slices.Collect(m.UsesOfOrder("O")))), names(0)},
		"open uses":           {names(len(slices.Collect(m.OpenUsesOf("460010000000001")))), names(1)},
		"sessions of IMSI":    {names(len(slices.Collect(m.SessionsByIMSI("460010000000001")))), names(1)},
		"leases of IMSI":      {names(len(slices.Collect(m.LeasesByIMSI("460010000000001")))), names(1)},
		"by WireGuard key":    {m.SubscriberByWireGuardKey(bytes.Repeat([]byte{1}, 32)).GetImsi(), "460010000000001"},
		"by no WireGuard key": {m.SubscriberByWireGuardKey(nil).GetImsi(), ""},
		"by no MAC":           {m.BarrelByMAC("").GetId(), ""},
		"by no certificate":   {m.BarrelByCert(nil).GetId(), ""},
		"by no PSK identity":  {m.BarrelByPSKIdentity("").GetId(), ""},
		"mapped address":      {m.SessionByAddress(netip.MustParseAddr("::ffff:10.90.0.2")).GetId(), uint64(1)},
		"IPv6 address":        {m.SessionByAddress(netip.MustParseAddr("fd00::1")).GetId(), uint64(0)},
		"a path's peer":       {m.Peer(netip.MustParseAddr("127.0.20.1")).GetAddress()[3], byte(1)},
		"no peer":             {m.Peer(netip.MustParseAddr("127.0.20.9")) == nil, true},
		"zero peer":           {m.Peer(netip.Addr{}) == nil, true},
		"peers":               {names(len(slices.Collect(m.Peers()))), names(1)},
		"sessions of a peer":  {names(len(slices.Collect(m.SessionsByPeer(netip.MustParseAddr("127.0.20.1"))))), names(1)},
		"sessions of no peer": {names(len(slices.Collect(m.SessionsByPeer(netip.Addr{})))), names(0)},
		"IPv4 lease":          {netip.AddrFrom4([4]byte(m.Lease("seal.corp", "460010000000001").GetAddress())), netip.MustParseAddr("10.90.0.2")},
		"no IPv6 lease":       {m.Lease6("seal.corp", "460010000000001") == nil, true},
		"zero address":        {m.SessionByAddress(netip.Addr{}).GetId(), uint64(0)},
		"no answer":           {m.Answered("test", "other") == nil, true},
		"answer":              {m.Answered("test", "remember").GetCode(), command.Code_OK},
		"counts":              {m.Counts(), Counts{Subscribers: 1, Barrels: 1, Sessions: 1, Leases: 1, Orders: 1, Uses: 1, Locks: 1, PendingLocks: 1, Remembered: 1, Peers: 1}},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %v, want %v", what, pair[0], pair[1])
		}
	}
	due, ok := m.NextEvidenceDue()
	if !ok || !due.Equal(start.Add(time.Minute)) {
		t.Errorf("evidence is due next at %v, %v", due, ok)
	}
	if got := m.OverdueCandidates(due); len(got) != 1 || got[0] != (Overdue{1, 1, due}) {
		t.Errorf("overdue at %v: %v", due, got)
	}
	if got := m.OverdueCandidates(due.Add(-1)); len(got) != 0 {
		t.Errorf("overdue before: %v", got)
	}
	if _, ok := New().NextEvidenceDue(); ok {
		t.Error("evidence is due in an empty machine")
	}
	if seq, hash := m.AuditHead(); seq != l.index || !bytes.Equal(hash[:], l.chain[len(l.chain)-1].Hash) {
		t.Error("the head of the audit chain is not its last link")
	}
}
