package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// invariants checks what must hold after every command. It works everything
// out anew from the records alone, so that it finds a derived table that went
// astray as well.
func invariants(m *Machine) error {
	for _, check := range []func(*Machine) error{ledgerHolds, addressesHold, teidsHold, locksHold, memoryHolds} {
		if err := check(m); err != nil {
			return err
		}
	}
	return nil
}

// ledgerHolds: for every order confirmed + reserved <= permitted, and both are
// the sums of its uses; a barrel has one unsettled use at most.
func ledgerHolds(m *Machine) error {
	reserved, happened := map[string]uint64{}, map[string]uint64{}
	open, counters := map[string]uint64{}, map[string]uint64{}
	due := 0
	for u := range m.Uses() {
		receipts := uint32(0)
		for _, s := range u.Stamps {
			if len(s.Receipt) > 0 {
				receipts++
			}
			if s.EvidenceDue != 0 && len(s.EvidenceDigest) == 0 && !s.Overdue {
				due++
			}
		}
		happened[u.Order] += uint64(u.Confirmed)
		if u.State == command.UseState_SETTLED {
			if u.Confirmed < receipts {
				return fmt.Errorf("use %d: %d receipts, %d confirmed", u.Id, receipts, u.Confirmed)
			}
			if u.Refunded != u.Count-min(u.Confirmed, u.Count) {
				return fmt.Errorf("use %d of %d: %d confirmed, %d refunded", u.Id, u.Count, u.Confirmed, u.Refunded)
			}
		} else {
			if u.Confirmed > u.Count || u.Confirmed != receipts {
				return fmt.Errorf("use %d of %d: %d receipts, %d confirmed", u.Id, u.Count, receipts, u.Confirmed)
			}
			reserved[u.Order] += uint64(u.Count - u.Confirmed)
			if open[u.Barrel] != 0 {
				return fmt.Errorf("barrel %s has uses %d and %d unsettled", u.Barrel, open[u.Barrel], u.Id)
			}
			open[u.Barrel] = u.Id
		}
		if u.GrantCounter <= counters[u.Barrel] {
			return fmt.Errorf("use %d: grant counter %d of %s is not above the one before", u.Id, u.GrantCounter, u.Barrel)
		}
		counters[u.Barrel] = u.GrantCounter
		if m.UseByRequest(u.Imsi, u.RequestId) == nil && u.RequestId != "" {
			return fmt.Errorf("use %d is not found by its request", u.Id)
		}
	}
	if due != m.evidenceDue.len() {
		return fmt.Errorf("%d images are due, the table has %d", due, m.evidenceDue.len())
	}
	for o := range m.Orders() {
		if uint64(o.Confirmed)+uint64(o.Reserved) > uint64(o.Permitted) {
			return fmt.Errorf("order %s: confirmed %d + reserved %d > permitted %d", o.Number, o.Confirmed, o.Reserved, o.Permitted)
		}
		if uint64(o.Reserved) != reserved[o.Number] || uint64(o.Confirmed)+o.Excess != happened[o.Number] {
			return fmt.Errorf("order %v: its uses have %d reserved, %d happened", o, reserved[o.Number], happened[o.Number])
		}
		if o.Excess > 0 && uint64(o.Confirmed)+uint64(o.Reserved) != uint64(o.Permitted) {
			return fmt.Errorf("order %v: excess beside room", o)
		}
		delete(reserved, o.Number)
		delete(happened, o.Number)
	}
	if len(reserved) > 0 || len(happened) > 0 {
		return fmt.Errorf("uses of orders that are not there: %v %v", reserved, happened)
	}
	for b := range m.Barrels() {
		if m.OpenUseOfBarrel(b.Id).GetId() != open[b.Id] {
			return fmt.Errorf("barrel %s: open use %d, want %d", b.Id, m.OpenUseOfBarrel(b.Id).GetId(), open[b.Id])
		}
		if b.GrantCounter < counters[b.Id] {
			return fmt.Errorf("barrel %s: grant counter %d after a grant with %d", b.Id, b.GrantCounter, counters[b.Id])
		}
	}
	return nil
}

