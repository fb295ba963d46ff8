package bundle

import (
	"fmt"
	"slices"
	"time"
	_ "time/tzdata" // the zone of a document means the same on every machine

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/document"
	"github.com/sealedge/sealedge/policy/ident"
)

// zone reads the time zone of the rules' hours.
func (p *parser) zone(v document.Value) {
	p.source(v, "spec", "timeZone")
	p.rules.Zone = time.UTC
	if z, ok := document.Parse(v, func(s string) (*time.Location, error) {
		if s == "" || s == "Local" {
			return nil, fmt.Errorf("%q is another zone on each machine; name one, such as Asia/Shanghai", s)
		}
		z, err := time.LoadLocation(s)
		if err != nil {
			return nil, fmt.Errorf("unknown time zone %q; want a name such as Asia/Shanghai or UTC", s)
		}
		return z, nil
	}); ok {
		p.rules.Zone = z
	}
}

// locations reads the named sets of places.
func (p *parser) locations(v document.Value) {
	p.source(v, "spec", "locations")
	for name, item := range v.Map().All() {
		if !ident.PlainName(name) {
			item.Report(`use lower-case letters, digits and dashes, such as "head-office"`, "%q can't name a location", name)
		}
		p.source(item, "spec", "locations", name)
		m := item.Map()
		l := policy.Location{
			TAIs:  texts(document.Each(m.Get("tais"), ident.ParseTAI)),
			ECGIs: texts(document.Each(m.Get("ecgis"), ident.ParseECGI)),
		}
		m.Close()
		if len(m.Get("tais").List())+len(m.Get("ecgis").List()) == 0 {
			item.Report(`add "tais: [46001-1a2b]" or "ecgis: [46001-1a2b3c4]"`, "nobody is ever at a location without places")
		}
		if p.rules.Locations == nil {
			p.rules.Locations = map[string]policy.Location{}
		}
		p.rules.Locations[name] = l
	}
}

// texts are the canonical forms.
func texts[T fmt.Stringer](values []T) []string {
	var out []string
	for _, v := range values {
		out = append(out, v.String())
	}
	return out
}

// hotspot reads the devices that are no barrels and may be on hotspots.
func (p *parser) hotspot(v document.Value) {
	p.source(v, "spec", "hotspot")
	m := v.Map()
	devices := m.Get("devices")
	p.source(devices, "spec", "hotspot", "devices")
	for _, item := range devices.List() {
		d := item.Map()
		mac := d.Need("mac", `mac: "02:00:5e:10:00:99"`)
		role := d.Need("role", "role: router")
		device := policy.HotspotDevice{Label: d.Get("label").Text()}
		device.MAC, _ = document.Parse(mac, ident.ParseMAC)
		device.Role, _ = document.Parse(role, roleName)
		d.Close()
		if !device.MAC.IsZero() && slices.ContainsFunc(p.rules.Hotspot, func(o policy.HotspotDevice) bool { return o.MAC == device.MAC }) {
			mac.Report("remove one", "%s is there twice", device.MAC)
		}
		p.source(item, "spec", "hotspot", "devices", device.MAC.String())
		p.rules.Hotspot = append(p.rules.Hotspot, device)
	}
	m.Close()
}

func roleName(s string) (string, error) {
	if !ident.PlainName(s) {
		return "", fmt.Errorf(`%q can't name a role; use lower-case letters, digits and dashes, such as "router"`, s)
	}
	if s == policy.RoleBarrel {
		return "", fmt.Errorf("%q is the role of barrels, which are on the allow-list; name another", s)
	}
	return s, nil
}
