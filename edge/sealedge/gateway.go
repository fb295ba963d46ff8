package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealedge/sealedge/apn/trace"
	"github.com/sealedge/sealedge/cluster"
	"github.com/sealedge/sealedge/cluster/address"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/admin"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/barrel"
	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/fallback"
	"github.com/sealedge/sealedge/edge/hotspot"
	"github.com/sealedge/sealedge/edge/inner"
	"github.com/sealedge/sealedge/edge/phoneapi"
	"github.com/sealedge/sealedge/edge/upstream"
)

// gateway is one node, composed. Each part owns its goroutines; run starts them
// in the order in which they depend on each other, and ends them in reverse.
type gateway struct {
	cfg     *config.Config
	log     *slog.Logger
	secrets secrets

	clusterLog *slog.Logger

	node    *cluster.Node
	rules   *rules
	network *inner.Network
	faces   []*face // the first is that of gateway.address
	tunnels *tunnels
	keys    *serverKeys // nil: there is no fallback path
	endings *endings
	// departures are the last endings of sessions here, with how fast they were.
	departures *departures
	tracer     trace.Tracer
	keeper     *address.Keeper
	delivery   func() map[string]uint64 // what bringing addresses here has counted; nil: nothing

	seals       *upstream.Client
	phones      *phoneapi.Server
	connections *fallback.Server // nil: there is no fallback path
	routers     *routers
	barrels     *barrel.Server
	locks       *upstream.Listener
	operators   *admin.Server
	monitoring  monitoring
	control     *net.UnixListener // for commands of this program
	reloader    *reloader         // nil: there is no file
	maxSessions atomic.Int64      // gateway.gtp.max_sessions as it is now

	close []func() error // in reverse order
}

