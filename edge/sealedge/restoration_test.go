package main

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/apn/gtpc"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

var carrierNode = netip.MustParseAddr("127.0.20.1")

// carried is a state with one session of carrierNode, whose restart counter is
// 7, and the log that commands go to.
func carried(t *testing.T) (*planes, *log, *command.Session) {
	p := newPlanes(t, false)
	fteid := &command.FTEID{Teid: 7, Address: carrierNode.AsSlice()}
	var opened command.Opened
	p.do(t, &command.OpenSession{
		Imsi: imsi, Apn: "seal.corp", PolicyRevision: 1, SubscriberVersion: 1, Entropy: make([]byte, 16),
		Gtp: &command.GTPPath{Version: 2, Ebi: 5, PeerC: fteid, PeerU: fteid, PeerRestartCounter: 7, PeerRestartKnown: true},
	}, &opened)
	return p, &log{fakeNode: p.fakeNode, committed: func() {}}, opened.Session
}

func (p *planes) sessions() (n int) {
	p.View(func(m *state.Machine) {
		for range m.Sessions() {
			n++
		}
	})
	return n
}

func TestARestartedPeerHasLostItsSessions(t *testing.T) {
	p, l, s := carried(t)
	e := newEndings(l)
	r := newRestoration(e, func() bool { return true }, 0, nobody, slog.New(slog.DiscardHandler))
	for _, old := range []uint8{7, 6} { // what is known; a message that was overtaken
		r.counterHeard(carrierNode, old)
		r.wait()
		if p.sessions() != 1 {
			t.Fatalf("counter %d: the session is gone", old)
		}
	}
	r.counterHeard(netip.MustParseAddr("127.0.20.9"), 200) // nobody's
	if c := r.Counters(); c["peers-restarted"] != 0 || c["sessions-released"] != 0 {
		t.Errorf("nobody restarted, and %v is counted", c)
	}
	r.counterHeard(carrierNode, 8)
	r.wait()
	if p.sessions() != 0 {
		t.Error("the session is still there")
	}
	if c := r.Counters(); c["peers-restarted"] != 1 || c["sessions-released"] != 1 || c["peers-silent"] != 0 {
		t.Errorf("counted %v", c)
	}
	if !e.take(s.Gtp.LocalTeidC) {
		t.Error("the peer would be told of the end of what it has forgotten")
	}
}

func nobody(gtpc.EchoPeer) {}

// A restart that a request tells of may be made up by anybody who can send in the
// peer's name: it releases nothing until the peer itself says so.
func TestAClaimedRestartIsAskedFor(t *testing.T) {
	p, l, _ := carried(t)
	var asked []gtpc.EchoPeer
	r := newRestoration(newEndings(l), func() bool { return true }, 0, func(p gtpc.EchoPeer) { asked = append(asked, p) }, slog.New(slog.DiscardHandler))
	r.counterClaimed(carrierNode, 7)                         // nothing new
	r.counterClaimed(carrierNode, 6)                         // overtaken
	r.counterClaimed(netip.MustParseAddr("127.0.20.9"), 200) // nobody's
	if len(asked) != 0 {
		t.Errorf("asked %v", asked)
	}
	r.counterClaimed(carrierNode, 8)
	r.counterHeard(carrierNode, 7)
	r.wait()
	if p.sessions() != 1 || len(asked) != 1 || asked[0] != (gtpc.EchoPeer{Addr: carrierNode, Version: 2}) {
		t.Fatalf("%d sessions, asked %v", p.sessions(), asked)
	}
	r.counterClaimed(carrierNode, 8)
	r.counterHeard(carrierNode, 8)
	r.wait()
	if p.sessions() != 0 {
		t.Error("the session is still there")
	}
}

// What a peer makes between its first word and its answer it hasn't lost.
func TestASessionMadeBeforeTheAnswerStays(t *testing.T) {
	p, l, _ := carried(t)
	r := newRestoration(newEndings(l), func() bool { return true }, 0, nobody, slog.New(slog.DiscardHandler))
	r.counterClaimed(carrierNode, 8)
	fteid := &command.FTEID{Teid: 8, Address: carrierNode.AsSlice()}
	made := command.New("gtpc", "", "carrier", &command.OpenSession{
		Imsi: imsi, Apn: "seal.corp", PolicyRevision: 1, SubscriberVersion: 1, Entropy: make([]byte, 16),
		Gtp: &command.GTPPath{Version: 2, Ebi: 5, PeerC: fteid, PeerU: fteid},
	})
	made.LeaderTime = 2
	if res, err := l.Propose(t.Context(), made); err != nil || res.Code != command.Code_OK {
		t.Fatal(res, err)
	}
	r.counterHeard(carrierNode, 8)
	r.wait()
	if p.sessions() != 1 {
		t.Error("the session is gone")
	}
}

