package cluster

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sealedge/sealedge/cluster/state"
)

func TestMedianOfTheClocks(t *testing.T) {
	const s, h = time.Second, time.Hour
	for _, tc := range []struct {
		name        string
		own         time.Duration
		others      []time.Duration
		want, ahead time.Duration
	}{
		{"alone, whatever it says", h, nil, h, 0},
		{"all agree", 0, []time.Duration{s, -s}, 0, 0},
		{"a little ahead", 2 * s, []time.Duration{0, 0}, 2 * s, 2 * s},
		{"ahead", h, []time.Duration{0, s}, s, h - s},
		{"behind", -h, []time.Duration{0, s}, 0, -h},
		{"another is ahead", 0, []time.Duration{h, s}, 0, -s},
		{"another is behind", 0, []time.Duration{-h, s}, 0, 0},
		{"of two, ahead", h, []time.Duration{0}, 0, h},
		{"of two, the other ahead", 0, []time.Duration{h}, 0, 0},
		{"of five, with another as wrong", h, []time.Duration{0, h, s, -s}, s, h - s},
		{"of four, two wrong", h, []time.Duration{0, h, s}, s, h - s},
	} {
		synctest.Test(t, func(t *testing.T) {
			var c clocks
			c.init(1 + len(tc.others))
			for i, o := range tc.others {
				c.note(string(rune('a'+i)), time.Now().Add(o).UnixNano(), time.Now())
			}
			time.Sleep(time.Minute) // all clocks go on
			stamp, ahead := c.judge(time.Now().Add(tc.own).UnixNano())
			if got := time.Until(time.Unix(0, stamp)); got != tc.want || ahead != tc.ahead {
				t.Errorf("%s: %v, %v ahead, not %v, %v", tc.name, got, ahead, tc.want, tc.ahead)
			}
		})
	}
}

// While nodes are down, a minority of all clocks can be most of those that are known:
// they don't take the cluster's clock ahead. (Schedule 2023: two of five, of which two
// were down.)
func TestClocksOfAMinority(t *testing.T) {
	const h = time.Hour
	for _, tc := range []struct {
		name  string
		nodes int
		own   time.Duration
		known []time.Duration
		want  time.Duration
	}{
		{"two of five wrong, two down", 5, h, []time.Duration{2 * h, 0}, 0},
		{"two of five wrong, one down", 5, h, []time.Duration{2 * h, 0, 0}, 0},
		{"one of three wrong, one down", 3, h, []time.Duration{0}, 0},
		{"two of five wrong, this one right", 5, 0, []time.Duration{2 * h, h}, 0},
		{"three of seven wrong, two down", 7, h, []time.Duration{h, h, 0, 0}, 0},
		{"three of five wrong", 5, h, []time.Duration{h, h, 0, 0}, h},
	} {
		synctest.Test(t, func(t *testing.T) {
			var c clocks
			c.init(tc.nodes)
			for i, o := range tc.known {
				select {
				case <-c.heard:
					if i < (tc.nodes-1)/2 {
						t.Errorf("%s: %d are enough", tc.name, i)
					}
				default:
				}
				c.note(string(rune('a'+i)), time.Now().Add(o).UnixNano(), time.Now())
			}
			<-c.heard
			if stamp, _ := c.judge(time.Now().Add(tc.own).UnixNano()); time.Until(time.Unix(0, stamp)) != tc.want {
				t.Errorf("%s: stamped %v ahead, not %v", tc.name, time.Until(time.Unix(0, stamp)), tc.want)
			}
		})
	}
}

// A clock that is heard no more counts for a day.
func TestClocksAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clocks
		c.init(2)
		c.note("a", time.Now().UnixNano(), time.Now())
		<-c.heard
		time.Sleep(clockKept + time.Second)
		if stamp, _ := c.judge(time.Now().Add(time.Hour).UnixNano()); time.Until(time.Unix(0, stamp)) != time.Hour {
			t.Error("a clock of a day ago counts")
		}
		c.note("a", time.Now().UnixNano(), time.Now())
		if stamp, _ := c.judge(time.Now().Add(time.Hour).UnixNano()); stamp != time.Now().UnixNano() {
			t.Error("it is heard again and doesn't count")
		}
	})
}

// TestLeaderWithAWrongClock: a leader's clock jumps ahead by an hour. The cluster's
// clock doesn't follow. Neither does it when it is wrong as the node starts, nor
// when it leads again. When most clocks are that far on, the cluster's is, too.
func TestLeaderWithAWrongClock(t *testing.T) {
	t.Parallel()
	shift := map[string]*atomic.Int64{}
	c := newTestCluster(t, 3, func(cfg *Config) {
		s := new(atomic.Int64)
		shift[cfg.NodeName] = s
		cfg.now = func() time.Time { return time.Now().Add(time.Duration(s.Load())) }
	})
	ahead := func() time.Duration {
		t.Helper()
		n := c.leader()
		mustPropose(t, n, put("460010000000001", ""))
		var clock time.Time
		n.View(func(m *state.Machine) { clock = m.Clock() })
		return time.Until(clock)
	}
	all := func() {
		t.Helper()
		for _, n := range c.nodes {
			insist(t, func() error {
				if !n.askClocks() {
					return fmt.Errorf("%s doesn't know all clocks", n.cfg.NodeName)
				}
				return nil
			})
		}
	}
	all()
	if d := ahead(); d > 0 {
		t.Fatalf("the cluster's clock is %v ahead from the start", d)
	}
	wrong := c.leader().cfg.NodeName
	shift[wrong].Store(int64(time.Hour))
	if d := ahead(); d > clockTolerance {
		t.Errorf("the leader's clock has jumped, and the cluster's is %v ahead", d)
	}
	c.stop(wrong)
	c.start(wrong)
	all()
	if off := c.nodes[wrong].Status().ClockAhead; off < time.Hour-clockTolerance {
		t.Errorf("the node takes itself for %v ahead", off)
	}
	insist(t, func() error {
		if n := c.leader(); n.cfg.NodeName != wrong {
			id := c.nodes[wrong].id
			return errors.Join(n.raft.LeadershipTransferToServer(id, raft.ServerAddress(id)).Error(), errors.New("the leadership is on its way"))
		}
		return nil
	})
	if d := ahead(); d > clockTolerance {
		t.Errorf("it started with its wrong clock, leads, and the cluster's clock is %v ahead", d)
	}
	other := slices.DeleteFunc(slices.Clone(c.names), func(n string) bool { return n == wrong })[0]
	shift[other].Store(int64(time.Hour))
	all()
	if d := ahead(); d < time.Hour-clockTolerance {
		t.Errorf("two of three clocks are an hour on, the cluster's is %v ahead", d)
	}
}
