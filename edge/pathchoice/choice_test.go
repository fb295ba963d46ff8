package pathchoice

import (
	"math/rand/v2"
	"testing"
	"time"
)

var t0 = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return t0.Add(time.Duration(seconds * float64(time.Second))) }

// A story of one session: data came by the other path at some time, and what followed.
func TestHeard(t *testing.T) {
	type heard struct {
		at   float64
		want Verdict
	}
	for name, story := range map[string][]heard{
		"a terminal that moves once": {{0, Move}},
		"in flight after a move":     {{0, Move}, {0.1, Late}, {1.9, Late}, {2, Move}},
		"four at once, then one in five seconds": {
			{0, Move}, {2, Move}, {4, Move}, {6, Move}, {8, Move}, // the first has come back by then
			{10, Move}, {12, Damped}, {14.9, Damped}, {15, Move}, {17, Damped}, {19.5, Damped}, {20, Move}, {22, Damped}, {25, Move},
		},
		"after a rest all are to be had": {
			{0, Move},
			{2, Move},
			{4, Move},
			{6, Move},
			{8, Move},
			{10, Move},
			{12, Damped},
			{60, Move},
			{62, Move},
			{64, Move},
			{66, Move},
			{68, Move},
			{70, Move},
			{72, Damped},
		},
	} {
		c := New(Config{})
		for _, h := range story {
			got := c.Heard(at(h.at), 1)
			if got != h.want {
				t.Fatalf("%s: at %v s: %d, want %d", name, h.at, got, h.want)
			}
			if got == Move {
				c.Moved(at(h.at), 1)
			}
			if c.Heard(at(h.at), 2) != Move {
				t.Fatalf("%s: it holds another session", name)
			}
		}
	}
}

// What isn't carried out costs nothing: without a quorum reports come and come.
func TestOnlyMovesCount(t *testing.T) {
	c := New(Config{})
	for i := range 100 {
		if c.Heard(at(float64(i)), 1) != Move {
			t.Fatalf("report %d is held, though nothing moved", i)
		}
	}
}

// However reports come, no session moves more often than the damper allows, none is held
// for longer than it takes the damper to let go, and what is remembered is bounded by
// what moved lately.
func TestDamperProperty(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		cfg := Config{Burst: 1 + rnd.IntN(5), Every: time.Duration(1+rnd.IntN(10)) * time.Second, HoldDown: 1 + time.Duration(rnd.Int64N(int64(3*time.Second)))}
		c := New(cfg)
		now := t0
		made := map[uint64][]time.Time{}
		for range 500 {
			now = now.Add(time.Duration(rnd.Int64N(int64(2 * time.Second))))
			id := rnd.Uint64N(3)
			moves := made[id]
			switch c.Heard(now, id) {
			case Move:
				c.Moved(now, id)
				made[id] = append(moves, now)
			case Late:
				if now.Sub(moves[len(moves)-1]) >= cfg.HoldDown {
					t.Fatalf("%+v: late %v after the move", cfg, now.Sub(moves[len(moves)-1]))
				}
			case Damped:
				if now.Sub(moves[len(moves)-1]) > cfg.Every {
					t.Fatalf("%+v: held %v after the last move", cfg, now.Sub(moves[len(moves)-1]))
				}
			}
		}
		for id, moves := range made {
			for i := range moves {
				for j := i + 1; j < len(moves); j++ {
					allowed := cfg.Burst + int(moves[j].Sub(moves[i])/cfg.Every)
					if n := j - i + 1; n > allowed {
						t.Fatalf("%+v: session %d moved %d times in %v, allowed are %d", cfg, id, n, moves[j].Sub(moves[i]), allowed)
					}
				}
			}
		}
		now = now.Add(time.Hour)
		c.Moved(now, 99)
		if c.Remembered() != 1 {
			t.Fatalf("%d sessions are remembered after an hour", c.Remembered()-1)
		}
	}
}

func TestLetGo(t *testing.T) {
	const grace = 2 * time.Minute
	for _, c := range []struct {
		name              string
		now, heard, since float64
		want              bool
	}{
		{"heard just now", 1000, 1000, 0, false},
		{"probed all the while", 1000, 985, 0, false},
		{"silent, nearly", 1000, 880.5, 0, false},
		{"silent", 1000, 880, 0, true},
		{"silent, but left just now", 1000, 100, 990, false},
		{"left long ago, and silent since", 1000, 100, 880, true},
		{"never heard by who took over", 1000, -1e6, 950, false},
	} {
		if got := LetGo(at(c.now), at(c.heard), at(c.since), grace); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