// overtaken is a log in which something happens before a command gets there.
type overtaken struct {
	*log
	by func()
}

func (o *overtaken) Propose(ctx context.Context, c *command.Command) (*command.Result, error) {
	o.by()
	return o.log.Propose(ctx, c)
}

// Only the first request of a peer that has restarted tells its counter. What it
// makes while its lost sessions are being released, it has.
func TestASessionMadeDuringTheReleaseStays(t *testing.T) {
	const other = "460011234567891"
	p, l, lost := carried(t)
	p.do(t, &command.PutSubscriber{AnyVersion: true, Subscriber: &command.Subscriber{
		Imsi: other, Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE,
	}}, nil)
	fteid := &command.FTEID{Teid: 8, Address: carrierNode.AsSlice()}
	made := command.New("gtpc", "", "carrier", &command.OpenSession{
		Imsi: other, Apn: "seal.corp", PolicyRevision: 1, SubscriberVersion: 1, Entropy: make([]byte, 16),
		Gtp: &command.GTPPath{Version: 2, Ebi: 5, PeerC: fteid, PeerU: fteid},
	})
	made.LeaderTime = 2
	o := &overtaken{l, func() {
		if r, err := l.Propose(t.Context(), made); err != nil || r.Code != command.Code_OK {
			t.Error(r, err)
		}
	}}
	r := newRestoration(o, func() bool { return true }, 0, nobody, slog.New(slog.DiscardHandler))
	r.counterHeard(carrierNode, 8)
	r.wait()
	if p.machine.Session(lost.Id) != nil || p.machine.SessionByKey(other, "seal.corp") == nil {
		t.Errorf("lost: %v, made since: %v", p.machine.Session(lost.Id), p.machine.SessionByKey(other, "seal.corp"))
	}
	if got := p.machine.Peer(carrierNode).GetRestartCounter(); got != 8 {
		t.Errorf("restart counter %d on record: the same restart would be noticed again", got)
	}
}

// A peer whose counter nobody knew has not restarted when it is first heard.
func TestTheFirstCounterIsNoRestart(t *testing.T) {
	p := newPlanes(t, false)
	p.attach(t, "seal.corp", 5, 7) // without a counter
	l := &log{fakeNode: p.fakeNode, committed: func() {}}
	r := newRestoration(newEndings(l), func() bool { return true }, 0, nobody, slog.New(slog.DiscardHandler))
	r.counterHeard(carrierNode, 3)
	r.wait()
	if p.sessions() != 1 || p.machine.Peer(carrierNode).GetRestartCounter() != 3 {
		t.Fatalf("%d sessions, peer %v", p.sessions(), p.machine.Peer(carrierNode))
	}
	r.counterHeard(carrierNode, 4)
	r.wait()
	if p.sessions() != 0 {
		t.Error("the restart that followed was not noticed")
	}
}

func TestASilentPeersSessions(t *testing.T) {
	for _, c := range []struct {
		name  string
		cfg   config.GTP
		after time.Duration // that they are still there
		gone  bool          // a moment later
		back  bool          // the peer answers again before that
	}{
		{"kept for a time", config.GTP{FailedPath: config.KeepSessions, FailedPathKeep: 10 * time.Minute}, 10*time.Minute - 1, true, false},
		{"kept for a time, and back in it", config.GTP{FailedPath: config.KeepSessions, FailedPathKeep: 10 * time.Minute}, 9 * time.Minute, false, true},
		{"kept for ever", config.GTP{FailedPath: config.KeepSessions}, 1000 * time.Hour, false, false},
		{"released", config.GTP{FailedPath: config.ReleaseSessions, FailedPathKeep: time.Hour}, 0, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, l, _ := carried(t)
			synctest.Test(t, func(t *testing.T) {
				r := newRestoration(newEndings(l), func() bool { return true }, keepFor(c.cfg), nobody, slog.New(slog.DiscardHandler))
				r.pathFailed(carrierNode)
				if c.after > 0 {
					time.Sleep(c.after)
					synctest.Wait()
					if p.sessions() != 1 {
						t.Fatal("gone too early")
					}
				}
				if c.back {
					r.pathRestored(carrierNode)
				}
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				if gone := p.sessions() == 0; gone != c.gone {
					t.Errorf("gone: %t", gone)
				}
				r.wait()
			})
		})
	}
}