// open makes all the parts, and opens what this node always has open. When it
// fails nothing is left open.
func open(cfg *config.Config, log *slog.Logger) (_ *gateway, err error) {
	g := &gateway{cfg: cfg, log: log.With("node", cfg.Node.Name)}
	g.maxSessions.Store(int64(cfg.Gateway.GTP.MaxSessions))
	defer func() {
		if err != nil {
			err = errors.Join(err, g.shut())
		}
	}()
	if g.secrets, err = readSecrets(cfg.Secrets); err != nil {
		return nil, fmt.Errorf("secrets: %w", err)
	}
	g.clusterLog = log.With("component", "cluster") // it names the node itself
	for _, step := range []func() error{g.openTraces, g.openCluster, g.openControl, g.openPlanes, g.openServices, g.openTelemetry} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func (g *gateway) shut() error {
	var errs []error
	for _, c := range slices.Backward(g.close) {
		errs = append(errs, c())
	}
	g.close = nil
	return errors.Join(errs...)
}

func (g *gateway) component(name string) *slog.Logger { return g.log.With("component", name) }

// clusterConfig is how this node takes part in the cluster.
func clusterConfig(cfg *config.Config, log *slog.Logger) (cluster.Config, error) {
	c := cfg.Cluster
	nodeTLS, err := mutual(cfg.TLS.CA, cfg.TLS.Cert, cfg.TLS.Key)
	if err != nil {
		return cluster.Config{}, fmt.Errorf("tls: %w", err)
	}
	var peers []cluster.Peer
	for _, p := range c.Peers {
		peers = append(peers, cluster.Peer{Name: string(p.Name), Address: string(p.Address)})
	}
	return cluster.Config{
		NodeName: string(cfg.Node.Name), DataDir: string(cfg.Node.DataDir), Listen: string(c.Listen), Advertise: string(c.Advertise),
		Peers: peers, TLS: nodeTLS, Renew: renewed(cfg.TLS), Bootstrap: c.Bootstrap, PreferredLeader: string(c.PreferredLeader),
		HeartbeatTimeout: c.HeartbeatTimeout, ElectionTimeout: c.ElectionTimeout, LeaderLease: c.LeaderLease,
		SnapshotThreshold: c.SnapshotThreshold, ApplyTimeout: c.ApplyTimeout, DiskStall: c.DiskStall, AdmissionStop: c.AdmissionStop, Logger: log,
	}, nil
}

func (g *gateway) openCluster() error {
	c, err := clusterConfig(g.cfg, g.clusterLog)
	if err != nil {
		return err
	}
	c.Bind = func(at string) (net.Listener, error) { return g.listen("cluster.listen", config.HostPort(at)) }
	g.measured(&c)
	c.Tracer = g.monitoring.tracer()
	if g.node, err = cluster.Open(c); err != nil {
		return err
	}
	g.close = append(g.close, g.node.Close)
	g.rules = &rules{records: g.node, log: g.component("policy")}
	return nil
}

// openPlanes makes the ways of packets: carrier or fallback, inner network, and
// back.
func (g *gateway) openPlanes() (err error) {
	in := g.cfg.Inner
	g.network, err = inner.New(inner.Config{
		Addresses: in.Addresses, MTU: in.MTU, ConnsPerTerminal: in.ConnsPerTerminal,
		Driver: in.Driver, Interface: in.Interface, Logger: g.component("inner"),
	})
	if err != nil {
		return err
	}
	g.close = append(g.close, g.network.Close)

	g.endings, g.departures = newEndings(g.node), newDepartures()
	all := g.cfg.Gateway.All()
	for i, o := range all {
		f, err := g.openFace(o, i == 0, len(all) == 1)
		if err != nil {
			return err
		}
		g.faces = append(g.faces, f)
	}
	first := g.faces[0]
	if err := g.openKeys(); err != nil {
		return err
	}
	g.tunnels = &tunnels{
		node: g.node, plane: first.plane, fallback: first.fallback, network: g.network, log: g.component("tunnels"),
		unwrap: g.secrets.wrapper.Unwrap,
		have:   map[uint64]*command.Session{}, both: map[uint64]struct{}{}, ended: g.tellCarrier, left: func(was *command.Session) { g.departures.down(was.Id, false) },
	}
	if g.keys != nil {
		g.tunnels.keys = g.keys.follow
	}
	for _, f := range g.faces[1:] {
		g.tunnels.others = append(g.tunnels.others, way{f.name, f.plane, f.fallback})
	}
	return g.openKeeper()
}

// full tells whether there is room for no more sessions.
func (g *gateway) full() (full bool) {
	g.node.View(func(m *state.Machine) { full = m.Counts().Sessions >= int(g.maxSessions.Load()) })
	return full
}

// openServices makes the faces of the gateway.
func (g *gateway) openServices() error {
	up := g.cfg.Upstream
	upTLS, err := renewing(up.CA, up.Cert, up.Key)
	if err != nil {
		return fmt.Errorf("upstream: %w", err)
	}
	upTLS.ServerName = up.ServerName
	g.seals, err = upstream.NewClient(upstream.ClientConfig{URL: up.URL.String(), TLS: upTLS, Timeout: up.Timeout, MaxConns: up.MaxConns})
	if err != nil {
		return err
	}
	g.close = append(g.close, func() error { g.seals.Close(); return nil })
	grantKey, err := g.cfg.Grant.Ed25519()
	if err != nil {
		return fmt.Errorf("grant.key_file: %w", err)
	}

	barrelAPI := g.cfg.Inner.BarrelAPI
	pool, err := g.cfg.TLS.CA.Pool()
	if err != nil {
		return fmt.Errorf("tls.ca: %w", err)
	}
	g.barrels, err = barrel.New(barrel.Config{
		Cluster: g.tracing("barrel"), ClientCAs: pool, Leading: g.holdsAny, Logger: g.component("barrel"),
		PSK:         func(b *command.Barrel) ([]byte, error) { return g.secrets.wrapper.Unwrap(b.Id, b.Psk) },
		Certificate: config.Kept(barrelAPI.Cert, barrelAPI.Key),
	})
	if err != nil {
		return err
	}

	guard := &hotspot.Guard{Records: g.node, Rules: g.rules.inForce}
	g.openRouters(guard)
	if err := g.openConnections(); err != nil {
		return err
	}
	phoneAPI := g.cfg.Inner.PhoneAPI
	g.phones = phoneapi.New(phoneapi.Config{
		Cluster: g.tracing("gateway"), Traces: g.uses(), Rules: g.rules.inForce, Server: g.seals, Evidence: g.seals, Barrels: g.barrels,
		Hotspot: guard, GrantKey: grantKey, Unwrap: g.secrets.wrapper.Unwrap, Connect: g.connectInside,
		Certificate: config.Kept(phoneAPI.Cert, phoneAPI.Key),
		Leading:     g.node.Holds, Used: g.monitoring.used(), Logger: g.component("phoneapi"),
	})

	intranet := g.cfg.Intranet
	intranetTLS, err := renewing(intranet.CA, intranet.Cert, intranet.Key)
	if err != nil {
		return fmt.Errorf("intranet: %w", err)
	}
	g.locks, err = upstream.NewListener(upstream.ListenerConfig{
		TLS: intranetTLS, Names: []string{string(intranet.ClientURI)}, Cluster: g.tracing("seal-server"), Push: g.push, Logger: g.component("upstream"),
	})
	if err != nil {
		return err
	}

	adminTLS, err := renewing(g.cfg.Admin.CA, g.cfg.Admin.Cert, g.cfg.Admin.Key)
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	g.operators = admin.New(admin.Config{
		TLS: adminTLS, Cluster: g.tracing("operator"), Node: operated{g}, Chain: g.node, Membership: membership{g.node}, Trace: g.trace, Router: g.routers.export, Fallback: fallbackOf(g.cfg), Procedures: g.procedures, Alive: g.barrels.Alive, Push: g.push, Counters: g.counters,
		Name: string(g.cfg.Node.Name), RequestsPerSecond: g.cfg.Admin.RequestsPerSecond, Streams: g.cfg.Admin.Streams,
		Backup: noted(&g.monitoring, g.node.Backup), Ready: g.ready, Secrets: g.secrets.wrapper, Logger: g.component("admin"),
		Departed: g.departures.of, Locked: g.barrels.Locked, Lease: g.barrels.Lease(),
	})
	return nil
}

// push sends a lock at once to whoever of barrel and terminal is connected
// here. It needs no quorum; what is pending in the state is repeated anyway.
func (g *gateway) push(l *command.Lock) {
	g.barrels.Push(l)
	g.phones.Push(l)
}

// run serves until ctx ends or a part fails. The gateway address is given up
// before anything else.
func (g *gateway) run(ctx context.Context) error {
	phones, err := g.network.ListenTCP(g.cfg.Inner.PhoneAPI.Port)
	if err != nil {
		return err
	}
	barrels, err := g.network.ListenUDP(g.cfg.Inner.BarrelAPI.Port)
	if err != nil {
		return err
	}
	askers, err := g.routers.listen(g.network.ListenUDP)
	if err != nil {
		return err
	}
	intranet, err := g.listen("intranet.listen", g.cfg.Intranet.Listen)
	if err != nil {
		return err
	}
	operators, err := g.listen("admin.listen", g.cfg.Admin.Listen)
	if err != nil {
		return errors.Join(err, intranet.Close())
	}
	connections, err := g.listenConnections()
	if err != nil {
		return errors.Join(err, operators.Close(), intranet.Close())
	}

	failed, fail := context.WithCancelCause(ctx)
	services, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	parts := new(errgroup.Group)
	part := func(name string, run func(context.Context) error) {
		parts.Go(func() error {
			err := run(services)
			if err != nil {
				err = fmt.Errorf("%s: %w", name, err)
			}
			if services.Err() == nil { // it ended by itself
				fail(errors.Join(err, fmt.Errorf("%s ended", name)))
			}
			return err
		})
	}
	g.serveTelemetry(failed, part)
	part("commands", g.serveControl)
	if g.reloader != nil {
		part("configuration", g.reloader.run)
	}
	part("tunnels", g.tunnels.run)
	for _, f := range g.faces {
		part("session timers of "+f.name, f.timers.run)
		part("admissions of "+f.name, f.admissions.run)
		part("paths of "+f.name, f.standbys.run)
	}
	if g.keys != nil {
		part("keys of the fallback path", g.keys.run)
		part("leases of the fallback path", (&fallbackLeases{cluster: g.node, leads: g.node.Holds, log: g.component("leases")}).run)
	}
	part("barrel API", func(ctx context.Context) error { return g.barrels.Serve(ctx, barrels) })
	part("barrel API upkeep", g.barrels.Run)
	part("phone API", func(ctx context.Context) error { return g.phones.Serve(ctx, phones) })
	part("phone API upkeep", g.phones.Run)
	part("hotspot watch", g.routers.watch.Run)
	if askers != nil {
		part("RADIUS", askers)
	}
	g.serveConnections(connections, part)
	part("intranet listener", func(ctx context.Context) error { return g.locks.Serve(ctx, intranet) })
	part("admin API", func(ctx context.Context) error { return g.operators.Serve(ctx, operators) })
	g.log.Info("node is up", "version", version, "cluster", g.cfg.Cluster.Listen, "admin", g.cfg.Admin.Listen)

	for _, f := range g.faces {
		f.sockets.failed = func(err error) { fail(err) }
	}
	g.keeper.Run(failed)
	g.log.Info("node is stopping", "cause", context.Cause(failed))
	stop()
	err = parts.Wait()
	for _, f := range g.faces {
		f.wait()
	}
	if ctx.Err() == nil { // nobody asked it to stop
		err = errors.Join(context.Cause(failed), err)
	}
	return err
}

// ready tells whether this node is ready, as /readyz of the operators' API has it: by
// the checks that monitoring sees one by one.
func (g *gateway) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, c := range g.readiness() {
		if err := c.Run(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return nil
}

// counters collects what every part has counted, by part and reason.
func (g *gateway) counters() map[string]uint64 {
	all := map[string]uint64{}
	delivery := map[string]uint64{}
	if g.delivery != nil {
		delivery = g.delivery()
	}
	for name, c := range map[string]map[string]uint64{
		"inner": g.network.Counters(), "address": delivery,
		"cluster": g.node.Counters(), "phoneapi": g.phones.Counters(), "barrel": g.barrels.Counters(),
	} {
		for reason, n := range maps.All(c) {
			all[name+"."+reason] = n
		}
	}
	for _, f := range g.faces {
		f.count(all)
	}
	g.routers.count(all)
	g.countConnections(all)
	return all
}

// operated is the node as operators see it.
type operated struct{ *gateway }

func (o operated) Status() adminapi.Status {
	s := o.node.Status()
	v := adminapi.Status{
		Node: s.Node, Leader: s.Leader, IsLeader: s.Role == "Leader", Term: s.Term, Applied: s.Applied, Version: version,
		Clock: s.ClockAhead.Milliseconds(),
		Level: s.Level, Applies: s.Applies, DiskUsed: s.DiskUsed, Admits: s.Admits,
	}
	for _, p := range s.Peers {
		if !slices.Contains(v.Peers, p.Name) { // a wiped node is there twice, until the member that it was is removed
			v.Peers = append(v.Peers, p.Name)
		}
	}
	v.Addresses = o.holdings()
	v.Holder, v.Epoch = v.Addresses[0].Holder, v.Addresses[0].Epoch
	return v
}

func (o operated) StepDown(ctx context.Context) error {
	if !o.node.IsLeader() {
		leader, _ := o.node.Leader()
		return fmt.Errorf("this node doesn't lead; %q does", leader)
	}
	return o.node.StepDown(ctx)
}

func (o operated) Drain(ctx context.Context, drained bool) {
	o.log.Info("an operator drains this node, or undoes that", "drained", drained)
	if err := o.node.SetDrained(ctx, drained); err != nil {
		o.log.Debug("not every node has heard of it", "err", err)
	}
}

func (o operated) AuditRange(ctx context.Context, from uint64, fn func(*command.AuditEntry) error) error {
	return o.node.AuditRange(ctx, from, fn)
}
