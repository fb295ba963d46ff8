package main

import (
	"context"
	"crypto/tls"
	"maps"
	"net"
	"net/netip"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/fallback"
	"github.com/sealedge/sealedge/edge/wire"
)

// openConnections makes what answers connection requests, where there is a fallback
// path at all.
func (g *gateway) openConnections() (err error) {
	if !g.cfg.Gateway.WireGuard.Enabled() {
		return nil
	}
	f := g.cfg.Fallback
	g.connections, err = fallback.New(fallback.Config{
		Cluster: g.node, Rules: g.rules.inForce, Secrets: g.secrets.wrapper, APN: fallbackAPN,
		Certificate: config.Kept(f.Cert, f.Key),
		Endpoints:   g.cfg.FallbackEndpoints(), MTU: g.cfg.Inner.MTU,
		Requests: f.Requests, Connections: f.Connections, Logger: g.component("fallback"),
	})
	return err
}

// connectInside answers a connection request that came over the phone API.
func (g *gateway) connectInside(ctx context.Context, req wire.ConnectionRequest, conn *tls.ConnectionState, from netip.Addr, session *command.Session) (*wire.ConnectionAnswer, *wire.Problem) {
	if g.connections == nil {
		return nil, wire.NewProblem(wire.CodeNotFound, "This gateway has no fallback path.")
	}
	return g.connections.Connect(ctx, fallback.Request{Wire: req, TLS: conn, From: from, Session: session})
}

// listenConnections opens the public listener; nil: there is none.
func (g *gateway) listenConnections() (net.Listener, error) {
	if g.connections == nil || !g.cfg.Fallback.Enabled() {
		return nil, nil
	}
	return g.listen("fallback.listen", g.cfg.Fallback.Listen)
}

// serveConnections names the parts that answer connection requests. l may be nil.
func (g *gateway) serveConnections(l net.Listener, part func(name string, run func(context.Context) error)) {
	if g.connections == nil {
		return
	}
	part("connection requests upkeep", g.connections.Run)
	if l != nil {
		part("connection requests", func(ctx context.Context) error { return g.connections.Serve(ctx, l) })
	}
}

// countConnections adds what was counted of connection requests.
func (g *gateway) countConnections(all map[string]uint64) {
	if g.connections == nil {
		return
	}
	for reason, n := range maps.All(g.connections.Counters()) {
		all["connection."+reason] = n
	}
}
