package bundle

import (
	"fmt"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/document"
	"github.com/sealedge/sealedge/policy/ident"
)

func (p *parser) admission(v document.Value) {
	p.source(v, "spec", "admission")
	m := v.Map()
	plmns, rats, imei := m.Get("plmns"), m.Get("rats"), m.Get("requireIMEI")
	handset, tacs := m.Get("handset"), m.Get("tacs")
	p.source(plmns, "spec", "admission", "plmns")
	p.source(rats, "spec", "admission", "rats")
	p.source(imei, "spec", "admission", "requireIMEI")
	p.source(handset, "spec", "admission", "handset")
	p.source(tacs, "spec", "admission", "tacs")
	p.rules.Admission = policy.Admission{
		PLMNs:       document.Each(plmns, ident.ParsePLMN),
		RATs:        document.Each(rats, policy.ParseRAT),
		RequireIMEI: imei.Bool(),
		Handset:     policy.HandsetListed,
		TACs:        document.Each(tacs, parseTAC),
		Credentials: p.pathCredentials(m.Get("credentials")),
	}
	if h, ok := document.Parse(handset, policy.ParseHandset); ok {
		p.rules.Admission.Handset = h
	}
	p.pool(handset, p.rules.Admission.Handset)
	m.Close()
}

// pool reports a pool of handsets that has none.
func (p *parser) pool(at document.Value, h policy.HandsetBinding) {
	if h == policy.HandsetPool && len(p.rules.Admission.TACs) == 0 {
		at.Report(`add "tacs: ["35693803"]" to spec.admission`, "the pool of handsets is empty, so that none is let in")
	}
}

// parseTAC reads the type allocation code of a handset model (TS 23.003 6.2.1).
func parseTAC(s string) (string, error) {
	if imei, err := ident.ParseIMEI(s + "000000"); err == nil && len(s) == 8 {
		return imei.TAC(), nil
	}
	return "", fmt.Errorf("want the 8 digits that a handset model's IMEIs begin with, such as 35693803, have %q", s)
}

// pathCredentials reads what terminals show on each path.
func (p *parser) pathCredentials(v document.Value) map[policy.PathKind]policy.Credentials {
	p.source(v, "spec", "admission", "credentials")
	if !v.Present() {
		return nil
	}
	out := map[policy.PathKind]policy.Credentials{}
	m := v.Map()
	for _, name := range policy.PathNames() {
		item := m.Get(name)
		p.source(item, "spec", "admission", "credentials", name)
		path, _ := policy.ParsePath(name)
		if set := credentials(item, path.Possible(), "over this path"); set != 0 {
			out[path] = set
		}
	}
	m.Close()
	return out
}

// credentials reads a set of them, each of which must be possible.
func credentials(v document.Value, possible policy.Credentials, where string) policy.Credentials {
	var set policy.Credentials
	for _, c := range document.Each(v, func(s string) (policy.Credentials, error) {
		c, err := policy.ParseCredential(s)
		if err == nil && !possible.Has(c) {
			err = fmt.Errorf("%s can't be shown %s, so that nothing would ever be allowed; want of %s", c, where, possible)
		}
		return c, err
	}) {
		set |= c
	}
	return set
}
