package main

import (
	"sync"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
)

// departures remembers how the last sessions ended here: when the tunnel was taken
// down, and when the carrier had answered. Operators who revoke a phone are told.
type departures struct {
	now func() time.Time

	mu    sync.Mutex
	known map[uint64]adminapi.Departure // guarded by mu: by session
	order []uint64                      // guarded by mu: the oldest first
}

// departuresKept bounds them.
const departuresKept = 4096

func newDepartures() *departures {
	return &departures{now: time.Now, known: map[uint64]adminapi.Departure{}}
}

// of is what is known of a session's end. A session that goes on has the zero
// Departure.
func (d *departures) of(session uint64) adminapi.Departure {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known[session]
}

func (d *departures) note(session uint64, change func(*adminapi.Departure)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	x, ok := d.known[session]
	if !ok {
		if len(d.order) >= departuresKept {
			delete(d.known, d.order[0])
			d.order = d.order[1:]
		}
		d.order = append(d.order, session)
	}
	change(&x)
	d.known[session] = x
}

// down: the tunnel ended. told: the carrier is going to be told.
func (d *departures) down(session uint64, told bool) {
	now := d.now()
	d.note(session, func(x *adminapi.Departure) { *x = adminapi.Departure{Down: now, Told: told} })
}

// answered: the carrier has, or err says why it hasn't.
func (d *departures) answered(session uint64, err error) {
	now := d.now()
	d.note(session, func(x *adminapi.Departure) {
		if err != nil {
			x.Err = err.Error()
			return
		}
		x.Answered = now
	})
}