// addressesHold: no address is held twice; a lease is in use exactly while
// there is a session, with the same address; free ranges are what no lease has.
func addressesHold(m *Machine) error {
	held := map[uint32]*command.AddressLease{}
	wait := 0
	for l := range m.leases.values() {
		a := binary.BigEndian.Uint32(l.Address)
		if o := held[a]; o != nil {
			return fmt.Errorf("%v is leased to %s and %s", address(a), o.Imsi, l.Imsi)
		}
		held[a] = l
		s := m.SessionByKey(l.Imsi, l.Apn)
		if l.InUse != (s != nil) || s != nil && !bytes.Equal(s.Address, l.Address) {
			return fmt.Errorf("lease %v beside session %v", l, s)
		}
		if m.byAddress.get(a) != l {
			return fmt.Errorf("%v is not found by address", l)
		}
		if waiting(l) {
			wait++
			if m.released.get(numbered{l.Apn, l.ReleasedSeq}) != l {
				return fmt.Errorf("%v does not wait in its place", l)
			}
			if m.pools.owner(a) != l.Apn {
				return fmt.Errorf("%v waits outside of its pool", l)
			}
		}
		sub := m.Subscriber(l.Imsi)
		if !l.InUse && l.Pinned != m.wantsPin(sub, l.Apn) {
			return fmt.Errorf("%v, but pinned should be %v", l, !l.Pinned)
		}
	}
	if wait != m.released.len() || len(held) != m.byAddress.len() {
		return fmt.Errorf("%d leases wait, the table has %d; %d addresses, the table has %d", wait, m.released.len(), len(held), m.byAddress.len())
	}
	for s := range m.Sessions() {
		if !m.Lease(s.Apn, s.Imsi).GetInUse() {
			return fmt.Errorf("session %v without a lease", s)
		}
	}
	free := map[numbered]bool{}
	for k, last := range m.free.from(numbered{}) {
		for a := k.n; a <= uint64(last); a++ {
			if held[uint32(a)] != nil || m.pools.owner(uint32(a)) != k.name || free[numbered{k.name, a}] {
				return fmt.Errorf("%v is not free", address(uint32(a)))
			}
			free[numbered{k.name, a}] = true
		}
	}
	for _, p := range m.pools {
		for a := uint64(p.first); a <= uint64(p.last); a++ {
			if held[uint32(a)] == nil && !free[numbered{p.apn, a}] {
				return fmt.Errorf("%v is lost", address(uint32(a)))
			}
		}
	}
	return nil
}

// teidsHold: no TEID is 0 or held twice; sessions have the path that is active,
// belong to a subscriber that may have them, and charging ids differ.
func teidsHold(m *Machine) error {
	teids, charging := map[uint32]uint64{}, map[uint32]bool{}
	for s := range m.Sessions() {
		if !attached(s, s.Active) {
			return fmt.Errorf("session %v: the active path is not attached", s)
		}
		sub := m.Subscriber(s.Imsi)
		if sub.GetState() != command.DeviceState_ACTIVE {
			return fmt.Errorf("session %v of a subscriber that is %v", s, sub.GetState())
		}
		if s.Wireguard != nil && !bytes.Equal(s.Wireguard.PublicKey, sub.WireguardPublicKey) {
			return fmt.Errorf("session %v has another WireGuard key than its subscriber", s)
		}
		if s.Gtp == nil {
			continue
		}
		for _, teid := range []uint32{s.Gtp.LocalTeidC, s.Gtp.LocalTeidU} {
			if teid == 0 || teids[teid] != 0 {
				return fmt.Errorf("TEID %#x is held by sessions %d and %d", teid, teids[teid], s.Id)
			}
			teids[teid] = s.Id
		}
		if charging[s.Gtp.ChargingId] || s.Gtp.ChargingId == 0 {
			return fmt.Errorf("charging id %d is held twice or zero", s.Gtp.ChargingId)
		}
		charging[s.Gtp.ChargingId] = true
		if m.SessionByTEIDC(s.Gtp.LocalTeidC) != s || m.SessionByTEIDU(s.Gtp.LocalTeidU) != s {
			return fmt.Errorf("session %d is not found by its TEIDs", s.Id)
		}
	}
	if len(teids) != m.teids.len() {
		return fmt.Errorf("%d TEIDs, the table has %d", len(teids), m.teids.len())
	}
	return nil
}

// locksHold: the pending ones are those that wait for a barrel or a living
// terminal; an ended order has no use that goes on, a stopped use has a lock.
func locksHold(m *Machine) error {
	pending, locked := []uint64{}, map[uint64]bool{}
	unacked := 0
	for l := range m.Locks() {
		revoked := m.Subscriber(l.Imsi).GetState() == command.DeviceState_REVOKED_DEVICE
		if !l.BarrelAcked || l.Imsi != "" && !l.TerminalAcked && !revoked {
			pending = append(pending, l.Id)
		}
		if !l.BarrelAcked {
			unacked++
		}
		locked[l.Use] = true
	}
	got := []uint64{}
	for _, l := range m.PendingLocks() {
		if m.Lock(l.Id) != l {
			return fmt.Errorf("lock %d is pending in another state than it is in", l.Id)
		}
		got = append(got, l.Id)
	}
	if !slices.Equal(got, pending) || unacked != m.locksOfBarrel.len() {
		return fmt.Errorf("locks %v are pending, want %v", got, pending)
	}
	for u := range m.Uses() {
		if u.State == command.UseState_STOPPED && !locked[u.Id] {
			return fmt.Errorf("use %d is stopped without a lock", u.Id)
		}
		if u.State == command.UseState_RESERVED {
			switch {
			case m.Order(u.Order).State == command.OrderState_ENDED_ORDER:
				return fmt.Errorf("use %d goes on under an ended order", u.Id)
			case m.Barrel(u.Barrel).State != command.DeviceState_ACTIVE:
				return fmt.Errorf("use %d goes on in a barrel that is not active", u.Id)
			case m.Subscriber(u.Imsi).State == command.DeviceState_REVOKED_DEVICE:
				return fmt.Errorf("use %d goes on in a revoked terminal", u.Id)
			}
		}
	}
	return nil
}

