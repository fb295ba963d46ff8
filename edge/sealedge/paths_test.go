package main

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"testing"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

// proposals keeps what is proposed, and carries out nothing.
type proposals struct {
	*fakeNode
	mu  sync.Mutex
	got []command.Type
}

func (p *proposals) Propose(_ context.Context, c *command.Command) (*command.Result, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, c.Type)
	return &command.Result{}, nil
}

// A refused terminal tries every few seconds. What is refused is on record once,
// and again when it is refused anew.
func TestRefusalOnFallbackIsRecordedOnce(t *testing.T) {
	log := &proposals{fakeNode: newPlanes(t, false).fakeNode}
	rules := &policy.Rules{Revision: 1} // of no access point
	p := newPaths(log, func() *policy.Rules { return rules }, "gw1", slog.New(slog.DiscardHandler))
	came := func(want int) {
		t.Helper()
		p.cameByFallback(key, netip.AddrPort{})
		p.wait()
		if len(log.got) != want {
			t.Errorf("%d proposals, want %d: %v", len(log.got), want, log.got)
		}
	}
	came(1)
	came(1)
	rules = &policy.Rules{Revision: 2}
	came(2)
}

// An Error Indication for a tunnel that was replaced meanwhile closes nothing.
func TestLateErrorIndication(t *testing.T) {
	planes := newPlanes(t, false)
	log := &proposals{fakeNode: planes.fakeNode}
	p := newPaths(log, nil, "gw1", slog.New(slog.DiscardHandler))
	first := planes.attach(t, "seal.corp", 5, 7)
	second := planes.attach(t, "seal.corp", 5, 8)
	p.tunnelLost(first.Id, first.Gtp.LocalTeidU)
	p.wait()
	if len(log.got) != 0 {
		t.Error("the new path is closed")
	}
	p.tunnelLost(second.Id, second.Gtp.LocalTeidU)
	p.wait()
	if len(log.got) != 1 || log.got[0] != command.Type_CLOSE_PATH {
		t.Errorf("proposed %v, want to close the path", log.got)
	}
}

// Rules decide about the fallback path as about the carrier's.
func TestRulesOfFallback(t *testing.T) {
	apn, err := ident.ParseAPN("seal.corp")
	if err != nil {
		t.Fatal(err)
	}
	byKey := policy.Rule{ID: "key", Action: policy.ActionAttach, Permit: true, Match: policy.Match{Paths: []policy.PathKind{policy.PathWireGuard}}, Require: policy.Require{Credentials: policy.CredentialWireGuard}}
	for name, c := range map[string]struct {
		rules []policy.Rule
		want  command.Type
	}{
		"no rules":       {nil, command.Type_ATTACH_WIREGUARD},
		"its key":        {[]policy.Rule{byKey}, command.Type_ATTACH_WIREGUARD},
		"forbidden":      {[]policy.Rule{{ID: "no", Action: policy.ActionAttach, Match: byKey.Match}, byKey}, command.Type_RECORD_DECISION},
		"for others":     {[]policy.Rule{{ID: "finance", Action: policy.ActionAttach, Permit: true, Match: policy.Match{Groups: []string{"finance"}}}}, command.Type_RECORD_DECISION},
		"where it is":    {[]policy.Rule{{ID: "here", Action: policy.ActionAttach, Permit: true, Match: policy.Match{Locations: []string{"office"}}}}, command.Type_RECORD_DECISION},
		"at some time":   {[]policy.Rule{{ID: "ever", Action: policy.ActionAttach, Permit: true, Match: policy.Match{Hours: &policy.Hours{Days: [7]bool{true, true, true, true, true, true, true}, To: 24 * 60}}}}, command.Type_ATTACH_WIREGUARD},
		"for the others": {[]policy.Rule{{ID: "sim", Action: policy.ActionAttach, Permit: true, Require: policy.Require{Credentials: policy.CredentialSIM}}}, command.Type_RECORD_DECISION},
	} {
		log := &proposals{fakeNode: newPlanes(t, false).fakeNode}
		rules := &policy.Rules{Revision: 1, APNs: map[ident.APN]policy.APN{apn: {Name: apn}}, Fallback: policy.Fallback{Allowed: true}, Table: c.rules}
		p := newPaths(log, func() *policy.Rules { return rules }, "gw1", slog.New(slog.DiscardHandler))
		p.cameByFallback(key, netip.AddrPort{})
		p.wait()
		if len(log.got) != 1 || log.got[0] != c.want {
			t.Errorf("%s: proposed %v, want %s", name, log.got, c.want)
		}
	}
}
