package main

import (
	"context"
	"testing"

	"github.com/sealedge/sealedge/cluster/command"
)

// log is a replicated log that can be looked into between commit and answer.
type log struct {
	*fakeNode
	refusal   error // guarded by fakeNode.mu
	committed func()
}

func (l *log) Propose(_ context.Context, c *command.Command) (*command.Result, error) {
	l.mu.Lock()
	if l.refusal != nil {
		defer l.mu.Unlock()
		return nil, l.refusal
	}
	l.index++
	r, _, err := l.machine.Apply(l.index, 1, command.Marshal(c))
	l.mu.Unlock()
	l.committed()
	return r, err
}

func (l *log) refuse(with error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refusal = with
}

// The tunnels may see an ending before the proposer sees the result. By then it
// is known that the carrier asked for it.
func TestEndingIsKnownAtCommit(t *testing.T) {
	p := newPlanes(t, false)
	l := &log{fakeNode: p.fakeNode}
	e := newEndings(l)
	p.ended = func(was *command.Session) {
		if !e.take(was.Gtp.LocalTeidC) {
			p.told = append(p.told, was.Gtp.LocalTeidC)
		}
	}
	l.committed = func() { p.reconcile() }

	p.attach(t, "seal.corp", 5, 7)
	p.reconcile()
	// The same bearer on another access point replaces the first (TS 29.274 7.2.1).
	fteid := &command.FTEID{Teid: 7, Address: []byte{127, 0, 20, 1}}
	if _, err := e.Propose(t.Context(), command.New("gtpc", "1", "carrier", &command.OpenSession{
		Imsi: imsi, Apn: "archive.corp", PolicyRevision: 1, SubscriberVersion: 1, Entropy: make([]byte, 16),
		Gtp: &command.GTPPath{Version: 2, Ebi: 5, PeerC: fteid, PeerU: fteid},
	})); err != nil {
		t.Fatal(err)
	}
	if n := p.plane.Tunnels(); n != 1 || len(p.told) != 0 {
		t.Fatalf("%d tunnels, want 1; carrier told of %x", n, p.told)
	}

	var s *command.Session
	for _, have := range p.have {
		s = have
	}
	detach := command.New("gtpc", "2", "carrier", &command.ClosePath{
		Session: s.Id, Path: command.PathKind_GTP, LocalTeidC: s.Gtp.LocalTeidC, Reason: "detached by the carrier",
	})
	// What the carrier asked for and did not get, it is told when it happens.
	l.refuse(command.ErrNoQuorum)
	if _, err := e.Propose(t.Context(), detach); err == nil {
		t.Fatal("no error")
	}
	if e.take(s.Gtp.LocalTeidC) {
		t.Error("an ending that did not happen is remembered")
	}
	l.refuse(nil)
	if _, err := e.Propose(t.Context(), detach); err != nil {
		t.Fatal(err)
	}
	if n := p.plane.Tunnels(); n != 0 || len(p.told) != 0 {
		t.Errorf("%d tunnels, want 0; carrier told of %x", n, p.told)
	}
}
