package state

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// disaster is a small company that restores old backups: barrels that stamp, lose
// messages and are offline, a cluster whose memory goes back now and then.
type disaster struct {
	testing.TB
	rng     *rand.Rand
	log     *testLog
	barrels []*simulated
	backups [][]byte
	stamped map[string]uint64 // really, of each order, for ever: on paper
	permit  map[string]uint32 // as the seal server answers, always
	did     map[string]int    // how often something happened
	mutant  string            // what is left out: the test must notice
}

// simulated is a barrel, as docs/api/barrel.md has it.
type simulated struct {
	id                string
	counter, lifetime uint64
	use               *command.Use // under way
	done              uint32       // stampings of it
	outbox            []proto.Message
	grants            []*command.Use // that a terminal has for it
}

func newDisaster(t testing.TB, seed uint64, mutant string) *disaster {
	d := &disaster{
		TB: t, rng: rand.New(rand.NewPCG(seed, 4)), log: newLog(t), mutant: mutant,
		stamped: map[string]uint64{}, permit: map[string]uint32{}, did: map[string]int{},
	}
	d.log.loose = seed%8 != 0
	d.propose(&command.PutPolicy{Pools: []*command.Pool{{Apn: "a", PrefixAddress: []byte{10, 0, 0, 0}, PrefixBits: 28}}})
	for n := range 3 {
		b := &simulated{id: fmt.Sprintf("B-%d", n), lifetime: uint64(n)}
		imsi := fmt.Sprintf("46001000000000%d", n)
		d.barrels = append(d.barrels, b)
		d.propose(&command.PutSubscriber{Subscriber: &command.Subscriber{Imsi: imsi, Apns: []string{"a"}, State: command.DeviceState_ACTIVE}})
		d.propose(&command.PutBarrel{Barrel: &command.Barrel{Id: b.id, State: command.DeviceState_ACTIVE}})
		d.propose(&command.CheckOut{Barrel: b.id, Imsi: imsi})
		d.propose(&command.OpenSession{Imsi: imsi, Apn: "a", Gtp: &command.GTPPath{Ebi: 5}})
	}
	d.backup() // the oldest
	return d
}

func (d *disaster) propose(p proto.Message) *command.Result {
	d.Helper()
	d.log.fill(p, nil)
	return d.log.apply(command.New("test", "", "operator:li", p))
}

func (d *disaster) backup() {
	var b bytes.Buffer
	if err := d.log.m.Clone().WriteSnapshot(&b); err != nil {
		d.Fatal(err)
	}
	d.backups = append(d.backups, b.Bytes())
}

// restore goes back to any backup, be it one from before an earlier restore. Time
// goes on.
func (d *disaster) restore() {
	m, err := ReadSnapshot(bytes.NewReader(d.backups[max(d.rng.IntN(len(d.backups)), d.rng.IntN(len(d.backups)))]))
	if err != nil {
		d.Fatal(err)
	}
	d.log.m, d.log.index = m, m.Index()
	d.log.now = d.log.now.Add(time.Second)
	d.did["restore"]++
	if d.mutant == "no epoch" {
		return
	}
	d.propose(&command.RaiseEpoch{Cause: CauseRestore})
}

// end is a barrel ending its use, with its signed statement.
func (b *simulated) end() {
	if b.use == nil {
		return
	}
	b.sign(b.use.Id, b.use.Order, b.use.GrantCounter, b.done)
	b.use = nil
}

// sign is a statement on its way.
func (b *simulated) sign(use uint64, order string, counter uint64, stamped uint32) {
	b.outbox = append(b.outbox, &command.SettleUse{Use: use, Stamped: stamped, Lifetime: b.lifetime, Barrel: b.id, Order: order, Counter: counter})
}

// lock is a lock order arriving.
func (d *disaster) lock(b *simulated, l *command.Lock) {
	if l.Use != 0 && l.GrantCounter > b.counter {
		if d.mutant != "use goes on" {
			b.end()
		}
		b.counter = l.GrantCounter
		b.sign(l.Use, l.Order, l.GrantCounter, 0)
	}
	if b.use != nil && (l.Use == 0 || l.Use == b.use.Id) {
		b.end()
	}
	d.propose(&command.AckLock{Lock: l.Id, Barrel: true, Terminal: true})
}