// minority is a log that has no quorum while refused.
type minority struct {
	*log
	refused atomic.Bool
}

func (m *minority) Propose(ctx context.Context, c *command.Command) (*command.Result, error) {
	if m.refused.Load() {
		return nil, command.ErrNoQuorum
	}
	return m.log.Propose(ctx, c)
}

// The path to a silent peer fails once. That there was no quorum at the moment
// when its sessions were to go doesn't keep them for ever.
func TestASilentPeersSessionsAreReleasedWhenThereIsAQuorum(t *testing.T) {
	p, l, _ := carried(t)
	synctest.Test(t, func(t *testing.T) {
		m := &minority{log: l}
		m.refused.Store(true)
		r := newRestoration(newEndings(m), func() bool { return true }, time.Minute, nobody, slog.New(slog.DiscardHandler))
		r.pathFailed(carrierNode)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if p.sessions() != 1 {
			t.Fatal("gone without a quorum")
		}
		m.refused.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if p.sessions() != 0 {
			t.Error("still there")
		}
		r.wait()
		if c := r.Counters(); c["peers-silent"] != 1 || c["sessions-released"] != 1 || c["peers-restarted"] != 0 {
			t.Errorf("counted %v", c)
		}
	})
	p, l, _ = carried(t)
	synctest.Test(t, func(t *testing.T) { // and not any more when the peer answers before there is one
		m := &minority{log: l}
		m.refused.Store(true)
		r := newRestoration(newEndings(m), func() bool { return true }, time.Minute, nobody, slog.New(slog.DiscardHandler))
		r.pathFailed(carrierNode)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		r.pathRestored(carrierNode)
		m.refused.Store(false)
		time.Sleep(time.Hour)
		synctest.Wait()
		if p.sessions() != 1 {
			t.Error("gone")
		}
		r.wait()
	})
}

// A node that doesn't hold the gateway address decides nothing.
func TestOnlyTheHolderReleases(t *testing.T) {
	p, l, _ := carried(t)
	r := newRestoration(newEndings(l), func() bool { return false }, 0, nobody, slog.New(slog.DiscardHandler))
	r.counterHeard(carrierNode, 8)
	r.wait()
	if p.sessions() != 1 {
		t.Error("released")
	}
}

func TestEchoPeersAreThoseOfSessions(t *testing.T) {
	_, l, _ := carried(t)
	r := newRestoration(l, func() bool { return true }, 0, nobody, slog.New(slog.DiscardHandler))
	if list := r.peers(); len(list) != 1 || list[0].Addr != carrierNode || list[0].Version != 2 {
		t.Errorf("%+v", list)
	}
}

func TestSessionTimers(t *testing.T) {
	apn, err := ident.ParseAPN("seal.corp")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name          string
		idle, session time.Duration
		active        time.Duration // how long ago the last packet was; negative: none was seen
		held          time.Duration // how long this node has held the address
		wait          time.Duration // from the opening of the session
		ended         bool
	}{
		{"no timers", 0, 0, -1, time.Hour, time.Hour, false},
		{"idle for too long", 10 * time.Minute, 0, 10 * time.Minute, time.Hour, time.Hour, true},
		{"not idle", 10 * time.Minute, 0, 9 * time.Minute, time.Hour, time.Hour, false},
		{"never a packet", 10 * time.Minute, 0, -1, 10 * time.Minute, time.Hour, true},
		{"this node has not held for long enough to know", 10 * time.Minute, 0, -1, 9 * time.Minute, time.Hour, false},
		{"just made, its tunnel not yet", 10 * time.Minute, 0, -1, time.Hour, time.Minute, false},
		{"open for too long", 0, time.Hour, 0, time.Hour, time.Hour, true},
		{"not open for too long", 0, time.Hour + time.Minute, 0, time.Hour, time.Hour, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, l, s := carried(t)
			now := time.Unix(0, s.Gtp.Opened).Add(c.wait)
			rules := &policy.Rules{APNs: map[ident.APN]policy.APN{apn: {Name: apn, IdleTimeout: c.idle, SessionTimeout: c.session}}}
			timers := &timers{
				cluster: l, rules: func() *policy.Rules { return rules }, holds: func() bool { return true }, log: slog.New(slog.DiscardHandler),
				lastActive: func(uint64) (time.Time, bool) { return now.Add(-c.active), c.active >= 0 },
				since:      now.Add(-c.held),
			}
			timers.sweep(context.Background(), now)
			if ended := p.sessions() == 0; ended != c.ended {
				t.Errorf("ended: %t", ended)
			}
		})
	}
}
