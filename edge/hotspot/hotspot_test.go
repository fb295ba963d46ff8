package hotspot

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

var start = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

// Rules see whose device it is, and when. Devices that are no barrels join if the
// policy lists them.
func TestRulesOfHotspots(t *testing.T) {
	router := "02:00:5e:10:00:99"
	mac, err := ident.ParseMAC(router)
	if err != nil {
		t.Fatal(err)
	}
	always := [7]bool{true, true, true, true, true, true, true}
	all := policy.Rule{ID: "all", Action: policy.ActionHotspot, Permit: true}
	over := policy.Rule{ID: "over", Action: policy.ActionHotspot, Match: policy.Match{Hours: &policy.Hours{Days: always, To: 24 * 60, NotAfter: start}}}
	for _, c := range []struct {
		name  string
		rules []policy.Rule
		mac   string
		code  wire.Code
	}{
		{"a barrel without rules", nil, usetest.MAC(usetest.Barrel), ""},
		{"a router without rules", nil, router, ""},
		{"another router", nil, "02:00:5e:10:00:98", wire.CodeMACNotAllowed},
		{"a router among rules for barrels", []policy.Rule{{ID: "barrels", Action: policy.ActionHotspot, Permit: true, Match: policy.Match{Roles: []string{policy.RoleBarrel}}}}, router, wire.CodeNoRule},
		{"a barrel among them", []policy.Rule{{ID: "barrels", Action: policy.ActionHotspot, Permit: true, Match: policy.Match{Roles: []string{policy.RoleBarrel}}}}, usetest.MAC(usetest.Barrel), ""},
		{"over the carrier", []policy.Rule{{ID: "carrier", Action: policy.ActionHotspot, Permit: true, Match: policy.Match{Paths: []policy.PathKind{policy.PathGTP}}}}, router, ""},
		{"what was forbidden until now", []policy.Rule{over, all}, router, ""},
		{"forbidden", []policy.Rule{{ID: "routers", Action: policy.ActionHotspot, Match: policy.Match{MACs: []ident.MAC{mac}}}, all}, router, wire.CodeRuleForbids},
	} {
		rules := usetest.Rules()
		rules.Hotspot, rules.Table = []policy.HotspotDevice{{MAC: mac, Role: "router"}}, c.rules
		rules.Index()
		g := &Guard{Records: usetest.New(t, func() time.Time { return start }), Rules: func() *policy.Rules { return rules }}
		answer, err := g.Associate(usetest.Terminal, wire.Association{MAC: c.mac, Event: wire.EventJoin})
		var p *wire.Problem
		if errors.As(err, &p); c.code == "" && (err != nil || !answer.Allowed) || c.code != "" && (p == nil || p.Code != c.code) {
			t.Errorf("%s: %+v, %v", c.name, answer, err)
		}
	}
}

func TestAssociate(t *testing.T) {
	join := func(mac string) wire.Association {
		return wire.Association{MAC: mac, Event: wire.EventJoin, Hostname: "barrel"}
	}
	for _, c := range []struct {
		name   string
		before func(*usetest.World)
		imsi   string
		report wire.Association
		barrel string    // allowed, and whose it is
		code   wire.Code // or refused
	}{
		{name: "its own barrel", report: join(usetest.MAC(usetest.Barrel)), barrel: usetest.Barrel},
		{name: "written otherwise", report: join(strings.ToUpper(strings.ReplaceAll(usetest.MAC(usetest.Barrel), ":", "-"))), barrel: usetest.Barrel},
		{name: "not on the list", report: join("02:00:5e:99:99:99"), code: wire.CodeMACNotAllowed},
		{name: "another terminal's barrel", report: join(usetest.MAC(usetest.OtherBarrel)), code: wire.CodeBarrelNotBound},
		{name: "a barrel in nobody's hands", report: join(usetest.MAC(usetest.Spare)), code: wire.CodeBarrelNotBound},
		{
			name:   "a revoked barrel",
			before: func(w *usetest.World) { w.Do(&command.RevokeBarrel{Id: usetest.Barrel, Reason: "stolen"}) },
			report: join(usetest.MAC(usetest.Barrel)), code: wire.CodeMACNotAllowed,
		},
		{
			name:   "checked in meanwhile",
			before: func(w *usetest.World) { w.Do(&command.CheckIn{Barrel: usetest.Barrel}) },
			report: join(usetest.MAC(usetest.Barrel)), code: wire.CodeBarrelNotBound,
		},
		{name: "a terminal that is not on the list", imsi: "460019999999999", report: join(usetest.MAC(usetest.Barrel)), code: wire.CodeTerminalUnknown},
		{name: "no MAC", report: join("barrel"), code: wire.CodeBadRequest},
		{name: "a group's MAC", report: join("01:00:5e:00:00:01"), code: wire.CodeBadRequest},
		{name: "no event", report: wire.Association{MAC: usetest.MAC(usetest.Barrel)}, code: wire.CodeBadRequest},
		{name: "a long name", report: wire.Association{MAC: usetest.MAC(usetest.Barrel), Event: wire.EventJoin, Hostname: strings.Repeat("x", 256)}, code: wire.CodeBadRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := usetest.New(t, func() time.Time { return start })
			if c.before != nil {
				c.before(w)
			}
			imsi := c.imsi
			if imsi == "" {
				imsi = usetest.Terminal
			}
			answer, err := (&Guard{Records: w, Rules: usetest.Rules}).Associate(imsi, c.report)
			if c.code == "" {
				if err != nil || !answer.Allowed || answer.Barrel != c.barrel || len(answer.Reasons) == 0 {
					t.Errorf("got %+v, %v; want %s allowed", answer, err, c.barrel)
				}
				return
			}
			var p *wire.Problem
			if !errors.As(err, &p) || p.Code != c.code || answer.Allowed {
				t.Fatalf("got %+v, %v; want %s", answer, err, c.code)
			}
			if p.Detail == "" || p.Status < 400 {
				t.Errorf("refused without a word: %+v", p)
			}
		})
	}
}

// Leaving is never refused, and tells nothing of other terminals' barrels.
func TestLeave(t *testing.T) {
	w := usetest.New(t, func() time.Time { return start })
	g := &Guard{Records: w, Rules: usetest.Rules}
	for mac, barrel := range map[string]string{
		usetest.MAC(usetest.Barrel): usetest.Barrel, usetest.MAC(usetest.OtherBarrel): "", usetest.MAC(usetest.Spare): "", "02:00:5e:99:99:99": "",
	} {
		answer, err := g.Associate(usetest.Terminal, wire.Association{MAC: mac, Event: wire.EventLeave})
		if err != nil || answer.Allowed || answer.Barrel != barrel {
			t.Errorf("%s leaves: %+v, %v; want barrel %q", mac, answer, err, barrel)
		}
	}
}

func TestNoPolicyRefuses(t *testing.T) {
	w := usetest.New(t, func() time.Time { return start })
	g := &Guard{Records: w, Rules: func() *policy.Rules { return nil }}
	_, err := g.Associate(usetest.Terminal, wire.Association{MAC: usetest.MAC(usetest.Barrel), Event: wire.EventJoin})
	var p *wire.Problem
	if !errors.As(err, &p) || p.Code != wire.CodeNoPolicy {
		t.Errorf("got %v, want %s", err, wire.CodeNoPolicy)
	}
}
