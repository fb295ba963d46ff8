package main

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/sealedge/sealedge/apn/gtpc"
	"github.com/sealedge/sealedge/apn/gtpu"
	"github.com/sealedge/sealedge/apn/session"
	"github.com/sealedge/sealedge/apn/trace"
	"github.com/sealedge/sealedge/cluster"
	"github.com/sealedge/sealedge/cluster/address"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/wireguard"
)

// face is one gateway address: what carriers and fallback peers see of it. Every
// node has every face, with every tunnel of its sessions; it is served where its
// lease is held.
type face struct {
	name string // of the address in the replicated state
	ip   netip.Addr

	lease       *cluster.AddressLease
	paths       *paths
	plane       *gtpu.Plane
	fallback    *wireguard.Endpoint // nil: there is no fallback path
	control     *gtpc.Server
	restoration *restoration
	timers      *timers
	standbys    *standbys
	admissions  *admissions
	sockets     *outer
}

// openFace makes the parts of an address. only tells whether there is no other.
func (g *gateway) openFace(o config.Outer, first, only bool) (*face, error) {
	gtp := g.cfg.Gateway.GTP
	f := &face{name: string(o.Name), ip: o.Address, lease: g.node.AddressLease(string(o.Name))}
	named := func(part string) string {
		if first {
			return part
		}
		return part + " " + f.name
	}
	noticed := fenced{g.node, f.name, f.lease.Held}
	answers := newProbes(func(a netip.Addr) bool { return slices.Contains(g.cfg.Inner.Addresses, a) }, g.standing)
	f.paths = newPaths(noticed, g.rules.inForce, f.name, g.component(named("paths")))
	f.plane = gtpu.New(gtpu.Config{
		// A node that was stopped or cut off and doesn't know yet that another holds
		// the address lets nothing through.
		Uplink: func(pkt []byte) {
			if f.lease.Held() {
				g.network.Deliver(pkt)
			}
		},
		Holds:             f.lease.Held,
		OnErrorIndication: f.paths.tunnelLost,
		OnUplinkPath:      f.paths.backOnCarrier,
		Answer:            answers.carrier,
		AllowedPeers:      gtp.AllowedPeers,
		Address:           o.Address,
		Outer:             g.outside(),
		Answers:           gtp.Answers,
		MTU:               uint32(g.cfg.Inner.MTU),
		SequenceNumbers:   gtp.SequenceNumbers,
		EchoInterval:      gtp.UserEchoInterval,
		T3:                gtp.T3,
		N3:                gtp.N3,
		OnPathFailed: func(peer netip.Addr) {
			// The control plane decides on sessions; a user-plane node may stand alone.
			g.log.Warn("carrier's user plane is silent", "peer", peer)
		},
		OnPathRestored: func(peer netip.Addr) { g.log.Info("carrier's user plane answers again", "peer", peer) },
		Logger:         g.component(named("gtpu")),
	})
	listen := address.ListenConfig(g.cfg.Gateway.Driver)
	if wg := g.cfg.Gateway.WireGuard; wg.Enabled() {
		var err error
		f.fallback, err = wireguard.New(wireguard.Config{
			MTU: g.cfg.Inner.MTU,
			Uplink: func(pkts [][]byte) { // of one peer, so of one session
				if g.tunnels.admitted(pkts[0]) && f.lease.Held() {
					g.network.DeliverAll(pkts)
				}
			},
			OnAuthenticated: f.paths.cameByFallback, Answer: answers.fallback,
			Holds: f.lease.Held, Silence: wg.Silence, Listen: wireguard.ListenUDP(listen), Logger: g.component(named("wireguard")),
		})
		if err != nil {
			return nil, err
		}
		g.close = append(g.close, f.fallback.Close)
	}
	asked := fenced{g.endings, f.name, f.lease.Held}
	f.restoration = newRestoration(asked, f.lease.Held, keepFor(gtp), func(p gtpc.EchoPeer) { f.control.AskCounter(p) }, g.component(named("restoration")))
	f.timers = &timers{
		cluster: g.node, rules: g.rules.inForce, holds: f.lease.Held, lastActive: f.plane.LastActive, log: g.component(named("timers")),
	}
	f.admissions = &admissions{
		cluster: g.node, rules: g.rules.inForce, holds: f.lease.Held, changed: g.node.Changed, log: g.component(named("admissions")),
	}
	f.standbys = &standbys{
		paths: f.paths, rules: g.rules.inForce, holds: f.lease.Held, both: func() []*command.Session { return g.tunnels.onBoth() },
		carrierHeard: f.plane.LastHeard, mine: func(s *command.Session) bool { return g.faceOf(s) == f }, log: g.component(named("paths")),
	}
	if f.fallback != nil {
		f.standbys.fallbackHeard = f.fallback.LastHeard
	}
	gateway := session.Gateway{Name: f.name, Outer: f.ip, Secret: g.secrets.teid}
	if !only {
		f.restoration.address = f.name
		f.timers.mine = func(s *command.Session) bool { return g.faceOf(s) == f }
		f.admissions.mine = f.timers.mine
	}
	if !first {
		gateway.Scope = f.name
	}
	procedures := gtpc.NewProcedures(gtpc.ProceduresConfig{
		Cluster: asked, Rules: g.rules.inForce, Gateway: gateway,
		Prepare: func(ctx context.Context, s *command.Session) { g.tunnels.prepare(ctx, s) },
		Unwrap:  g.secrets.wrapper.Unwrap, OnPeerRestart: f.restoration.counterClaimed,
		Tracer: g.monitoring.tracer(), Logger: g.component(named("gtpc")),
	})
	f.control = gtpc.New(gtpc.Config{
		RestartCounter: func() uint8 { return g.restartCounter(f.name) }, Holds: f.lease.Held, AllowedPeers: gtp.AllowedPeers,
		Rules: g.rules.inForce, CreateRate: gtp.Creates, Full: g.full, T3: gtp.T3, N3: gtp.N3,
		EchoInterval: gtp.EchoInterval, EchoPeers: f.restoration.peers,
		OnPathFailed: f.restoration.pathFailed, OnPathRestored: f.restoration.pathRestored, OnPeerRestart: f.restoration.counterHeard,
		OnRestartClaimed: f.restoration.counterClaimed,
		Observe:          func(e gtpc.Event) { g.tracer.Observe(trace.Event(f.seen(e))) },
		Answered:         g.monitoring.answered(),
		Tracer:           g.monitoring.tracer(),
		Logger:           g.component(named("gtpc")),
	}, procedures)
	f.sockets = &outer{
		address: g.cfg.Gateway.BoundTo(o), listen: listen, wireguard: g.cfg.Gateway.WireGuard.Port,
		control: f.control, plane: f.plane, fallback: f.fallback, ready: func() { g.tunnels.takeOver() }, log: g.component(named("outer")),
	}
	return f, nil
}

