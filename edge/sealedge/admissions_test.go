package main

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/policy/bundle"
)

// A new revision ends the sessions that it doesn't admit, and only those; a node
// that doesn't hold the address leaves it to the holder.
func TestNewPolicyEndsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNode{machine: state.New()}
		n.do(t, &command.PutPolicy{Document: bundle.Default(bundle.Params{}), Pools: []*command.Pool{{Apn: "seal.corp", PrefixAddress: []byte{10, 90, 0, 0}, PrefixBits: 24}}}, nil)
		imsis := []string{"460010000000001", "460010000000002"}
		for i, imsi := range imsis {
			n.do(t, &command.PutSubscriber{Subscriber: &command.Subscriber{
				Imsi: imsi, Apns: []string{"seal.corp"}, Imeis: []string{"35693803564380"}, State: command.DeviceState_ACTIVE, Groups: []string{[]string{"finance", "others"}[i]},
			}}, nil)
			n.do(t, &command.OpenSession{
				Imsi: imsi, Apn: "seal.corp", PolicyRevision: 1, SubscriberVersion: 1, Entropy: []byte(strings.Repeat(imsi[14:], 16)),
				Gtp: &command.GTPPath{Version: 2, Ebi: 5, RatType: 6, ServingPlmn: "46000", Imei: "35693803564380", PeerC: &command.FTEID{Teid: 1, Address: []byte{127, 0, 20, 1}}},
			}, nil)
		}
		r := &rules{records: n, log: slog.New(slog.DiscardHandler)}
		held := false
		a := &admissions{cluster: &log{fakeNode: n, committed: func() {}}, rules: r.inForce, holds: func() bool { return held }, log: slog.New(slog.DiscardHandler)}

		held = true
		if !a.sweep(t.Context()) || n.machine.Counts().Sessions != 2 {
			t.Fatalf("under the policy that admitted them %d sessions are left", n.machine.Counts().Sessions)
		}
		tighter := strings.Replace(string(bundle.Default(bundle.Params{})), "\n  changeControl:", `
  rules:
    - {id: only-finance, action: attach, effect: permit, match: {groups: [finance]}}
  changeControl:`, 1)
		n.do(t, &command.PutPolicy{BaseRevision: 1, Document: []byte(tighter)}, nil)
		held = false
		if !a.sweep(t.Context()) || n.machine.Counts().Sessions != 2 {
			t.Error("a node that doesn't hold the address ended sessions")
		}
		held = true
		if !a.sweep(t.Context()) || n.machine.SessionByKey(imsis[0], "seal.corp") == nil || n.machine.SessionByKey(imsis[1], "seal.corp") != nil {
			t.Errorf("%d sessions are left", n.machine.Counts().Sessions)
		}
		index := n.machine.Index()
		if !a.sweep(t.Context()) || n.machine.Index() != index {
			t.Error("a revision was swept twice")
		}
		// One that doesn't compile here decides about nothing.
		n.do(t, &command.PutPolicy{BaseRevision: 2, Document: []byte("kind: Later")}, nil)
		if a.sweep(t.Context()); n.machine.Counts().Sessions != 1 {
			t.Error("a policy that doesn't compile ended a session")
		}
	})
}

// Rules are asked again while the revision is the same: hours run out, terminals
// leave groups.
func TestSessionsEndWithTheirHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNode{machine: state.New()}
		document := strings.Replace(string(bundle.Default(bundle.Params{})), "\n  changeControl:", `
  rules:
    - {id: morning, action: attach, effect: permit, match: {groups: [staff], hours: {from: "00:00", to: "12:00"}}}
    - {id: guards, action: attach, effect: permit, match: {groups: [guards]}}
  changeControl:`, 1)
		n.do(t, &command.PutPolicy{Document: []byte(document), Pools: []*command.Pool{{Apn: "seal.corp", PrefixAddress: []byte{10, 90, 0, 0}, PrefixBits: 24}}}, nil)
		subscriber := func(imsi, group string) *command.Subscriber {
			return &command.Subscriber{Imsi: imsi, Apns: []string{"seal.corp"}, Imeis: []string{"35693803564380"}, State: command.DeviceState_ACTIVE, Groups: []string{group}}
		}
		staff, guard := "460010000000001", "460010000000002"
		for imsi, group := range map[string]string{staff: "staff", guard: "guards"} {
			n.do(t, &command.PutSubscriber{Subscriber: subscriber(imsi, group)}, nil)
			n.do(t, &command.OpenSession{
				Imsi: imsi, Apn: "seal.corp", PolicyRevision: 1, SubscriberVersion: 1, Entropy: []byte(strings.Repeat(imsi[14:], 16)),
				Gtp: &command.GTPPath{Version: 2, Ebi: 5, RatType: 6, ServingPlmn: "46000", Imei: "35693803564380", PeerC: &command.FTEID{Teid: 1, Address: []byte{127, 0, 20, 1}}},
			}, nil)
		}
		r := &rules{records: n, log: slog.New(slog.DiscardHandler)}
		a := &admissions{cluster: &log{fakeNode: n, committed: func() {}}, rules: r.inForce, holds: func() bool { return true }, log: slog.New(slog.DiscardHandler)}
		left := func(what string, want ...string) {
			t.Helper()
			if !a.sweep(t.Context()) || n.machine.Counts().Sessions != len(want) {
				t.Fatalf("%s: %d sessions are left, want %d", what, n.machine.Counts().Sessions, len(want))
			}
			for _, imsi := range want {
				if n.machine.SessionByKey(imsi, "seal.corp") == nil {
					t.Errorf("%s: %s is gone", what, imsi)
				}
			}
		}
		left("at night", staff, guard) // time begins at midnight
		time.Sleep(11*time.Hour + 59*time.Minute)
		left("before noon", staff, guard)
		time.Sleep(2 * time.Minute)
		left("at noon", guard)
		n.do(t, &command.PutSubscriber{Subscriber: subscriber(guard, "retired"), BaseVersion: 1}, nil)
		time.Sleep(askAgain)
		left("out of the group")
	})
}
