package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sealedge/sealedge/cluster"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/telemetry"
)

// monitoring is the node as monitoring sees it.
type monitoring struct {
	metrics, profiles net.Listener // nil: not configured
	server            *telemetry.Server
	durations         *telemetry.Durations // nil: nobody asks for them
	traces            *telemetry.Traces    // nil: there is no collector
	stopping          atomic.Bool
	backup            atomic.Pointer[time.Time] // when the last was given out; nil: not since the node started
}

// measured has the parts tell how long things take, if somebody is to hear of it.
func (g *gateway) measured(c *cluster.Config) {
	if g.cfg.Telemetry.Listen == "" {
		return
	}
	d := telemetry.NewDurations()
	g.monitoring.durations = d
	c.Timings = cluster.Timings{Append: d.Append, Apply: d.Apply, Propose: d.Propose}
}

// answered is told of carriers' requests, used of requests for a use of a seal. They
// are nil when nothing is measured.
func (m *monitoring) answered() func(procedure, cause string, took time.Duration) {
	if m.durations == nil {
		return nil
	}
	return m.durations.Procedure
}

func (m *monitoring) used() func(outcome string, took time.Duration) {
	if m.durations == nil {
		return nil
	}
	return m.durations.Use
}

// noted gives out backups, and notes when one was whole.
func noted[Recipients any](m *monitoring, give func(context.Context, io.Writer, Recipients) error) func(context.Context, io.Writer, Recipients) error {
	return func(ctx context.Context, w io.Writer, to Recipients) error {
		err := give(ctx, w, to)
		if err == nil {
			now := time.Now()
			m.backup.Store(&now)
		}
		return err
	}
}

func (m *monitoring) backedUp() time.Time {
	if t := m.backup.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

// openTelemetry takes the addresses, before the parts that it tells of run.
func (g *gateway) openTelemetry() (err error) {
	listen := func(key string, at config.HostPort) (net.Listener, error) {
		if at == "" {
			return nil, nil
		}
		l, err := g.listen(key, at)
		if err != nil {
			return nil, err
		}
		g.close = append(g.close, func() error {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) { // as it is after it was served
				return err
			}
			return nil
		})
		return l, nil
	}
	m := &g.monitoring
	if m.metrics, err = listen("telemetry.listen", g.cfg.Telemetry.Listen); err != nil {
		return err
	}
	if m.profiles, err = listen("telemetry.pprof", g.cfg.Telemetry.Profiles); err != nil {
		return err
	}
	m.server = telemetry.New(telemetry.Config{
		Source: telemetry.Source{
			Version: version, Node: g.vitals, Counters: g.counters, State: g.node.Clone, Procedures: g.procedures, BackedUp: g.monitoring.backedUp, Traces: m.traces,
			Configuration: func() telemetry.Configuration { return g.reloader.state() },
			Certificates:  func() []telemetry.Certificate { return certificates(g.cfg) },
		},
		Durations: m.durations, Notes: func() []string { return g.reloader.notes() },
		Checks: g.readiness(),
		Logger: g.component("telemetry"),
	})
	return nil
}

// readiness are the conditions on which this node is ready.
func (g *gateway) readiness() []telemetry.Check {
	return []telemetry.Check{
		{Name: "running", Run: func(context.Context) error {
			if g.monitoring.stopping.Load() {
				return errors.New("this node is stopping, and gives its addresses up")
			}
			if g.node.Drained() {
				return errDraining
			}
			return nil
		}},
		{Name: "member", Run: func(context.Context) error { return votes(g.node.Status()) }},
		{Name: "caught-up", Run: g.node.ReadIndex},
	}
}

// serveTelemetry names the parts that answer monitoring. Once failed ends, the node
// isn't ready any more.
func (g *gateway) serveTelemetry(failed context.Context, part func(name string, run func(context.Context) error)) {
	m := &g.monitoring
	context.AfterFunc(failed, func() { m.stopping.Store(true) })
	if m.metrics != nil {
		part("telemetry", func(ctx context.Context) error { return m.server.Serve(ctx, m.metrics) })
	}
	if m.profiles != nil {
		part("profiles", func(ctx context.Context) error {
			return telemetry.ServeProfiles(ctx, m.profiles, g.component("telemetry"))
		})
	}
}

