package hotspot

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/grant"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

// listLifetime is how long a list counts at most. Lists that are made in the same
// half of it expire together.
const listLifetime = 15 * time.Minute

// List is who may be on a terminal's hotspot at this moment: of the barrels that are
// checked out with it and the devices that the policy names, those that Judge would
// let join. It is a refusal for a terminal that is not on the allow-list.
func (g *Guard) List(imsi string, now time.Time) (grant.AllowList, error) {
	rules := g.Rules()
	if rules == nil {
		return grant.AllowList{}, wire.NewProblem(wire.CodeNoPolicy, "")
	}
	now = now.UTC().Truncate(time.Second)
	l := grant.AllowList{IMSI: imsi, Revision: rules.Revision, Issued: now, Expires: now.Truncate(listLifetime / 2).Add(listLifetime)}
	known := false
	g.Records.View(func(m *state.Machine) {
		l.Version = m.Index()
		if known = m.Subscriber(imsi).GetState() == command.DeviceState_ACTIVE; !known {
			return
		}
		add := func(mac ident.MAC, role, barrel string) {
			if rules.AllowHotspot(request(m, imsi, mac, now)).Allowed {
				l.Devices = append(l.Devices, grant.Device{MAC: octets(mac), Role: role, Barrel: barrel})
			}
		}
		for b := range m.BarrelsOf(imsi) {
			if mac, err := ident.ParseMAC(b.Mac); err == nil {
				add(mac, policy.RoleBarrel, b.Id)
			}
		}
		for _, d := range rules.Hotspot {
			if m.BarrelByMAC(d.MAC.String()) == nil { // a barrel's MAC is a barrel's
				add(d.MAC, d.Role, "")
			}
		}
	})
	if !known {
		return grant.AllowList{}, wire.NewProblem(wire.CodeTerminalUnknown, "")
	}
	slices.SortFunc(l.Devices, func(a, b grant.Device) int { return bytes.Compare(a.MAC[:], b.MAC[:]) })
	if n := len(l.Devices); n > grant.MaxDevices {
		return grant.AllowList{}, fmt.Errorf("hotspot: %d devices may be on one hotspot, a list holds %d: name fewer in the policy", n, grant.MaxDevices)
	}
	return l, nil
}

// octets are a MAC's six bytes.
func octets(mac ident.MAC) (b [6]byte) {
	_, _ = hex.Decode(b[:], []byte(strings.ReplaceAll(mac.String(), ":", ""))) // it has been parsed
	return b
}
