package phoneapi

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/wire"
)

const (
	lookAgain = time.Second // for what is overdue or settled
	// reportFor is for how long a settled use is told to the seal server again
	// by a node that begins to lead: it doesn't know whether the one before had
	// done it, and the server takes the same report any number of times.
	reportFor = 7 * 24 * time.Hour
)

// Run does what no request asks for, until ctx ends: it records decisions and
// pushes locks, on every node, and on the one that leads it marks missing
// evidence overdue and reports settled uses to the seal server.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.record.run(ctx, s.cfg.Cluster) })
	g.Go(func() error { return s.dispatch(ctx) })
	g.Go(func() error { return s.markOverdue(ctx) })
	g.Go(func() error { return s.reportSettled(ctx) })
	return g.Wait()
}

// markOverdue marks evidence that is due and missing, and stops uses whose grant
// ran out. What fails is found again a second later.
func (s *Server) markOverdue(ctx context.Context) error {
	for pause(ctx, lookAgain) {
		if !s.cfg.Leading() {
			continue
		}
		var overdue, expired []*command.Command
		s.cfg.Cluster.View(func(m *state.Machine) {
			now := time.Now()
			overdue, expired = sealuse.Overdue(m, now), sealuse.Expired(m, now)
		})
		for _, c := range overdue {
			var order command.Order
			if s.carryOut(ctx, c, &order) {
				s.log.Warn("alarm", "kind", sealuse.KindEvidence, "what", "evidence is overdue; the order is suspended", "order", order.Number)
			}
		}
		for _, c := range expired {
			var use command.Use
			if s.carryOut(ctx, c, &use) {
				s.log.Info("grant expired without a settlement; the barrel is asked for one", "use", use.Id, "order", use.Order, "barrel", use.Barrel)
			}
		}
	}
	return nil
}

// carryOut proposes what no request asked for and reads the record that came of
// it.
func (s *Server) carryOut(ctx context.Context, c *command.Command, record proto.Message) bool {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := s.cfg.Cluster.Propose(ctx, c)
	switch {
	case err != nil:
		s.log.Warn("upkeep not committed yet", "command", c.Type, "err", err)
	case res.Into(record) != nil:
		s.log.Debug("upkeep not carried out", "command", c.Type, "code", res.GetCode(), "why", res.GetMessage())
	default:
		return true
	}
	return false
}

func (s *Server) reportSettled(ctx context.Context) error {
	var p *pendingReports
	for pause(ctx, lookAgain) {
		if !s.cfg.Leading() {
			p = nil
			continue
		}
		if p == nil {
			p = newPendingReports()
		}
		var due []wire.SettledReport
		s.cfg.Cluster.View(func(m *state.Machine) { due = p.due(m) })
		for _, r := range due {
			if err := s.report(ctx, r); err != nil {
				s.log.Warn("settled use not reported yet", "use", r.Use, "err", err)
				if unreachable(err) {
					break // the rest would fare no better now
				}
				continue
			}
			p.done(r.Use)
		}
	}
	return nil
}

// unreachable tells a server that isn't there from one that refuses.
func unreachable(err error) bool {
	var p *wire.Problem
	return !errors.As(err, &p) || p.Code == wire.CodeServerUnreachable
}

func (s *Server) report(ctx context.Context, r wire.SettledReport) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if s.cfg.Traces.Tracer == nil {
		return s.cfg.Server.Settled(ctx, r)
	}
	var use *command.Use
	s.cfg.Cluster.View(func(m *state.Machine) { use = m.Use(r.Use) })
	ctx, span := s.cfg.Traces.Begin(ctx, spanReport, use, trace.WithSpanKind(trace.SpanKindClient))
	err := s.cfg.Server.Settled(ctx, r)
	s.cfg.Traces.End(span, err)
	return err
}

// pendingReports are the uses that the seal server has yet to hear of.
type pendingReports struct {
	seen uint64              // the highest use that was looked at
	open map[uint64]struct{} // not settled yet, or not reported
}

func newPendingReports() *pendingReports { return &pendingReports{open: make(map[uint64]struct{})} }

// due takes new uses in and gives the reports of those that are settled.
func (p *pendingReports) due(m *state.Machine) (reports []wire.SettledReport) {
	since := m.Clock().Add(-reportFor).UnixNano()
	if p.seen == 0 {
		for use := range m.Uses() {
			p.take(use, since)
		}
	}
	for use := m.Use(p.seen + 1); use != nil; use = m.Use(p.seen + 1) {
		p.take(use, since)
	}
	for id := range p.open {
		if use := m.Use(id); use.GetState() == command.UseState_SETTLED {
			reports = append(reports, sealuse.Settled(use))
		}
	}
	return reports
}

func (p *pendingReports) take(use *command.Use, since int64) {
	p.seen = max(p.seen, use.Id)
	if use.State != command.UseState_SETTLED || use.SettledAt >= since {
		p.open[use.Id] = struct{}{}
	}
}

func (p *pendingReports) done(use uint64) { delete(p.open, use) }
