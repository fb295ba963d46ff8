package bundle

import (
	_ "embed"
	"fmt"
	"net/netip"
	"strings"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

//go:embed default.yaml
var firstPolicy string

// Params are what a first policy needs to know. A zero field takes the value
// that "sealedge init" uses on loopback.
type Params struct {
	APN      ident.APN     // seal.corp
	Gateway  netip.Addr    // 10.90.0.1, of the gateway inside the tunnel
	Pool     netip.Prefix  // 10.90.0.0/16
	Gateway6 netip.Addr    // none: no IPv6
	Pool6    netip.Prefix  // with Gateway6
	Server   policy.Server // 127.0.2.1:8443
	PLMNs    []ident.PLMN  // none: any serving network
}

// Default writes a first policy, with comments on every key.
func Default(p Params) []byte {
	if p.APN.IsZero() {
		p.APN, _ = ident.ParseAPN("seal.corp")
	}
	if !p.Gateway.IsValid() {
		p.Gateway = netip.AddrFrom4([4]byte{10, 90, 0, 1})
	}
	if !p.Pool.IsValid() {
		p.Pool = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 90, 0, 0}), 16)
	}
	if p.Server == (policy.Server{}) {
		p.Server = policy.Server{Host: "127.0.2.1", Port: 8443}
	}
	pools, gateway6 := p.Pool.String(), ""
	if p.Gateway6.IsValid() {
		gateway6 = fmt.Sprintf("\n      gateway6: %q # and in IPv6", p.Gateway6)
		pools = fmt.Sprintf("%s, %q", pools, p.Pool6)
	}
	var plmns []string
	for _, n := range p.PLMNs {
		plmns = append(plmns, `"`+n.String()+`"`)
	}
	return []byte(strings.NewReplacer(
		"{{.APN}}", p.APN.String(), "{{.Gateway}}", p.Gateway.String(), "{{.Pools}}", pools, "{{.Gateway6}}", gateway6,
		"{{.PLMNs}}", strings.Join(plmns, ", "), "{{.Server}}", p.Server.String(),
	).Replace(firstPolicy))
}