// seen is a message as the peer sees it, wherever the sockets are bound.
func (f *face) seen(e gtpc.Event) gtpc.Event {
	e.Local = netip.AddrPortFrom(f.ip, e.Local.Port())
	return e
}

// outside lists the gateway addresses: nothing is sent to them from within.
func (g *gateway) outside() (all []netip.Addr) {
	for _, o := range g.cfg.Gateway.All() {
		all = append(all, o.Address)
	}
	if b := g.cfg.Gateway.Bind; b.IsValid() {
		all = append(all, b)
	}
	return all
}

// openKeeper has the cluster decide which face is served where.
func (g *gateway) openKeeper() error {
	var addresses []address.Address
	for _, f := range g.faces {
		addresses = append(addresses, address.Address{Name: f.name, Lease: f.lease, IP: f.ip, OnUp: f.sockets.up, OnDown: f.sockets.down})
	}
	holds := func(ip netip.Addr) bool {
		return slices.ContainsFunc(g.faces, func(f *face) bool { return f.ip == ip && f.lease.Held() })
	}
	driver, err := address.NewDriver(g.cfg.Gateway.Driver, address.Settings{
		Addresses: g.outside(), Holds: holds, Interface: g.cfg.Gateway.Interface, Endpoint: endpoint(g.cfg), Life: g.life, Logger: g.component("address"),
	})
	if err != nil {
		return fmt.Errorf("gateway.address_driver: %w", err)
	}
	if counting, ok := driver.(interface{ Counters() map[string]uint64 }); ok {
		g.delivery = counting.Counters
	}
	g.keeper = address.New(address.Config{
		Node: string(g.cfg.Node.Name), Driver: driver, Addresses: addresses,
		Leave: g.leave, HandOver: g.node.HandOver, Yields: g.node.Yields, Logger: g.component("address"),
	}, g.node, g.node)
	return nil
}

// faceOf is the address that a session's path through the carrier is tied to. One
// of an address that is configured no more is the first's.
func (g *gateway) faceOf(s *command.Session) *face {
	for _, f := range g.faces {
		if f.name == s.GetGatewayAddress() {
			return f
		}
	}
	return g.faces[0]
}

// holdsAny tells whether this node may use any gateway address at this moment.
func (g *gateway) holdsAny() bool {
	return slices.ContainsFunc(g.faces, func(f *face) bool { return f.lease.Held() })
}

func (g *gateway) restartCounter(name string) (n uint8) {
	g.node.View(func(m *state.Machine) { n = uint8(m.Address(name).GetRestartCounter()) })
	return n
}

// wait returns when nothing that a face began is under way.
func (f *face) wait() {
	f.paths.wait()
	f.restoration.wait()
}

// count adds what a face's parts have counted.
func (f *face) count(all map[string]uint64) {
	parts := map[string]map[string]uint64{"paths": f.paths.Counters(), "gtpc": f.control.Counters(), "gtpu": f.plane.Counters(), "restoration": f.restoration.Counters()}
	if f.fallback != nil {
		parts["wireguard"] = f.fallback.Counters()
	}
	for part, c := range parts {
		for reason, n := range maps.All(c) {
			all[part+"."+reason] += n
		}
	}
}

// holdings lists who holds which address, for people.
func (g *gateway) holdings() (list []adminapi.GatewayAddress) {
	g.node.View(func(m *state.Machine) {
		for _, f := range g.faces {
			a := m.Address(f.name)
			list = append(list, adminapi.GatewayAddress{
				Name: f.name, Address: f.ip.String(), Holder: a.GetHolder(), Epoch: a.GetEpoch(), MovingTo: a.GetMovingTo(), Home: a.GetHome(),
			})
		}
	})
	return list
}

// fenced proposes what came to a gateway address, as long as this node holds it. What
// it proposes is carried out only if nobody has succeeded it by then.
type fenced struct {
	gtpc.Cluster
	address string // its name
	held    func() bool
}

func (f fenced) Propose(ctx context.Context, c *command.Command) (*command.Result, error) {
	var epoch uint64
	f.View(func(m *state.Machine) {
		if m.Level() >= command.UnderLevel {
			epoch = m.Address(f.address).GetEpoch()
		}
	})
	// When this node has held it in that epoch, and no more, held is false.
	if epoch != 0 {
		c.At(f.address, epoch)
	}
	return f.Cluster.Propose(cluster.While(ctx, f.held), c)
}

// standing is how a terminal's session stands, by its inner address.
func (g *gateway) standing(a netip.Addr) (standing, bool) { return g.tunnels.standing(a) }
