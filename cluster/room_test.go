package cluster

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// disks are how full the nodes' disks are, by data directory.
type disks map[string]*atomic.Int64

func newDisks(t *testing.T, size int, stop int) (*testCluster, disks) {
	d := disks{}
	c := newTestCluster(t, size, func(cfg *Config) {
		used := new(atomic.Int64)
		d[cfg.NodeName] = used
		cfg.AdmissionStop = stop
		cfg.diskUsed = func(string) (int, error) { return int(used.Load()), nil }
	})
	return c, d
}

// look has every node look at its disk, and the leader at the others.
func (c *testCluster) look() {
	for _, n := range c.nodes {
		n.look()
	}
	c.leader().look()
}

// serve sets up what sessions and uses need: a pool, three subscribers, a barrel.
func serve(t *testing.T, c *testCluster) {
	n := c.leader()
	mustPropose(t, n, command.New("test", "", "tester", &command.PutPolicy{Document: []byte("test"), Pools: []*command.Pool{
		{Apn: "seal", PrefixAddress: []byte{10, 1, 0, 0}, PrefixBits: 24},
	}}))
	for i := range 3 {
		mustPropose(t, n, put(fmt.Sprintf("00101000000000%d", i), ""))
	}
	mustPropose(t, n, command.New("test", "", "tester", &command.PutBarrel{Barrel: &command.Barrel{Id: "B-1", State: command.DeviceState_ACTIVE}}))
	mustPropose(t, n, command.New("test", "", "tester", &command.CheckOut{Barrel: "B-1", Imsi: "001010000000000"}))
}

func attach(subscriber int) *command.Command {
	return command.New("test", fmt.Sprint("attach ", requests.Add(1)), "tester", &command.OpenSession{
		Imsi: fmt.Sprintf("00101000000000%d", subscriber), Apn: "seal", PolicyRevision: 1, SubscriberVersion: 1, Entropy: make([]byte, 16), GatewayAddress: "gtp",
		Gtp: &command.GTPPath{Version: 2, Ebi: 5, PeerC: &command.FTEID{Teid: 1, Address: []byte{127, 0, 20, 1}}},
	})
}

func reserve(c *testCluster, request string, session uint64) *command.Command {
	var now int64
	c.leader().View(func(m *state.Machine) { now = m.Clock().UnixNano() })
	return command.New("test", request, "tester", &command.ReserveUses{
		Order: "WO-1", Barrel: "B-1", Imsi: "001010000000000", User: "user", SealType: "company", Count: 1, Permitted: 3,
		GrantNotAfter: now + 60e9, EvidenceSeconds: 3600, PolicyRevision: 1, SubscriberVersion: 1, BarrelVersion: 2, Session: session,
	})
}

// TestNearlyFullDisk: nothing new is begun, from whichever node it is asked for;
// what is begun goes on to its end.
func TestNearlyFullDisk(t *testing.T) {
	t.Parallel()
	c, d := newDisks(t, 3, 85)
	serve(t, c)
	opened := new(command.Opened)
	if err := mustPropose(t, c.leader(), attach(0)).Into(opened); err != nil {
		t.Fatal(err)
	}
	use := new(command.Use)
	first := reserve(c, "use 1", opened.Session.Id)
	if err := mustPropose(t, c.leader(), first).Into(use); err != nil {
		t.Fatal(err)
	}

	for _, used := range d {
		used.Store(85)
	}
	c.look()
	for _, n := range []*Node{c.leader(), c.follower()} {
		for what, cmd := range map[string]*command.Command{"a session": attach(1), "a use": reserve(c, "use 2", opened.Session.Id)} {
			var err error
			insist(t, func() error { // leadership may move, and the new leader hasn't looked
				if _, err = n.Propose(t.Context(), cmd); errors.Is(err, command.ErrNoQuorum) || errors.Is(err, command.ErrUnknownOutcome) {
					return err
				}
				return nil
			})
			if !errors.Is(err, command.ErrNoRoom) {
				t.Errorf("%s, asked at %s: %v", what, n.cfg.NodeName, err)
			}
		}
	}
	var refused uint64
	for _, n := range c.nodes { // whoever led
		refused += n.Counters()["refused-no-room"]
	}
	if s := c.leader().Status(); s.Admits || !s.Full || s.DiskUsed != 85 || refused == 0 {
		t.Errorf("it doesn't show: %+v, %d refused", s, refused)
	}
	mustPropose(t, c.follower(), attach(0)) // attaches again
	mustPropose(t, c.follower(), first)     // a repeat
	mustPropose(t, c.follower(), command.New("test", "", "tester", &command.SettleUse{Use: use.Id, Statement: []byte("signed")}))
	mustPropose(t, c.follower(), command.New("test", "", "tester", &command.ClosePath{Session: opened.Session.Id}))
	mustPropose(t, c.follower(), command.New("test", "", "tester", &command.RevokeSubscriber{Imsi: "001010000000002", Reason: "lost"}))

	for _, used := range d {
		used.Store(81)
	}
	c.look()
	if c.leader().Status().Admits {
		t.Error("it goes on at 81 percent, which is too soon")
	}
	for _, used := range d {
		used.Store(80)
	}
	c.look()
	mustPropose(t, c.follower(), attach(1))
}

// TestWhoseDiskIsFull: one follower can be done without.
func TestWhoseDiskIsFull(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name      string
		leader    bool
		followers int
		admits    bool
	}{
		{"nobody's", false, 0, true},
		{"a follower's", false, 1, true},
		{"both followers'", false, 2, false},
		{"the leader's", true, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, d := newDisks(t, 3, 85)
			c.awaitJoined()
			insist(t, func() error { // the leadership may move, or a node answer too late
				n, full := c.leader(), tc.followers
				for name, used := range d {
					used.Store(0)
					switch {
					case name == n.cfg.NodeName && tc.leader:
						used.Store(99)
					case name != n.cfg.NodeName && full > 0:
						full--
						used.Store(99)
					}
				}
				c.look()
				if got := n.Status().Admits; got != tc.admits || c.leader() != n {
					return fmt.Errorf("%s, of %s, admits %v, not %v", n.cfg.NodeName, c.leader().cfg.NodeName, got, tc.admits)
				}
				return nil
			})
		})
	}
}

func TestDiskUsed(t *testing.T) {
	used, err := diskUsed(t.TempDir())
	if err != nil || used < 0 || used > 100 {
		t.Errorf("%d, %v", used, err)
	}
	if _, err := diskUsed("/does/not/exist"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of what isn't there: %v", err)
	}
}