// deliver is the barrel's oldest message arriving; its acknowledgement may get
// lost, so that it comes again. The gateway refuses what it can't place.
func (d *disaster) deliver(b *simulated) {
	if len(b.outbox) == 0 {
		return
	}
	m := d.log.m
	switch p := proto.CloneOf(b.outbox[0].(*command.SettleUse)); {
	case m.Barrel(b.id).AskedUse == p.Use && p.Use != 0:
		if d.propose(&command.ReconcileBarrel{Barrel: b.id, Use: p.Use, Lifetime: p.Lifetime, Statement: []byte("s")}).Code == command.Code_OK {
			d.did["reconciled"]++
		}
	case m.Use(p.Use) != nil && m.Use(p.Use).GrantCounter != p.Counter: // not this grant
	default:
		if m.Use(p.Use) == nil && d.propose(p).Code == command.Code_OK {
			d.did["taken up again"]++
		} else {
			d.propose(p)
		}
	}
	if d.rng.IntN(4) > 0 {
		b.outbox = b.outbox[1:]
	}
}

func (d *disaster) step() {
	b := d.barrels[d.rng.IntN(len(d.barrels))]
	d.log.now = d.log.now.Add(time.Duration(d.rng.IntN(3000)) * time.Millisecond)
	switch n := d.rng.IntN(200) / 2; {
	case n < 22:
		order := fmt.Sprintf("O-%d", d.rng.IntN(3)+d.did["restore"]/4) // also orders that a backup doesn't know
		if d.permit[order] == 0 {
			d.permit[order] = uint32(3 + d.rng.IntN(20))
		}
		r := d.propose(&command.ReserveUses{Order: order, Barrel: b.id, Imsi: d.log.m.Barrel(b.id).CheckedOutTo, Count: uint32(1 + d.rng.IntN(3)), Permitted: d.permit[order]})
		if r.Code == command.Code_OK {
			u := new(command.Use)
			if err := r.Into(u); err != nil {
				d.Fatal(err)
			}
			b.grants = append(b.grants, u)
			d.did["granted"]++
			if d.log.m.Epoch() != nil {
				d.did["granted after a restore"]++
			}
		}
		d.did[r.Code.String()]++
	case n < 40: // a terminal unlocks, with whatever grant it has
		if len(b.grants) > 0 && b.use == nil {
			u := b.grants[d.rng.IntN(len(b.grants))]
			if u.GrantCounter > b.counter {
				b.counter, b.use, b.done = u.GrantCounter, u, 0
			}
		}
	case n < 65:
		if b.use != nil && (b.id != "B-0" || d.rng.IntN(20) == 0) { // somebody takes his time
			b.done++
			b.lifetime++
			d.stamped[b.use.Order]++
			if d.stamped[b.use.Order] > uint64(d.permit[b.use.Order]) {
				d.did["too many"]++
			}
			if b.done == b.use.Count || d.rng.IntN(4) == 0 {
				b.end()
			}
		}
	case n < 82:
		d.deliver(b)
	case n < 90:
		if l := d.log.m.LockOfBarrel(b.id); l != nil {
			d.lock(b, l)
		}
	case n < 94:
		if d.mutant == "closed at once" && d.log.m.Frozen() {
			for b := range d.log.m.Uncounted() {
				_ = d.propose(&command.ExcuseBarrel{Barrel: b.Id, Reason: "x"})
				d.log.apply(command.New("test", "", "operator:wu", &command.ExcuseBarrel{Barrel: b.Id, Reason: "x"}))
			}
		}
		if e := d.log.m.Epoch(); e != nil && d.propose(&command.CloseEpoch{Epoch: e.Number}).Code == command.Code_OK {
			d.did["closed"]++
		}
	case n < 97:
		if u := d.log.m.OpenUseOfBarrel(b.id); u != nil {
			d.propose(&command.ExpireUse{Use: u.Id})
		}
	case n < 99 || d.rng.IntN(2) == 0:
		d.backup()
	default:
		d.restore()
	}
}

// TestRestoreOfOldBackups: whichever backup is restored, however often, in the
// middle of whatever, no order is stamped more often than permitted. Every part of
// what makes it so is left out once, and that shows.
func TestRestoreOfOldBackups(t *testing.T) {
	seeds := uint64(250)
	for _, mutant := range []string{"", "no epoch", "use goes on", "closed at once"} {
		t.Run("mutant="+mutant, func(t *testing.T) {
			did := map[string]int{}
			for seed := range seeds {
				d := newDisaster(t, seed, mutant)
				for range 600 {
					d.step()
				}
				for what, n := range d.did {
					did[what] += n
				}
				if mutant == "" && d.did["too many"] > 0 {
					t.Fatalf("seed %d: stamped %v, permitted %v", seed, d.stamped, d.permit)
				}
			}
			if mutant != "" {
				if did["too many"] == 0 {
					t.Errorf("nothing was noticed: %v", did)
				}
				return
			}
			for _, what := range []string{"restore", "granted after a restore", "reconciled", "closed", "taken up again", "FROZEN", "EXHAUSTED"} {
				if did[what] < 20 {
					t.Errorf("%s: %d times only (%v)", what, did[what], did)
				}
			}
		})
	}
}