// votes tells whether a node is a whole member of its cluster.
func votes(s cluster.Status) error {
	for _, p := range s.Peers {
		switch {
		case p.ID != s.ID:
		case p.Voter:
			return nil
		default:
			return errors.New("this node has joined, and doesn't vote yet")
		}
	}
	return errors.New("this node is no member of the cluster yet")
}

// vitals is how this node stands.
func (g *gateway) vitals() telemetry.Node {
	s := g.node.Status()
	n := telemetry.Node{
		Role: strings.ToLower(s.Role), LeaderKnown: s.Leader != "", Holds: s.Holds,
		Term: s.Term, LastLog: s.LastLog, Commit: s.Commit, Applied: s.Applied, LastContact: s.LastContact,
		Level: s.Level, Applies: s.Applies, Admits: s.Admits, AuditSequence: s.Audit, AuditGaps: s.AuditGaps,
		DiskUsed: s.DiskUsed, DiskStops: g.cfg.Cluster.AdmissionStop, ClockAhead: s.ClockAhead,
	}
	for _, p := range s.Peers {
		if p.Voter {
			n.Voters++
		} else {
			n.Joining++
		}
		if p.Heard {
			n.Heard++
		}
	}
	g.node.View(func(m *state.Machine) {
		for _, f := range g.faces {
			a := m.Address(f.name)
			n.Addresses = append(n.Addresses, telemetry.Address{Name: f.name, Epoch: a.GetEpoch(), Restart: uint8(a.GetRestartCounter())})
		}
	})
	for i, f := range g.faces {
		n.Addresses[i].Held = f.lease.Held()
	}
	return n
}

// certificates reads all that are configured, anew: they may have been replaced.
func certificates(cfg *config.Config) (all []telemetry.Certificate) {
	for _, c := range []struct {
		name      string
		file, key config.Path
	}{
		{"tls.ca", cfg.TLS.CA, ""},
		{"tls.cert", cfg.TLS.Cert, cfg.TLS.Key},
		{"inner.phone_api.cert", cfg.Inner.PhoneAPI.Cert, cfg.Inner.PhoneAPI.Key},
		{"inner.barrel_api.cert", cfg.Inner.BarrelAPI.Cert, cfg.Inner.BarrelAPI.Key},
		{"fallback.cert", cfg.Fallback.Cert, cfg.Fallback.Key},
		{"upstream.ca", cfg.Upstream.CA, ""},
		{"upstream.cert", cfg.Upstream.Cert, cfg.Upstream.Key},
		{"intranet.ca", cfg.Intranet.CA, ""},
		{"intranet.cert", cfg.Intranet.Cert, cfg.Intranet.Key},
		{"admin.ca", cfg.Admin.CA, ""},
		{"admin.cert", cfg.Admin.Cert, cfg.Admin.Key},
		{"telemetry.traces.ca", cfg.Telemetry.Traces.CA, ""},
		{"telemetry.traces.cert", cfg.Telemetry.Traces.Cert, cfg.Telemetry.Traces.Key},
	} {
		if c.file == "" {
			continue
		}
		x := telemetry.Certificate{Name: c.name, NotAfter: ends(c.file)}
		if c.key != "" {
			if _, err := config.Pair(c.file, c.key); err != nil {
				x.NotAfter = time.Time{} // what is shown is the one before, see config.Kept
			}
		}
		all = append(all, x)
	}
	return all
}

// ends is when the first certificate in a file ends; zero: it can't be told.
func ends(file config.Path) (first time.Time) {
	raw, err := os.ReadFile(string(file))
	if err != nil {
		return first
	}
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return time.Time{}
		}
		if first.IsZero() || c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	return first
}
