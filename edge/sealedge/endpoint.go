package main

import (
	"github.com/sealedge/sealedge/apn/gtpu"
	"github.com/sealedge/sealedge/cluster/address"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/config"
)

// endpoint is where a Service is to send to when this node holds the gateway address.
// The ports are called as in the Service.
func endpoint(cfg *config.Config) address.Endpoint {
	g := cfg.Gateway
	e := address.Endpoint{
		Slice: g.Service.EndpointSlice, Address: g.Bind, Pod: string(cfg.Node.Name), Machine: g.Service.Machine,
		Ports: []address.Port{{Name: "gtp-c", Number: gtpcPort}, {Name: "gtp-u", Number: gtpu.Port}},
	}
	if g.WireGuard.Enabled() {
		e.Ports = append(e.Ports, address.Port{Name: "wireguard", Number: g.WireGuard.Port})
	}
	return e
}

// life is when the cluster was restored or recovered last, in Unix nanoseconds: since
// then epochs of addresses may be given a second time.
func (g *gateway) life() (raised int64) {
	g.node.View(func(m *state.Machine) { raised = m.Epoch().GetRaised() })
	return raised
}
