package bundle

import (
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/document"
	"github.com/sealedge/sealedge/policy/ident"
)

func (p *parser) admission(v document.Value) {
	p.source(v, "spec", "admission")
	m := v.Map()
	plmns, rats, imei := m.Get("plmns"), m.Get("rats"), m.Get("requireIMEI")
	p.source(plmns, "spec", "admission", "plmns")
	p.source(rats, "spec", "admission", "rats")
	p.source(imei, "spec", "admission", "requireIMEI")
	p.rules.Admission = policy.Admission{
		PLMNs:       document.Each(plmns, ident.ParsePLMN),
		RATs:        document.Each(rats, policy.ParseRAT),
		RequireIMEI: imei.Bool(),
	}
	m.Close()
}
