package main

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/bundle"
)

// proposing is a fakeNode that proposals reach.
type proposing struct{ *fakeNode }

func (p proposing) Propose(_ context.Context, c *command.Command) (*command.Result, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.index++
	r, _, err := p.machine.Apply(p.index, 1, command.Marshal(c))
	return r, err
}

var phoneKey = [32]byte{1, 2, 3}

// newPathsBench has the default policy and one terminal with a WireGuard key.
func newPathsBench(t *testing.T) (*paths, proposing) {
	t.Helper()
	n := proposing{&fakeNode{machine: state.New()}}
	doc := bundle.Default(bundle.Params{})
	rules, pools, err := bundle.Parse("policy.yaml", doc)
	if err != nil {
		t.Fatal(err)
	}
	rules.Revision = 1
	n.do(t, &command.PutPolicy{Document: doc, Pools: pools}, nil)
	n.do(t, &command.PutSubscriber{AnyVersion: true, Subscriber: &command.Subscriber{
		Imsi: imsi, Apns: []string{"seal.corp"}, WireguardPublicKey: phoneKey[:], State: command.DeviceState_ACTIVE,
	}}, nil)
	return newPaths(n, func() *policy.Rules { return rules }, "gw1", slog.New(slog.DiscardHandler)), n
}

func (p proposing) session(t *testing.T) *command.Session {
	t.Helper()
	var s *command.Session
	p.View(func(m *state.Machine) { s = m.SessionByKey(imsi, "seal.corp") })
	return s
}

func (p proposing) attach(t *testing.T) *command.Session {
	t.Helper()
	p.do(t, &command.OpenSession{
		Imsi: imsi, Apn: "seal.corp", PolicyRevision: 1, SubscriberVersion: 1, Entropy: make([]byte, 16),
		Gtp: &command.GTPPath{Ebi: 5, PeerC: &command.FTEID{Teid: 1, Address: []byte{127, 0, 20, 1}}, PeerU: &command.FTEID{Teid: 2, Address: []byte{127, 0, 20, 1}}},
	}, nil)
	return p.session(t)
}

// The same session and address, whichever way the terminal comes.
func TestOneSessionOnEitherPath(t *testing.T) {
	p, n := newPathsBench(t)
	first := n.attach(t)
	p.cameByFallback(phoneKey)
	p.wait()
	s := n.session(t)
	if s.GetActive() != command.PathKind_WIREGUARD || s.Id != first.Id || !slices.Equal(s.Address, first.Address) || s.Gtp == nil {
		t.Fatalf("on the fallback path: %v, was %v", s, first)
	}
	p.backOnCarrier(s.Id)
	p.wait()
	if s := n.session(t); s.GetActive() != command.PathKind_GTP || s.Id != first.Id || s.Wireguard == nil {
		t.Fatalf("back on the carrier's path: %v", s)
	}
	p.tunnelLost(s.Id, n.session(t).Gtp.LocalTeidU)
	p.wait()
	if s := n.session(t); s == nil || s.Gtp != nil || s.Active != command.PathKind_WIREGUARD {
		t.Fatalf("the carrier lost its tunnel: %v", s)
	}
}

// A key that isn't listed, and a terminal that was revoked, get nothing.
func TestFallbackIsForListedTerminals(t *testing.T) {
	p, n := newPathsBench(t)
	p.cameByFallback([32]byte{9})
	p.wait()
	if s := n.session(t); s != nil {
		t.Errorf("an unknown key has the session %v", s)
	}
	n.do(t, &command.RevokeSubscriber{Imsi: imsi, Reason: "lost"}, nil)
	p.cameByFallback(phoneKey)
	p.wait()
	if s := n.session(t); s != nil {
		t.Errorf("a revoked terminal has the session %v", s)
	}
}
