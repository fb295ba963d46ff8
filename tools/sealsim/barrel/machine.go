package barrel

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
)

// Identity is what is built into a barrel.
type Identity struct {
	ID       ident.BarrelID
	SealType string             // of the seal in it; empty: obeys grants for any
	Gateway  ed25519.PublicKey  // whose grants it obeys
	Key      ed25519.PrivateKey // signs receipts and statements
	Firmware string
}

type phase uint8

const (
	idle phase = iota
	verifying
	unlocked
)

// Machine decides what a barrel does. It is pure: it reads no clock and does
// nothing itself. Every method takes the barrel's own clock, whose difference
// from the gateway's it learns from heartbeats.
type Machine struct {
	id Identity
	st State // as the last Persist carried it

	// What a loss of power forgets.
	phase    phase
	awaiting []string // methods yet to be passed
	failures int
	prompt   string
	lease    time.Time     // until when the gateway's heartbeats hold, barrel's clock
	ahead    time.Duration // gateway's clock minus ours
	synced   bool
	battery  uint8
}

// NewMachine returns a machine with the state that was persisted last. It is
// off until Boot.
func NewMachine(id Identity, st State) *Machine {
	return &Machine{id: id, st: st, battery: 100}
}

// Boot starts the machine. A use that was under way ended with the power.
func (m *Machine) Boot(now time.Time) []Action {
	m.st.Boots++
	m.event(now, wire.EventReboot, fmt.Sprintf("boot %d", m.st.Boots))
	return append(m.end(now, "the power was lost"), m.say("Ready."))
}

// wall is the gateway's clock as the barrel knows it.
func (m *Machine) wall(now time.Time) time.Time {
	t := now.Add(m.ahead)
	if known := time.UnixMilli(m.st.Known); !m.synced && t.Before(known) {
		return known // a clock that a reset set back
	}
	return t
}

// LinkLost is the end of the radio link to the terminal.
func (m *Machine) LinkLost(now time.Time) []Action {
	m.lease = time.Time{}
	return m.stop(now, "the link to the terminal was lost")
}

// Tamper is the case being opened: the barrel stays locked until Service.
func (m *Machine) Tamper(now time.Time) []Action {
	m.st.Tampered = true
	m.event(now, wire.EventTamper, "the case was opened")
	return append(m.end(now, "the case was opened"), m.say("The case was opened."))
}

// Service closes the case again.
func (m *Machine) Service() []Action {
	m.st.Tampered = false
	return []Action{Persist{m.st}}
}

// SetBattery notes the charge in per cent; below 10 the gateway is told.
func (m *Machine) SetBattery(now time.Time, percent uint8) []Action {
	low := percent < 10 && m.battery >= 10
	if m.battery = percent; !low {
		return nil
	}
	m.event(now, wire.EventLowBattery, fmt.Sprintf("%d %%", percent))
	return []Action{Persist{m.st}, m.say("The battery is low.")}
}

// leased tells whether the gateway's heartbeats hold.
func (m *Machine) leased(now time.Time) bool { return now.Before(m.lease) }

// Tick does what is due: it ends a use whose lease or time is over.
func (m *Machine) Tick(now time.Time) []Action {
	switch u := m.st.Use; {
	case u == nil:
		return nil
	case !m.leased(now):
		m.event(now, wire.EventLeaseLost, "")
		return m.end(now, "the gateway is not heard any more")
	case m.wall(now).After(u.NotAfter):
		return m.end(now, "the time is over")
	}
	return nil
}

// Deadline is when Tick has something to do, barrel's clock; zero if never.
func (m *Machine) Deadline() time.Time {
	u := m.st.Use
	if u == nil {
		return time.Time{}
	}
	expiry := u.NotAfter.Add(time.Nanosecond - m.ahead)
	if expiry.Before(m.lease) {
		return expiry
	}
	return m.lease
}

// Heartbeat is what to tell the gateway every second.
func (m *Machine) Heartbeat() wire.Heartbeat {
	h := wire.Heartbeat{
		State: m.stateName(), Locked: m.phase != unlocked, Battery: m.battery, Counter: m.st.Counter,
		Lifetime: m.st.Lifetime, Boots: m.st.Boots, Firmware: m.id.Firmware,
	}
	if u := m.st.Use; u != nil {
		h.Use, h.Stamped = u.ID, u.Stamped
	}
	return h
}

// HeartbeatAnswered renews the lease, from when the heartbeat was sent, sets
// the clock, and carries out locks.
func (m *Machine) HeartbeatAnswered(sent, now time.Time, a wire.HeartbeatAnswer) []Action {
	if until := sent.Add(time.Duration(a.LeaseMillis) * time.Millisecond); until.After(m.lease) {
		m.lease = until
	}
	m.ahead = time.UnixMilli(a.Time).Sub(sent.Add(now.Sub(sent) / 2))
	m.synced = true
	m.st.Known = a.Time
	acts := m.Tick(now)
	var done []uint64
	for _, order := range a.Locks {
		acts = append(acts, m.Lock(now, order)...)
		done = append(done, order.ID)
	}
	if len(done) > 0 {
		acts = append(acts, AckLocks{done})
	}
	return acts
}

// Outbox lists what the gateway has yet to acknowledge, oldest first.
func (m *Machine) Outbox() []Item { return m.st.Outbox }

// Delivered forgets an item that the gateway acknowledged.
func (m *Machine) Delivered(sequence uint64) []Action {
	at := slices.IndexFunc(m.st.Outbox, func(i Item) bool { return i.Sequence == sequence })
	if at < 0 {
		return nil
	}
	m.st.Outbox = slices.Concat(m.st.Outbox[:at], m.st.Outbox[at+1:])
	return []Action{Persist{m.st}}
}

func (m *Machine) event(now time.Time, kind, detail string) {
	e := &wire.BarrelEvent{Kind: kind, Detail: detail, At: m.wall(now).UnixMilli()}
	if m.st.Use != nil {
		e.Use = m.st.Use.ID
	}
	m.st.enqueue(Item{Kind: ItemEvent, Use: e.Use, Event: e})
}

func (m *Machine) say(text string) Action {
	m.prompt = text
	return Say{text}
}
