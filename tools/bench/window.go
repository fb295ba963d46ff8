package main

import (
	"sync/atomic"
	"time"
)

// window is a closed loop of packets: as many are on their way as fit, and
// each mark that comes back lets more go. Nothing is lost for want of room in
// a socket's buffer, so what is counted was carried.
type window struct {
	marks int // that may be on their way at once
	wake  chan struct{}
	back  atomic.Int64 // marks that came back
	lost  int64        // marks that didn't
}

func newWindow(marks int) *window { return &window{marks: marks, wake: make(chan struct{}, 1)} }

// returned notes that a mark came back. Any goroutine may call it.
func (w *window) returned() {
	w.back.Add(1)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// patience is how long nothing may come back before what is on its way is
// given up.
const patience = 300 * time.Millisecond

// run sends bursts for d, each with marks in it, then waits for the rest. It
// returns how many bursts went out and how long it took.
func (w *window) run(d time.Duration, marks int, burst func() error) (bursts int, took time.Duration, err error) {
	w.back.Store(0)
	w.lost = 0
	timer := time.NewTimer(patience)
	defer timer.Stop()
	begin := time.Now()
	var sent int64
	wait := func(atMost int64) {
		for sent-w.back.Load()-w.lost > atMost {
			timer.Reset(patience)
			select {
			case <-w.wake:
			case <-timer.C:
				w.lost = sent - w.back.Load()
			}
		}
	}
	for time.Since(begin) < d {
		wait(int64(w.marks - marks))
		if err := burst(); err != nil {
			return bursts, time.Since(begin), err
		}
		bursts++
		sent += int64(marks)
	}
	wait(0)
	return bursts, time.Since(begin), nil
}