// memoryHolds: results are remembered no longer and in no greater number than
// said, and only within scopes that live.
func memoryHolds(m *Machine) error {
	scopes := map[string]int{}
	for r := range m.remembered.values() {
		scopes[r.Scope]++
		if r.Scope == "" && m.clock-r.Applied >= int64(rememberFor) {
			return fmt.Errorf("%s is remembered too long", r.RequestId)
		}
		if m.scopes.get(numbered{r.Scope, r.Index}) != r {
			return fmt.Errorf("%s is not found in its scope", r.RequestId)
		}
	}
	if m.loose != scopes[""] || m.loose > looseLimit || m.remembered.len() != m.scopes.len() {
		return fmt.Errorf("%d results without a scope, %d counted", scopes[""], m.loose)
	}
	delete(scopes, "")
	for s := range m.Sessions() {
		delete(scopes, sessionScope(s.Id))
	}
	for o := range m.Orders() {
		if n := scopes[orderScope(o.Number)]; n > 0 && (m.closed(o) || n > scopeLimit) {
			return fmt.Errorf("%d results remembered of order %v", n, o)
		}
		delete(scopes, orderScope(o.Number))
	}
	if len(scopes) > 0 {
		return fmt.Errorf("results remembered of %v, which are over", slices.Collect(maps.Keys(scopes)))
	}
	return nil
}

// changed tells the first record in which two machines differ, apart from what
// is remembered; "" if none.
func changed(a, b *Machine) string {
	ra, rb := slices.Collect(a.records()), slices.Collect(b.records())
	forget := func(r *command.SnapshotRecord) bool { return r.GetRemembered() != nil }
	ra, rb = slices.DeleteFunc(ra, forget), slices.DeleteFunc(rb, forget)
	for i := range max(len(ra), len(rb)) {
		if i >= len(ra) || i >= len(rb) || !proto.Equal(ra[i], rb[i]) {
			return fmt.Sprintf("record %d of %d and %d", i, len(ra), len(rb))
		}
	}
	if a.nextSession != b.nextSession || a.nextUse != b.nextUse || a.nextLock != b.nextLock ||
		a.nextChargingID != b.nextChargingID || a.releaseSeq != b.releaseSeq {
		return "what is numbered next"
	}
	return ""
}

// monotone checks that what only rises did not fall from a to b.
func monotone(t testing.TB, a, b *Machine) {
	t.Helper()
	if b.index < a.index || b.clock < a.clock || b.auditSeq < a.auditSeq {
		t.Fatal("index, clock or audit sequence fell")
	}
	for x := range a.Barrels() {
		if y := b.Barrel(x.Id); y.GetGrantCounter() < x.GrantCounter || y.GetVersion() < x.Version {
			t.Fatalf("a counter of barrel %s fell", x.Id)
		}
	}
	for x := range a.Addresses() {
		if y := b.Address(x.Name); y.GetEpoch() < x.Epoch || y.GetRestartCounter() < x.RestartCounter {
			t.Fatalf("a counter of address %s fell", x.Name)
		}
	}
	for x := range a.Orders() {
		y := b.Order(x.Number)
		if y.GetVersion() < x.Version || uint64(y.Confirmed)+y.Excess < uint64(x.Confirmed)+x.Excess || y.Confirmed < x.Confirmed {
			t.Fatalf("order fell from %v to %v", x, y)
		}
		if x.State == command.OrderState_ENDED_ORDER && y.State != x.State {
			t.Fatalf("ended order %s lives again", x.Number)
		}
	}
	for x := range a.Uses() {
		if y := b.Use(x.Id); y.GetState() < x.State || y.Confirmed < x.Confirmed || len(y.Stamps) < len(x.Stamps) {
			t.Fatalf("use fell from %v to %v", x, y)
		}
	}
	for x := range a.Subscribers() {
		if y := b.Subscriber(x.Imsi); x.State == command.DeviceState_REVOKED_DEVICE && !proto.Equal(x, y) {
			t.Fatalf("a revoked subscriber changed to %v", y)
		}
	}
	for x := range a.Locks() {
		if y := b.Lock(x.Id); x.BarrelAcked && !y.GetBarrelAcked() || x.TerminalAcked && !y.GetTerminalAcked() {
			t.Fatalf("lock %d lost an acknowledgement", x.Id)
		}
	}
}
