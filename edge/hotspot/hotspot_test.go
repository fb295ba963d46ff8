package hotspot

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
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

// Over the fallback a terminal is where its carrier saw it last, as long as that counts;
// its network isn't known any more.
func TestRulesOfHotspotsOverTheFallback(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	office := policy.Rule{ID: "office", Action: policy.ActionHotspot, Permit: true, Match: policy.Match{Locations: []string{"office"}, Paths: []policy.PathKind{policy.PathWireGuard}}}
	plmn, _ := ident.ParsePLMN("46001")
	home := policy.Rule{ID: "home", Action: policy.ActionHotspot, Permit: true, Match: policy.Match{PLMNs: []ident.PLMN{plmn}}}
	for _, c := range []struct {
		name  string
		cell  byte
		rule  policy.Rule
		alone bool          // the carrier's path is gone
		after time.Duration // since it went
		want  wire.Code
	}{
		{"in the office", 1, office, false, 0, ""},
		{"elsewhere", 2, office, false, 0, wire.CodeNoRule},
		{"was there", 1, office, true, time.Hour - time.Second, ""},
		{"was there too long ago", 1, office, true, time.Hour, wire.CodeNoRule},
		{"of a network", 1, home, false, 0, wire.CodeNoRule},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := usetest.New(t, time.Now)
			s := w.Attach(usetest.Terminal)
			w.Do(&command.RaiseLevel{Level: command.Level})
			w.Do(&command.ModifySession{
				Session: s.Id, LocalTeidC: s.Gtp.LocalTeidC, ServingPlmn: "46001", RatType: 6, UserLocation: []byte{0x18, 0x64, 0xf0, 0x10, 0, 1, 0x64, 0xf0, 0x10, 0, 0, 0, c.cell},
			})
			var sub *command.Subscriber
			var revision uint64
			look := func(m *state.Machine) {
				sub, revision = proto.CloneOf(m.Subscriber(usetest.Terminal)), m.PolicyRevision()
			}
			w.View(look)
			sub.WireguardPublicKey = key
			w.Do(&command.PutSubscriber{Subscriber: sub, AnyVersion: true})
			w.View(look)
			w.Do(&command.AttachWireGuard{Imsi: usetest.Terminal, Apn: usetest.APN, PublicKey: key, PolicyRevision: revision, SubscriberVersion: sub.Version})
			if c.alone {
				w.Do(&command.ClosePath{Session: s.Id, Path: command.PathKind_GTP, LocalTeidC: s.Gtp.LocalTeidC})
			}
			time.Sleep(c.after)
			rules := usetest.Rules()
			rules.Fallback = policy.Fallback{Allowed: true, PlaceAge: time.Hour}
			rules.Locations = map[string]policy.Location{"office": {ECGIs: []string{"46001-0000001"}}}
			rules.Table = []policy.Rule{c.rule}
			rules.Index()
			g := &Guard{Records: w, Rules: func() *policy.Rules { return rules }}
			mac, _ := ident.ParseMAC(usetest.MAC(usetest.Barrel))
			var p *wire.Problem
			if err := g.Judge(usetest.Terminal, mac); c.want == "" && err != nil || c.want != "" && (!errors.As(err, &p) || p.Code != c.want) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
		})
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
