package state

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// invariants checks what must hold after every command. It works everything
// out anew from the records alone, so that it finds a derived table that went
// astray as well.
func invariants(m *Machine) error {
	for _, check := range []func(*Machine) error{ledgerHolds, addressesHold, peersHold, teidsHold, locksHold, memoryHolds, epochHolds, changesHold, fallbackHolds} {
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
		if err := releaseHolds(u); err != nil {
			return err
		}
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
		if u.Recovered { // of another life of the cluster
			if u.State != command.UseState_SETTLED || u.RequestId != "" {
				return fmt.Errorf("use %v was recovered", u)
			}
			continue
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

// releaseHolds: what was released was so by two people, after its grant had run
// out, and counts no less than they said.
func releaseHolds(u *command.Use) error {
	r := u.Release
	switch {
	case r == nil:
	case r.ProposedBy == "" || r.Proposed <= u.NotAfter || r.Stamped > u.Count:
		return fmt.Errorf("use %v: a release that can't be", u)
	case r.ConfirmedBy == "":
		if r.Confirmed != 0 {
			return fmt.Errorf("use %v: confirmed by nobody", u)
		}
	case r.ConfirmedBy == r.ProposedBy || u.State != command.UseState_SETTLED || u.Confirmed < r.Stamped || r.Confirmed-r.Proposed >= int64(command.ReleaseFor):
		return fmt.Errorf("use %v: released against the rules", u)
	}
	return nil
}

// addressesHold, of each family: no address is held twice; a lease is in use
// exactly while there is a session with the same address, which has the families
// that its paths use; free ranges are what no lease has.
func addressesHold(m *Machine) error {
	for _, f := range families {
		if err := spaceHolds(m, f); err != nil {
			return fmt.Errorf("%v: %w", f, err)
		}
	}
	for s := range m.Sessions() {
		for _, f := range families {
			l := m.spaces[f].leases.get(pair{s.Imsi, s.Apn})
			if uses := f.usedBy(s); uses != (len(f.held(s)) > 0) || uses != l.GetInUse() {
				return fmt.Errorf("session %v, %v lease %v", s, f, l)
			}
			if len(f.held(s)) == 0 {
				continue
			}
			if a, _ := netip.AddrFromSlice(f.held(s)); m.SessionByAddress(a) != s || f == ipv6 && m.SessionByAddress(a.Next()) != s {
				return fmt.Errorf("session %v is not found by %v", s, a)
			}
		}
	}
	return nil
}

func spaceHolds(m *Machine, f family) error {
	space := &m.spaces[f]
	held := map[uint64]*command.AddressLease{}
	wait, former := 0, 0
	for n, l := range space.byAddress.from(0) {
		if f.number(l.Address) != n || !bytes.Equal(f.bytes(n), l.Address) {
			return fmt.Errorf("lease %v stands at %s", l, f.text(n))
		}
		held[n] = l
		if l.Former {
			former++
			if !waiting(l) {
				return fmt.Errorf("%v is former and does not wait", l)
			}
		} else {
			if space.leases.get(pair{l.Imsi, l.Apn}) != l {
				return fmt.Errorf("%v is not found by subscriber", l)
			}
			s := m.SessionByKey(l.Imsi, l.Apn)
			if l.InUse != (len(f.held(s)) > 0) || l.InUse && !bytes.Equal(f.held(s), l.Address) {
				return fmt.Errorf("lease %v beside session %v", l, s)
			}
			if !l.InUse && l.Pinned != m.wantsPin(f, m.Subscriber(l.Imsi), l.Apn) {
				return fmt.Errorf("%v, but pinned should be %v", l, !l.Pinned)
			}
		}
		if waiting(l) {
			wait++
			if space.released.get(numbered{l.Apn, l.ReleasedSeq}) != l {
				return fmt.Errorf("%v does not wait in its place", l)
			}
			if space.pools.owner(n) != l.Apn {
				return fmt.Errorf("%v waits outside of its pool", l)
			}
		}
	}
	if wait != space.released.len() || len(held)-former != space.leases.len() {
		return fmt.Errorf("%d leases wait, the table has %d; %d are somebody's, the table has %d", wait, space.released.len(), len(held)-former, space.leases.len())
	}
	var last *command.AddressLease
	for k, l := range space.released.from(numbered{}) {
		if last.GetApn() == k.name && l.Released < last.Released {
			return fmt.Errorf("%v was released before %v", l, last)
		}
		last = l
	}
	free := map[numbered]bool{}
	for k, last := range space.free.from(numbered{}) {
		for n := k.n; n <= last; n++ {
			if held[n] != nil || space.pools.owner(n) != k.name || free[numbered{k.name, n}] {
				return fmt.Errorf("%s is not free", f.text(n))
			}
			free[numbered{k.name, n}] = true
		}
	}
	for _, p := range space.pools {
		for n := p.first; n <= p.last; n++ {
			if held[n] == nil && !free[numbered{p.apn, n}] {
				return fmt.Errorf("%s is lost", f.text(n))
			}
		}
	}
	return nil
}

// peersHold: there is a record of exactly the peers that paths lead to, and
// their sessions are found by it.
func peersHold(m *Machine) error {
	at := map[netip.Addr][]*command.Session{}
	paths := 0
	for s := range m.Sessions() {
		if a, ok := netip.AddrFromSlice(s.GetGtp().GetPeerC().GetAddress()); ok {
			at[a] = append(at[a], s)
			paths++
		}
	}
	for p := range m.Peers() {
		a, ok := netip.AddrFromSlice(p.Address)
		if !ok || m.Peer(a) != p || !p.RestartKnown && p.RestartCounter != 0 {
			return fmt.Errorf("peer %v", p)
		}
		if !slices.Equal(slices.Collect(m.SessionsByPeer(a)), at[a]) || len(at[a]) == 0 {
			return fmt.Errorf("peer %v: %d sessions lead there", a, len(at[a]))
		}
		// A path that told a counter left it with the record, unless that had one.
		for _, s := range at[a] {
			if s.Gtp.PeerRestartKnown && !p.RestartKnown {
				return fmt.Errorf("the counter of peer %v is not known, though session %d told it", a, s.Id)
			}
		}
	}
	if m.peers.len() != len(at) || m.sessionsOfPeer.len() != paths {
		return fmt.Errorf("%d peers and %d paths to them, the tables have %d and %d", len(at), paths, m.peers.len(), m.sessionsOfPeer.len())
	}
	return nil
}

// teidsHold: no TEID is 0 or held twice; sessions have the path that is active,
// belong to a subscriber that may have them, and charging ids differ, as do the
// bearers of one subscriber.
func teidsHold(m *Machine) error {
	teids, charging, bearers := map[uint32]uint64{}, map[uint32]bool{}, map[numbered]bool{}
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
		if bearer := (numbered{s.Imsi, uint64(s.Gtp.Ebi)}); bearers[bearer] {
			return fmt.Errorf("%s has the bearer %d twice", s.Imsi, s.Gtp.Ebi)
		} else {
			bearers[bearer] = true
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
	for l := range m.FallbackLeases() {
		if scopes[fallbackScope(l.Imsi)] > 1 {
			return fmt.Errorf("%d answers remembered of lease %v", scopes[fallbackScope(l.Imsi)], l)
		}
		delete(scopes, fallbackScope(l.Imsi))
	}
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
	if a.nextSession != b.nextSession || a.nextUse != b.nextUse || a.nextLock != b.nextLock || a.nextChange != b.nextChange ||
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
