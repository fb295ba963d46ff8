// Package hotspot judges which devices may be on a terminal's Wi-Fi hotspot:
// active barrels on the allow-list that are checked out with that terminal, and
// nothing else but the devices that the policy names. The terminal reports who
// joins, asks, and drops whoever it is told to; its app can have the signed list of
// who may, and a travel router's access point asks by RADIUS (edge/radius). The
// barrel's DTLS identity is checked besides, when it connects (edge/barrel). So a
// device that lies about its MAC gets a place on the hotspot, but no further.
package hotspot

import (
	"fmt"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/policy/view"
)

// Records gives its turn to a reader of the replicated state; cluster.Node
// does.
type Records interface{ View(fn func(*state.Machine)) }

// Guard judges associations. It keeps no state.
type Guard struct {
	Records Records
	Rules   func() *policy.Rules // in force now; nil when there are none
}

// Associate judges a report of a terminal. A refusal is a *wire.Problem with
// the reasons, CodeMACNotAllowed as a rule; it is for the caller, who knows the
// connection, to have it recorded. Leaving is never refused.
func (g *Guard) Associate(imsi string, report wire.Association) (wire.AssociationAnswer, error) {
	mac, err := ident.ParseMAC(report.MAC)
	if err != nil {
		return wire.AssociationAnswer{}, wire.NewProblem(wire.CodeBadRequest, fmt.Sprintf("mac: %v.", err))
	}
	if len(report.Hostname) > 255 {
		return wire.AssociationAnswer{}, wire.NewProblem(wire.CodeBadRequest, "hostname: at most 255 bytes.")
	}
	if report.Event == wire.EventLeave {
		var barrel *command.Barrel
		g.Records.View(func(m *state.Machine) { barrel = m.BarrelByMAC(mac.String()) })
		return wire.AssociationAnswer{Allowed: false, Barrel: own(barrel, imsi)}, nil
	}
	if report.Event != wire.EventJoin {
		return wire.AssociationAnswer{}, wire.NewProblem(wire.CodeBadRequest, `event: want "join" or "leave".`)
	}
	d, barrel := g.decide(imsi, mac)
	if !d.Allowed {
		return wire.AssociationAnswer{}, sealuse.FromDecision(d)
	}
	return wire.AssociationAnswer{Allowed: true, Barrel: barrel, Reasons: sealuse.Reasons(d)}, nil
}

// Judge tells whether a device may be on a terminal's hotspot: nil, or a
// *wire.Problem with the reasons.
func (g *Guard) Judge(imsi string, mac ident.MAC) error {
	if d, _ := g.decide(imsi, mac); !d.Allowed {
		return sealuse.FromDecision(d)
	}
	return nil
}

// decide also names the barrel that has the MAC.
func (g *Guard) decide(imsi string, mac ident.MAC) (d policy.Decision, barrel string) {
	rules := g.Rules()
	g.Records.View(func(m *state.Machine) {
		q := request(m, imsi, mac, sealuse.Later(time.Now(), m.Clock()))
		d, barrel = rules.AllowHotspot(q), q.Barrel.ID
	})
	return d, barrel
}

// request is what policy is asked about a device on a terminal's hotspot. How the
// terminal is attached is known while it has one session.
func request(m *state.Machine, imsi string, mac ident.MAC, now time.Time) policy.HotspotRequest {
	q := policy.HotspotRequest{
		MAC: mac, Barrel: view.Barrel(m.BarrelByMAC(mac.String())), Terminal: view.Subscriber(m.Subscriber(imsi)), Now: now,
	}
	sessions := 0
	for s := range m.SessionsByIMSI(imsi) {
		q.Path = policy.PathKind(s.Active)
		q.Access = view.Where(s, q.Path)
		q.APN, _ = ident.ParseAPN(s.Apn)
		sessions++
	}
	if sessions != 1 {
		q.Path, q.APN, q.Access = 0, ident.APN{}, policy.Access{}
	}
	return q
}

// own names a barrel to the terminal that has it, and to no other.
func own(b *command.Barrel, imsi string) string {
	if b.GetCheckedOutTo() != imsi {
		return ""
	}
	return b.GetId()
}
