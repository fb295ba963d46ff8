package main

import (
	"errors"
	"testing"
	"time"
)

// What is told of a session's end is of its last path, and is forgotten some time.
func TestDepartures(t *testing.T) {
	now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	d := newDepartures()
	d.now = func() time.Time { return now }
	if x := d.of(1); !x.Down.IsZero() {
		t.Errorf("a session that goes on: %+v", x)
	}
	d.down(1, true)
	now = now.Add(time.Second)
	d.answered(1, nil)
	if x := d.of(1); !x.Told || x.Answered.Sub(x.Down) != time.Second || x.Err != "" {
		t.Errorf("told and answered: %+v", x)
	}
	d.down(1, true)
	d.answered(1, errors.New("silent"))
	if x := d.of(1); !x.Down.Equal(now) || !x.Answered.IsZero() || x.Err != "silent" {
		t.Errorf("another path of it: %+v", x)
	}
	for n := range uint64(departuresKept) {
		d.down(n+2, false)
	}
	if x := d.of(1); len(d.known) != departuresKept || !x.Down.IsZero() {
		t.Errorf("%d are kept, the oldest as %+v", len(d.known), x)
	}
}
